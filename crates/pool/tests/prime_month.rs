//! Months of prime miners at the pool's credit: honest ones big and small, searches tuned for chains shorter or longer than a block's,
//! one that hands in each chain four times, and those who move from address to address, or mine under many. Income follows blocks
//! within what luck explains, and gaming pays nothing.
//!
//! What a search finds follows from prime densities. A number free of factors below 2^16 is prime once in [`INSIDE`]; what lies
//! beyond the chain length that is sieved for is free of the first ten primes only, and prime once in [`BEYOND`]. A sieve one
//! prime shorter leaves `BEYOND / INSIDE` as many candidates: by how much it makes a search faster depends on the part of its time
//! that the longer one spends sieving. A search that sieves up to 2^16 whatever the length spends nearly all of it so at ten primes:
//! measured, its tests per second of processor time with sieves for 11, 10, 9, 8 and 7 primes were 570, 2,060, 6,900, 23,400 and 54,800.
//! `PrimeSearcher` sieves the less the longer the chains are, and spends
//! about half. Both are simulated.

#![allow(clippy::unwrap_used)]

use lode_ledger::{ChainBooks, ChainShare};
use lode_pool::origins::Origins;
use lode_pow::{ChainLength, Origin, sha256d_80};
use lode_primitives::{BlockHash, Multiplier};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Origins' bits, times ln 2 and the product of `1 - 1/p` below 2^16.
const INSIDE: f64 = 10.5;
/// The same without the product of `1 - 1/(p - 9)` for p from 31 to 2^16.
const BEYOND: f64 = 35.6;
/// What honest ones sieve for; the network's lengths below are such that it is what finds most blocks.
const AIM: i32 = 10;
/// The first month is judged, and the next ones on the same books: what is paid to an unknown account must not go on.
const MONTHS: u32 = 3;
const HOURS: u32 = 30 * 24;

/// The part of a search's time that goes into its sieve, at ten primes.
#[derive(Clone, Copy, Debug)]
enum Sieve {
    Half,
    Nearly,
}

impl Sieve {
    /// A search's speed against that of an honest one: numbers tested in a second.
    fn speed(self, aim: i32) -> f64 {
        match self {
            Self::Half => 1.0 / (0.5 + 0.5 * (INSIDE / BEYOND).powi(AIM - aim)),
            // As measured, in tests per millisecond; one for 12 does not play.
            Self::Nearly => [54.8, 23.4, 6.9, 2.06, 0.57][(aim - 7) as usize] / 2.06,
        }
    }
}

/// Under which addresses a player mines.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// One.
    Stays,
    /// One, and each chain is handed in four times.
    Copies,
    /// A new one every so many hours.
    Hours(u32),
    /// A new one as soon as it is credited a block's worth.
    Block,
    /// So many at once, and new ones every so many hours.
    Crowd(u32, u32),
    /// Honest until credited so many blocks' worth, then tuned short for as many, then a new one.
    Sleeper(f64),
}

#[derive(Debug)]
struct Player {
    name: &'static str,
    /// Primes it sieves for.
    aim: i32,
    /// Blocks a month that an honest miner of its cost finds.
    size: f64,
    habit: Habit,
    /// The month it comes in, from 1.
    from: u32,
    blocks: u32,
    credit: f64,
    /// Its address in use, and what that was credited.
    address: u32,
    here: f64,
}

impl Player {
    fn account(&mut self, hour: u32, rng: &mut StdRng) -> String {
        let address = match self.habit {
            Habit::Stays | Habit::Copies => 0,
            Habit::Hours(hours) => hour / hours,
            Habit::Crowd(at_once, hours) => hour / hours * at_once + rng.random_range(0..at_once),
            Habit::Block | Habit::Sleeper(_) => {
                let most = if let Habit::Sleeper(blocks) = self.habit { 3.0 * blocks } else { 1.0 };
                if self.here >= most {
                    (self.address, self.here) = (self.address + 1, 0.0);
                }
                self.address
            }
        };
        format!("{} {address}", self.name)
    }

    fn aim(&self) -> i32 {
        match self.habit {
            Habit::Sleeper(blocks) if self.here > blocks => AIM - 1,
            Habit::Sleeper(_) => AIM,
            _ => self.aim,
        }
    }
}

fn player(name: &'static str, aim: i32, size: f64, habit: Habit) -> Player {
    Player { name, aim, size, habit, from: 1, blocks: 0, credit: 0.0, address: 0, here: 0.0 }
}

