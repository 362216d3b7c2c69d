//! What a prime chain is worth: fair credit for shares that are not all alike. Used by [`crate::Ledger`].
//!
//! A hash either meets a target or does not, so a hash coin's share is credited with the difficulty assigned. A prime chain is
//! grown: a search tuned for short chains brings many of them and hardly ever a block. So a chain is credited by
//! what it is worth towards a block, by its length and fraction:
//!
//! - *Worth*: of chains at least this long, the part that are blocks; at most 1, so that one lucky find is not a month's
//!   income. Within a whole length the fraction is even luck: of chains of k primes and more, `1 - f + f / r` are at
//!   least `k.f`, where one in `r` goes on to the next prime.
//! - *Ratio*: that r, for each whole length, measured from the shares themselves: those that reached k primes over those that
//!   went on. It depends on how deep the miners sieve as much as on the numbers' size, so no table can know it;
//!   prime densities only say where the measurement begins ([`density_ratio`]).
//! - *The same for every target*: worths of all shares found on the way to one block sum to `1 + ln(1 / worth of the target)`,
//!   by integrating worth over its own distribution. Credit is worth over that sum: a miner earns the same at
//!   whatever share target, on average, and a block is the same part of everyone's credit.
//! - *Blocks tell*: how often chains go on differs between searches, and one measure for all overrates a search tuned short.
//!   Nothing but its blocks tells it from another. So an account is credited one for each block it found, spread over its
//!   next shares ([`SPREAD_OLD`]): it is paid by its shares as they come, and in the end by its blocks.
//! - *Newcomers*: who finds a block a month is not to wait for it. So as far as an account is new (the part that [`PRIOR_BLOCKS`] are of
//!   these and the blocks expected of it) and newcomers are trusted, it is credited by the worth of its shares, and for that part not by
//!   its blocks. On average that is the same for who mines honestly.
//! - *Trust*: whoever takes a new address is new again. So newcomers are trusted for a half at most ([`TRUST_MAX`]), and only
//!   as far as what all of them found lately is what was expected ([`TRUSTED`]). Where somebody moves from address to address with a
//!   search tuned short, blocks fail to come, and newcomers are paid by their blocks alone.
//!
//! Counts and accounts are written to a small file each minute, and within a second of a block, and read at the start. It is no part
//! of the books: credit once given is in the share log, and what the log says is never counted again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lode_pow::ChainLength;
use lode_primitives::BlockHash;

/// Chains that went on, that the ratio to begin with counts for.
const PRIOR_CHAINS: f64 = 16.0;
/// Blocks expected of an account at which it is half new. Fewer, and a small miner's income hangs on single blocks; more, and there is
/// more to take for who moves from address to address.
const PRIOR_BLOCKS: f64 = 4.0;
/// The part of a newcomer's credit that goes by its shares, at most: the rest goes by its blocks.
const TRUST_MAX: f64 = 0.5;
/// The part of the expected blocks that newcomers as a whole must find to be trusted at all; who finds all is trusted
/// wholly. The product of trust and blocks missing is greatest half-way: a fortieth of newcomers' work is what all who game together
/// can take in the long run.
const TRUSTED: f64 = 0.9;
/// Blocks expected of newcomers by which they are judged: older ones fade.
const NEWCOMERS_BLOCKS: f64 = 128.0;
/// Blocks with which that begins, all found.
const NEWCOMERS_PRIOR: f64 = 8.0;
/// What an account is credited for a block is spread over shares of this worth, in blocks: of a new account, and of an old one.
/// So much is still to come at any time, on average, and stays behind where the account is left.
const SPREAD_NEW: f64 = 0.25;
const SPREAD_OLD: f64 = 1.0;
/// Counts are halved beyond so many chains that went on: ratios follow when miners change.
const CHAINS_MAX: f64 = 4096.0;
/// Bits of an origin: they have some 280 to 340.
const ORIGIN_BITS: f64 = 300.0;
/// As far as a plain search sieves; and beyond the length sought, where only what its multipliers are divisible by keeps small factors
/// out, the first ten primes.
const SIEVED: f64 = 65_536.0;
const SIEVED_BEYOND: f64 = 29.0;
/// What a ratio can be: below is no prime chain, above no search finds a block.
const RATIO_RANGE: std::ops::RangeInclusive<f64> = 1.5..=1000.0;
/// Whole lengths there are.
const LENGTHS: usize = 100;
/// Accounts remembered: a hundred bytes each. Beyond it the half with the least credit is forgotten.
const ACCOUNTS_MAX: usize = 100_000;
/// First line of the file.
const FILE_HEAD: &str = "lode chain credit 2";

/// A share of a prime chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainShare {
    /// The chain found.
    pub length: ChainLength,
    /// The share target it was found under.
    pub target: ChainLength,
    /// The length that a block needs.
    pub network: ChainLength,
    /// The block it was to follow: of two blocks with one parent only one can stand.
    pub parent: BlockHash,
}

impl ChainShare {
    /// It is a block.
    pub fn is_block(&self) -> bool {
        self.length >= self.network
    }
}

/// An account's shares against its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Blocks that its shares are worth by the pool's measure.
    pub expected: f64,
    /// What was credited, in blocks.
    pub credited: f64,
    /// Blocks it found.
    pub blocks: u32,
    /// For its blocks, still to be credited with its next shares; in blocks.
    pub due: f64,
}

impl Standing {
    /// How far it is new: 1 at first.
    fn newness(&self) -> f64 {
        PRIOR_BLOCKS / (self.expected + PRIOR_BLOCKS)
    }

    /// What its own blocks say that its shares are worth against the pool's measure, as far as it is known.
    fn shown(&self) -> f64 {
        f64::from(self.blocks) / (self.expected + PRIOR_BLOCKS)
    }
}

/// Chains of one whole length.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// That reached it; those let through by a fraction stand for those that were not.
    reached: f64,
    /// That were longer by a prime.
    longer: f64,
}

/// What newcomers found lately, each share counted as far as its account was new.
#[derive(Clone, Copy, Debug, Default)]
struct Newcomers {
    expected: f64,
    found: f64,
}

impl Newcomers {
    fn add(&mut self, newness: f64, value: f64, is_block: bool) {
        let stays = 1.0 - (newness * value / NEWCOMERS_BLOCKS).min(1.0);
        self.expected = self.expected * stays + newness * value;
        self.found = self.found * stays + if is_block { newness } else { 0.0 };
    }

    /// How far their shares are taken for what they seem to be worth.
    fn trust(&self) -> f64 {
        let part = (self.found + NEWCOMERS_PRIOR) / (self.expected + NEWCOMERS_PRIOR);
        TRUST_MAX * ((part - TRUSTED) / (1.0 - TRUSTED)).clamp(0.0, 1.0)
    }
}

/// Ratios measured, and accounts' standing.
#[derive(Debug)]
pub struct ChainBooks {
    steps: [Step; LENGTHS],
    accounts: HashMap<Box<str>, Standing>,
    total: Standing,
    /// What all shares were worth, as a difficulty.
    work: f64,
    newcomers: Newcomers,
    /// What the last block counted follows: another one of the same parent counts as a share alone.
    parent: Option<BlockHash>,
    path: Option<PathBuf>,
    changed: bool,
}

impl Default for ChainBooks {
    fn default() -> Self {
        Self {
            steps: [Step::default(); LENGTHS],
            accounts: HashMap::new(),
            total: Standing::default(),
            work: 0.0,
            newcomers: Newcomers::default(),
            parent: None,
            path: None,
            changed: false,
        }
    }
}