fn players() -> Vec<Player> {
    vec![
        player("honest 1", AIM, 60.0, Habit::Stays),
        player("honest 2", AIM, 60.0, Habit::Stays),
        player("honest 3", AIM, 60.0, Habit::Stays),
        player("small 1", AIM, 5.0, Habit::Stays),
        player("small 2", AIM, 5.0, Habit::Stays),
        player("small 3", AIM, 1.0, Habit::Stays),
        player("tuned short", AIM - 1, 60.0, Habit::Stays),
        player("tuned shorter", AIM - 3, 60.0, Habit::Stays),
        player("tuned long", AIM + 1, 60.0, Habit::Stays),
        player("copies", AIM, 60.0, Habit::Copies),
    ]
}

/// How often a chain of `primes` goes on, in a search for `aim`.
fn goes_on(primes: i32, aim: i32) -> f64 {
    1.0 / if primes < aim { INSIDE } else { BEYOND }
}

/// Chains of nine and more, where an honest miner of this cost finds one.
fn nines(aim: i32, sieve: Sieve) -> f64 {
    sieve.speed(aim) * (INSIDE / BEYOND).powi((9 - aim).max(0))
}

fn poisson(rng: &mut StdRng, mean: f64) -> u32 {
    let (mut product, mut count) = (rng.random::<f64>(), 0);
    while product > (-mean).exp() {
        product *= rng.random::<f64>();
        count += 1;
    }
    count
}

/// One chain under its own header, again, with twice the multiplier, and as another header's: what is left of each after
/// the pool's check is the odd part of its origin.
fn disguises(rng: &mut StdRng) -> [Vec<u8>; 4] {
    let mut header = || loop {
        let header: [u8; 80] = std::array::from_fn(|_| rng.random());
        let hash = sha256d_80(&header);
        if hash[31] >= 0x80 {
            return (header, hash);
        }
    };
    let (one, other) = (header(), header());
    let mut twice = [0; 33];
    for (i, byte) in other.1.iter().enumerate() {
        twice[i] |= byte << 1;
        twice[i + 1] = byte >> 7;
    }
    [(&one.0, &other.1[..]), (&one.0, &other.1[..]), (&one.0, &twice[..]), (&other.0, &one.1[..])].map(
        |(header, multiplier)| {
            Origin::new(header, &Multiplier::from_le_magnitude(multiplier)).unwrap().odd_part()
        },
    )
}

/// Plays month number `month`; the copies refused.
fn play(
    rng: &mut StdRng,
    players: &mut [Player],
    (books, origins): (&mut ChainBooks, &Origins),
    network: ChainLength,
    sieve: Sieve,
    month: u32,
) -> u32 {
    let target = network.one_less();
    let fraction = f64::from(network.fraction()) / f64::from(1 << 24);
    // Of an honest miner's chains of nine and more: ten, and then the fraction or one prime more.
    let blocks_of_nines = (1.0 - fraction + fraction / BEYOND) / INSIDE;
    let mut refused = 0;
    for hour in (month - 1) * HOURS..month * HOURS {
        for player in players.iter_mut().filter(|player| player.from <= month) {
            let aim = player.aim();
            let mean = player.size / f64::from(HOURS) / blocks_of_nines * nines(aim, sieve);
            for _ in 0..poisson(rng, mean) {
                let mut primes = 9;
                while rng.random::<f64>() < goes_on(primes, aim) {
                    primes += 1;
                }
                let length = ChainLength((primes as u32) << 24 | rng.random_range(0..1 << 24));
                if length < target {
                    continue;
                }
                let copies = matches!(player.habit, Habit::Copies);
                let all = disguises(rng);
                for odd_part in &all[..if copies { 4 } else { 1 }] {
                    if !origins.add(odd_part) {
                        refused += 1;
                        continue;
                    }
                    let share = ChainShare { length, target, network, parent: BlockHash(rng.random()) };
                    let credit = books.take(&player.account(hour, rng), &share);
                    player.credit += credit;
                    player.here += credit;
                    player.blocks += u32::from(share.is_block());
                }
            }
        }
    }
    refused
}