/// How many chains of a length it takes for one that is a prime longer, where all members are free of factors
/// below `sieved`: a number of `bits` bits is prime once in its logarithm (the prime number theorem), and
/// `e^gamma ln(sieved)` times more often without small factors (Mertens).
pub fn density_ratio(bits: f64, sieved: f64) -> f64 {
    const E_GAMMA: f64 = 1.781_072_417_990_198;
    bits * std::f64::consts::LN_2 / (E_GAMMA * sieved.ln())
}

impl ChainBooks {
    /// Reads what an earlier run left at `path`, or begins anew.
    pub fn open(path: &Path) -> Self {
        let mut books = Self::default();
        match std::fs::read_to_string(path) {
            Ok(text) => {
                if books.read(&text).is_none() {
                    tracing::warn!("{} cannot be read: chains are measured anew", path.display());
                    books = Self::default();
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{}: {error}: chains are measured anew", path.display()),
        }
        books.path = Some(path.to_owned());
        books
    }

    fn read(&mut self, text: &str) -> Option<()> {
        let mut lines = text.lines();
        lines.next().filter(|head| *head == FILE_HEAD)?;
        for line in lines {
            let mut fields = line.split(' ');
            let (kind, key) = (fields.next()?, fields.next()?);
            let numbers: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
            if !numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
                return None;
            }
            match (kind, numbers.as_slice()) {
                ("step", &[reached, longer]) => {
                    *self.steps.get_mut(key.parse::<usize>().ok()?)? = Step { reached, longer };
                }
                ("work", &[work]) => self.work = work,
                ("newcomers", &[expected, found]) => self.newcomers = Newcomers { expected, found },
                ("account", &[expected, credited, blocks, due]) if self.accounts.len() < ACCOUNTS_MAX => {
                    let standing = Standing { expected, credited, blocks: blocks as u32, due };
                    self.total.expected += expected;
                    self.total.credited += credited;
                    self.total.blocks += standing.blocks;
                    self.accounts.insert(key.into(), standing);
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Writes the file anew where something changed. A crash leaves the old one.
    pub fn save(&mut self) -> std::io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.changed) else { return Ok(()) };
        let mut text = format!("{FILE_HEAD}\n");
        for (length, step) in self.steps.iter().enumerate().filter(|(_, step)| step.reached > 0.0) {
            let _ = writeln!(text, "step {length} {} {}", step.reached, step.longer);
        }
        let Newcomers { expected, found } = self.newcomers;
        let _ = writeln!(text, "newcomers all {expected} {found}");
        let _ = writeln!(text, "work all {}", self.work);
        for (name, Standing { expected, credited, blocks, due }) in &self.accounts {
            let _ = writeln!(text, "account {name} {expected} {credited} {blocks} {due}");
        }
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, path)?;
        self.changed = false;
        Ok(())
    }

    /// How many chains of `primes` primes there are for one that is longer, as measured; where there is nothing yet, as miners find
    /// who sieve for chains of the network's length.
    pub fn ratio(&self, primes: u32, network: ChainLength) -> f64 {
        let step = self.steps.get(primes as usize).copied().unwrap_or_default();
        let sieved = if primes < network.primes() { SIEVED } else { SIEVED_BEYOND };
        let ratio =
            (PRIOR_CHAINS * density_ratio(ORIGIN_BITS, sieved) + step.reached) / (PRIOR_CHAINS + step.longer);
        ratio.clamp(*RATIO_RANGE.start(), *RATIO_RANGE.end())
    }

    /// Of the chains of the same whole length and more, the part at least as long as this.
    fn part(&self, length: ChainLength, network: ChainLength) -> f64 {
        let fraction = f64::from(length.fraction()) / f64::from(1u32 << 24);
        1.0 - fraction + fraction / self.ratio(length.primes(), network)
    }

    /// What a chain is worth, in blocks: of chains at least this long, the part that are blocks; at most 1.
    pub fn worth(&self, length: ChainLength, network: ChainLength) -> f64 {
        if length >= network {
            return 1.0;
        }
        let steps: f64 =
            (length.primes()..network.primes()).map(|primes| self.ratio(primes, network)).product();
        (self.part(network, network) / (self.part(length, network) * steps)).min(1.0)
    }

    /// What a share is worth before its account is looked at, in blocks: all shares of an honest miner sum to its blocks.
    pub fn value(&self, share: &ChainShare) -> f64 {
        self.worth(share.length, share.network) / (1.0 - self.worth(share.target, share.network).ln())
    }

    /// Takes an accepted share of an account: what it is credited with, in blocks.
    pub fn take(&mut self, account: &str, share: &ChainShare) -> f64 {
        // Who hands in a second block beside one that is there brings the pool nothing.
        let is_block = share.is_block() && self.parent != Some(share.parent);
        if is_block {
            self.parent = Some(share.parent);
        }
        let value = self.value(share);
        self.changed = true;
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(account) {
            self.forget_half();
        }
        let trust = self.newcomers.trust();
        let standing = self.accounts.entry(account.into()).or_default();
        let newness = standing.newness();
        let by_shares = newness * trust;
        // As it was before this share: a share has no say in its own weight.
        let weight = (standing.shown() + by_shares).min(1.0);
        if is_block {
            standing.due += 1.0 - by_shares;
        }
        let spread = SPREAD_NEW * newness + SPREAD_OLD * (1.0 - newness);
        let now_due = standing.due * (value / spread).min(1.0);
        let credit = (value * by_shares + now_due).min(1.0);
        standing.due -= now_due;
        standing.expected += value;
        standing.credited += credit;
        standing.blocks += u32::from(is_block);
        self.newcomers.add(newness, value, is_block);
        self.total.expected += value;
        self.total.credited += credit;
        self.total.blocks += u32::from(is_block);
        self.work += value * share.network.difficulty();
        self.measure(share, weight);
        credit
    }

    /// What all shares ever taken were worth, each at its network's length, as a difficulty: how much work there was, whatever was
    /// credited for it. 0 where no chain was ever taken.
    pub fn work(&self) -> f64 {
        self.work
    }

    /// How far newcomers' shares are taken for what they seem to be worth, from 0 to 1: less where newcomers as a whole
    /// bring shares but not the blocks that belong to them.
    pub fn trust(&self) -> f64 {
        self.newcomers.trust()
    }

    /// Counts a share's chain for the ratios of the lengths it went through, as far as its account's shares are worth what they
    /// seem: those of searches tuned short say nothing of the others.
    fn measure(&mut self, share: &ChainShare, weight: f64) {
        let (from, reached) = (share.target.primes(), share.length.primes());
        for primes in from..=reached.min(from + 8) {
            let Some(step) = self.steps.get_mut(primes as usize) else { return };
            let longer = reached > primes;
            // Of the chains that end at the target's own whole length only those with its fraction are seen.
            let seen = 1.0 - f64::from(share.target.fraction()) / f64::from(1u32 << 24);
            step.reached += weight * if primes == from && !longer { 1.0 / seen } else { 1.0 };
            step.longer += weight * f64::from(u8::from(longer));
            if step.longer > CHAINS_MAX {
                step.reached /= 2.0;
                step.longer /= 2.0;
            }
        }
    }

    fn forget_half(&mut self) {
        let mut values: Vec<f64> = self.accounts.values().map(|standing| standing.expected).collect();
        let middle = values.len() / 2;
        let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
        let median = *median;
        let mut left = middle;
        // Equal ones too, until there is room.
        self.accounts.retain(|_, standing| {
            let goes = standing.expected <= median && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }

    /// An account's standing.
    pub fn standing(&self, account: &str) -> Standing {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    /// All accounts' together.
    pub fn total(&self) -> Standing {
        self.total
    }

    /// Blocks found for each that shares were worth, by all accounts but this one; 1 where there is next to nothing to say it by.
    pub fn others(&self, account: &str) -> f64 {
        let standing = self.standing(account);
        let blocks = f64::from(self.total.blocks.saturating_sub(standing.blocks));
        (blocks + 1.0) / ((self.total.expected - standing.expected).max(0.0) + 1.0)
    }

    /// The odds that luck alone sets an account's blocks so far from those its shares are worth, by the blocks per credit of
    /// the pool's others: the probability of so few blocks, or where there are more than expected, of so many. From
    /// 0 to 1.
    pub fn odds(&self, account: &str) -> f64 {
        let standing = self.standing(account);
        luck(standing.blocks, standing.expected * self.others(account))
    }
}

/// The probability of at most (where `count` is below `mean`), or at least so many of something rare whose mean is known.
fn luck(count: u32, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 1.0;
    }
    if mean > 1000.0 {
        // Normal by then; the logistic curve is within 0.01 of it.
        let sigmas = (f64::from(count) - mean) / mean.sqrt();
        return 1.0 / (1.0 + (1.702 * sigmas.abs()).exp());
    }
    let below = |count: u32| {
        let mut term = (-mean).exp();
        let mut sum = term;
        for k in 1..=count {
            term *= mean / f64::from(k);
            sum += term;
        }
        sum.min(1.0)
    };
    if f64::from(count) < mean {
        below(count)
    } else if count == 0 {
        1.0
    } else {
        1.0 - below(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const NETWORK: ChainLength = ChainLength(0x0a80_0000);

    /// A share on a block of its own: no two are brothers.
    fn share(length: u32, target: ChainLength) -> ChainShare {
        static PARENTS: AtomicU64 = AtomicU64::new(0);
        let mut parent = BlockHash([0; 32]);
        parent.0[..8].copy_from_slice(&PARENTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        ChainShare { length: ChainLength(length), target, network: NETWORK, parent }
    }

    #[test]
    fn worth_grows_with_length_and_fraction_up_to_a_block() {
        let books = ChainBooks::default();
        let mut last = 0.0;
        for length in [0x0900_0000, 0x0980_0000, 0x09ff_ffff, 0x0a00_0000, 0x0a40_0000, 0x0a80_0000] {
            let worth = books.worth(ChainLength(length), NETWORK);
            assert!(worth > last, "{length:x}: {worth} after {last}");
            last = worth;
        }
        assert_eq!(last, 1.0);
        assert_eq!(books.worth(ChainLength(0x0c00_0000), NETWORK), 1.0);
        // Half of ten and more are blocks, and of those with no block's fraction the few that are longer.
        let r = books.ratio(10, NETWORK);
        assert!((books.worth(ChainLength(0x0a00_0000), NETWORK) - (0.5 + 0.5 / r)).abs() < 1e-12);
        // No jump where a whole length begins.
        let (under, at) =
            (books.worth(ChainLength(0x09ff_ffff), NETWORK), books.worth(ChainLength(0x0a00_0000), NETWORK));
        assert!((under / at - 1.0).abs() < 1e-5);
        // A target that is the block's: a share is a block, and is credited as one.
        assert_eq!(books.value(&share(0x0a80_0000, NETWORK)), 1.0);
    }

    #[test]
    fn ratios_are_measured() {
        let mut books = ChainBooks::default();
        let prior = books.ratio(9, NETWORK);
        assert!((8.0..13.0).contains(&prior), "{prior}");
        let target = ChainLength(0x0980_0000);
        // A ratio of 20 seen under a target that shows half of the nines: ten nines, one longer; and so on.
        for _ in 0..2_000 {
            for i in 0..19 {
                if i % 2 == 0 {
                    books.take("a", &share(0x09c0_0000, target));
                }
            }
            books.take("a", &share(0x0a80_0000, target));
        }
        let ratio = books.ratio(9, NETWORK);
        assert!((20.0..21.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn an_account_is_credited_its_blocks_spread_over_its_shares() {
        let mut books = ChainBooks::default();
        let target = NETWORK.one_less();
        let (mut credited, mut most) = (0.0, 0.0f64);
        for i in 0..4_000 {
            let length = if i % 40 == 0 { 0x0a90_0000 } else { 0x09c0_0000 };
            let credit = books.take("a", &share(length, target));
            credited += credit;
            most = most.max(credit);
        }
        let standing = books.standing("a");
        assert_eq!(standing.blocks, 100);
        // No share brings more than a part of a block, and what is not given yet is about a block at most.
        assert!(most < 0.8 && (credited - standing.credited).abs() < 1e-9, "{most}");
        assert!((95.0..101.5).contains(&credited) && standing.due < 2.0, "{credited} {standing:?}");
    }

    #[test]
    fn shares_without_blocks_earn_a_newcomer_little_and_newcomers_as_a_whole_no_trust() {
        let mut books = ChainBooks::default();
        let target = NETWORK.one_less();
        assert_eq!(books.trust(), TRUST_MAX);
        // Its own credit ends with its newness, and with the trust in newcomers.
        let credited: f64 = (0..2_000).map(|_| books.take("short", &share(0x09c0_0000, target))).sum();
        let standing = books.standing("short");
        assert!(standing.expected > 10.0 && standing.blocks == 0, "{standing:?}");
        assert!(credited < 1.5, "{credited}");
        assert!(books.odds("short") < 1e-3);
        assert_eq!(books.trust(), 0.0);
        // Another address is no better off, but for what it finds.
        let other = (0..1_000).map(|n| books.take(&n.to_string(), &share(0x09c0_0000, target))).sum::<f64>();
        assert_eq!(other, 0.0);
        let honest: f64 = (0..200)
            .map(|i| {
                books.take("honest", &share(if i % 40 == 0 { 0x0a90_0000 } else { 0x09c0_0000 }, target))
            })
            .sum();
        assert!((4.0..=5.0).contains(&honest), "{honest}");
    }

    #[test]
    fn of_blocks_with_one_parent_one_counts() {
        let mut books = ChainBooks::default();
        let first = share(0x0a90_0000, NETWORK);
        books.take("a", &first);
        for length in [0x0a90_0001, 0x0b00_0000] {
            books.take("a", &ChainShare { length: ChainLength(length), ..first });
        }
        assert_eq!(books.standing("a").blocks, 1);
        books.take("a", &share(0x0a90_0000, NETWORK));
        assert_eq!(books.standing("a").blocks, 2);
    }

    #[test]
    fn luck_is_poissons() {
        assert!((luck(0, 3.0) - (-3.0f64).exp()).abs() < 1e-12);
        assert!((luck(3, 1.0) - 0.0803).abs() < 1e-3);
        assert!((luck(2_000, 2_100.0) - 0.0146).abs() < 0.01);
        assert_eq!(luck(0, 0.0), 1.0);
    }

    #[test]
    fn what_was_measured_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chains");
        let mut books = ChainBooks::open(&path);
        for _ in 0..50 {
            books.take("a", &share(0x09c0_0000, NETWORK.one_less()));
            books.take("b", &share(0x0a90_0000, NETWORK.one_less()));
        }
        books.save().unwrap();
        let again = ChainBooks::open(&path);
        assert_eq!((again.standing("a"), again.standing("b")), (books.standing("a"), books.standing("b")));
        assert_eq!(again.ratio(9, NETWORK), books.ratio(9, NETWORK));
        assert_eq!((again.trust(), again.work()), (books.trust(), books.work()));
        std::fs::write(&path, "what\n").unwrap();
        assert_eq!(ChainBooks::open(&path).total(), Standing::default());
    }

    #[test]
    fn accounts_are_bounded() {
        let mut books = ChainBooks::default();
        for n in 0..=ACCOUNTS_MAX {
            books.take(&n.to_string(), &share(0x09c0_0000, NETWORK.one_less()));
        }
        assert!(books.accounts.len() <= ACCOUNTS_MAX / 2 + 1);
    }
}