#[test]
fn income_follows_blocks_and_gaming_pays_nothing() {
    let lengths = [0x0a0d_0000, 0x0a99_0000, 0x0ae0_0000];
    for (network, sieve) in lengths
        .map(|length| (length, Sieve::Half))
        .into_iter()
        .chain([(0x0a0d_0000, Sieve::Nearly), (0x0a99_0000, Sieve::Nearly)])
    {
        for seed in 0..2 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut players, mut books, origins) = (players(), ChainBooks::default(), Origins::default());
            for month in 1..=MONTHS {
                let refused =
                    play(&mut rng, &mut players, (&mut books, &origins), ChainLength(network), sieve, month);
                assert!(refused > 100 && refused.is_multiple_of(3), "{refused}");
                // The pool's blocks are paid by credit.
                let rate = blocks(&players) / players.iter().map(|player| player.credit).sum::<f64>();
                println!("{:?} {sieve:?} seed {seed} month {month}:", ChainLength(network));
                for player in &players {
                    let (income, found) = (player.credit * rate, f64::from(player.blocks));
                    let odds = books.odds(&format!("{} 0", player.name));
                    println!(
                        "  {:>14}: {found:>3} blocks, income {income:>6.2}, odds {odds:.5}",
                        player.name
                    );
                    // Luck of one in a thousand; of the few blocks of small ones, as many as they could expect.
                    let luck = 3.3 * found.max(4.0).sqrt();
                    assert!((income - found).abs() < luck, "{player:?}: income {income}");
                    // No honest one is told for bringing too few (among those who do, some stand out by many).
                    let standing = books.standing(&format!("{} 0", player.name));
                    let few = f64::from(standing.blocks) < standing.expected;
                    assert!(player.aim != AIM || !few || odds > 1e-4, "{player:?}: {odds}");
                }
            }
            let rate = blocks(&players) / players.iter().map(|player| player.credit).sum::<f64>();
            let income = |name| players.iter().find(|player| player.name == name).unwrap().credit * rate;
            let found = |name| players.iter().find(|player| player.name == name).unwrap().blocks;
            let honest = ["honest 1", "honest 2", "honest 3"].map(income).iter().sum::<f64>() / 3.0;
            for name in ["tuned short", "tuned shorter"] {
                // No more than the same machine earns honestly, or else for blocks that it did bring.
                let most = honest.max(f64::from(found(name))) * 1.15;
                assert!(income(name) < most, "{name}: {} of {}, honest {honest}", income(name), found(name));
            }
            // And it is told. (The other finds so few chains at all that its odds say little, and so does its income.)
            assert!(books.odds("tuned short 0") < 0.01, "{}", books.odds("tuned short 0"));
            assert!((income("copies") / honest - 1.0).abs() < 0.3, "{} {honest}", income("copies"));
        }
    }
}

fn blocks(players: &[Player]) -> f64 {
    players.iter().map(|player| f64::from(player.blocks)).sum()
}

/// Runs of three months each that a figure below is taken over.
const RUNS: u64 = 4;

/// What a part of the players was paid, in blocks, and what it found.
#[derive(Clone, Copy, Debug, Default)]
struct Paid {
    income: f64,
    found: f64,
}

impl Paid {
    fn add(&mut self, player: &Player, rate: f64) {
        self.income += player.credit * rate;
        self.found += f64::from(player.blocks);
    }

    fn per_block(&self) -> f64 {
        self.income / self.found
    }
}

/// Those who play a game, those who mine honestly with as much, all small honest ones, those who come later.
#[derive(Debug, Default)]
struct Outcome {
    gamer: Paid,
    equal: Paid,
    small: Paid,
    late: Paid,
}

/// Three months of a gamer among three big honest ones and ten small ones, and two who come in the second month.
fn game(size: f64, habit: Habit, network: u32, sieve: Sieve) -> Outcome {
    let mut outcome = Outcome::default();
    for seed in 0..RUNS {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut all = vec![
            player("gamer", AIM - 1, size, habit),
            player("equal", AIM, size, Habit::Stays),
            player("big 1", AIM, 60.0, Habit::Stays),
            player("big 2", AIM, 60.0, Habit::Stays),
        ];
        let small = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
        all.extend(small.map(|name| player(name, AIM, 2.5, Habit::Stays)));
        all.extend(
            ["late 1", "late 2"].map(|name| Player { from: 2, ..player(name, AIM, 10.0, Habit::Stays) }),
        );
        let (mut books, origins) = (ChainBooks::default(), Origins::default());
        for month in 1..=MONTHS {
            play(&mut rng, &mut all, (&mut books, &origins), ChainLength(network), sieve, month);
        }
        let rate = blocks(&all) / all.iter().map(|player| player.credit).sum::<f64>();
        for player in &all {
            match player.name {
                "gamer" => outcome.gamer.add(player, rate),
                "equal" => outcome.equal.add(player, rate),
                name if name.starts_with("late") => outcome.late.add(player, rate),
                name if name.starts_with("big") => {}
                _ => outcome.small.add(player, rate),
            }
        }
    }
    outcome
}

const GAMES: [(&str, Habit); 6] = [
    ("a new address every 6 hours", Habit::Hours(6)),
    ("a new address each block's worth", Habit::Block),
    ("20 addresses", Habit::Crowd(20, u32::MAX)),
    ("200 addresses, new ones each day", Habit::Crowd(200, 24)),
    ("honest for 8 blocks, then short for 16", Habit::Sleeper(8.0)),
    ("honest for 30 blocks, then short for 60", Habit::Sleeper(30.0)),
];

#[test]
fn moving_from_address_to_address_pays_nothing() {
    for network in [0x0a0d_0000, 0x0ae0_0000] {
        for sieve in [Sieve::Half, Sieve::Nearly] {
            for (name, habit) in GAMES {
                let Outcome { gamer, equal, small, late } = game(60.0, habit, network, sieve);
                println!(
                    "{:?} {sieve:?} {name}: {:.2} a block, {:.2} of an honest one; small {:.2}, late {:.2}",
                    ChainLength(network),
                    gamer.per_block(),
                    gamer.income / equal.income,
                    small.per_block(),
                    late.per_block()
                );
                // It is paid for the blocks it found, within the luck of one in a thousand.
                let luck = 3.1 / gamer.found.sqrt();
                assert!(gamer.per_block() < 1.0 + luck, "{name}: {gamer:?}");
                // And no more than the same machine earns honestly, within the luck of both.
                let luck = 3.1 * (1.0 / gamer.found + 1.0 / equal.found).sqrt();
                assert!(gamer.income / equal.income < 1.0 + luck, "{name}: {gamer:?} {equal:?}");
                // Honest newcomers wait for a block's worth each at most, on average.
                for (who, paid, number) in [("small", small, 10.0), ("late", late, 2.0)] {
                    let waits = (paid.found - paid.income) / (number * RUNS as f64);
                    assert!(waits < 1.0, "{who} beside {name}: {waits} blocks each");
                }
            }
        }
    }
}

#[test]
fn a_small_gamer_among_many_newcomers_takes_little_of_theirs() {
    for (name, habit) in &GAMES[..4] {
        let Outcome { gamer, equal, small, late } = game(5.0, *habit, 0x0a0d_0000, Sieve::Nearly);
        let newcomers = small.found + late.found + equal.found;
        println!(
            "{name}: {:.2} a block of its {}, {:.3} of newcomers' {newcomers}",
            gamer.per_block(),
            gamer.found,
            (gamer.income - gamer.found) / newcomers
        );
        assert!(gamer.income - gamer.found < 0.04 * newcomers, "{name}: {gamer:?}");
    }
}

/// Standard deviations of what an honest miner of `size` blocks a month is paid and finds in a month, in parts of `size`: ten of these
/// beside five big ones, over their first three months.
fn spread(size: f64) -> (f64, f64) {
    let (mut paid, mut found) = (Vec::new(), Vec::new());
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let big = ["b0", "b1", "b2", "b3", "b4"].map(|name| player(name, AIM, 60.0, Habit::Stays));
        let small = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
        let mut all = Vec::from(big);
        all.extend(small.map(|name| player(name, AIM, size, Habit::Stays)));
        let (mut books, origins) = (ChainBooks::default(), Origins::default());
        for month in 1..=MONTHS {
            for player in &mut all {
                (player.credit, player.blocks) = (0.0, 0);
            }
            play(&mut rng, &mut all, (&mut books, &origins), ChainLength(0x0a99_0000), Sieve::Half, month);
            let rate = blocks(&all) / all.iter().map(|player| player.credit).sum::<f64>();
            for player in &all[5..] {
                paid.push(player.credit * rate / size);
                found.push(f64::from(player.blocks) / size);
            }
        }
    }
    (deviation(&paid), deviation(&found))
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn an_honest_miners_months_differ_less_than_alone() {
    for (size, at_most) in [(2.5, 0.85), (10.0, 0.95)] {
        let (paid, found) = spread(size);
        println!("{size} blocks a month: paid {paid:.2}, found {found:.2}");
        assert!(paid < at_most * found, "{size} blocks a month: paid {paid}, found {found}");
    }
}
