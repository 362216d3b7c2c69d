//! Splits of every kind: whatever the balances, the work, the reward and the room, the sums are exact.

use proptest::prelude::*;

use super::*;
use crate::balances::Balance;
use crate::registry::Registry;

fn script(n: u32, kind: u8) -> Vec<u8> {
    let key = [&n.to_be_bytes()[..], &[3; 28]].concat();
    match kind % 3 {
        0 => [&[0u8, 20][..], &key[..20]].concat(),
        1 => [&[0x51u8, 32][..], &key].concat(),
        _ => [&[0x76u8, 0xa9, 20][..], &key[..20], &[0x88, 0xac]].concat(),
    }
}

/// Balances that sum to zero, none of them zero.
fn state(registry: &mut Registry, amounts: &[(u32, i64, u32)]) -> State {
    let mut entries: Vec<Balance> = Vec::new();
    for (n, amount, seen) in amounts {
        let script = script(*n, *n as u8);
        let account = registry.account(&format!("a{n}"), &script).unwrap();
        if entries.iter().all(|entry| entry.account.script() != script) {
            entries.push(Balance { account, amount: *amount, waiting_since: *seen, seen: *seen });
        }
    }
    let sum: i64 = entries.iter().skip(1).map(|entry| entry.amount).sum();
    if let Some(first) = entries.first_mut() {
        first.amount = -sum;
    }
    entries.retain(|entry| entry.amount != 0);
    entries.sort_by(|a, b| a.account.script().cmp(b.account.script()));
    State { id: BlockHash([1; 32]), height: 50, entries }
}

fn sum(state: &State) -> i64 {
    state.entries.iter().map(|entry| entry.amount).sum()
}

proptest! {
    #[test]
    fn sums_are_exact_whatever_comes(
        work in prop::collection::btree_map(0u32..60, 1u128..1 << 100, 1..40),
        amounts in prop::collection::vec((0u32..80, -300_000_000i64..300_000_000, 0u32..100), 0..40),
        reward in prop_oneof![0i64..5_000, 0i64..10_000_000_000],
        basis_points in 0u16..=10_000,
        outputs in 1usize..50,
        bytes in 80usize..3_000,
        forget_after in 0u32..120,
    ) {
        let mut registry = Registry::default();
        let base = state(&mut registry, &amounts);
        prop_assert_eq!(sum(&base), 0);
        let mut work: Vec<(Arc<Account>, u128)> = work
            .into_iter()
            .map(|(n, units)| (registry.account(&format!("a{n}"), &script(n, n as u8)).unwrap(), units))
            .collect();
        work.sort_by(|a, b| a.0.script().cmp(b.0.script()));
        let units = work.iter().map(|(_, units)| units).sum();
        let fee = Some(Fee { script: vec![0x51; 25], basis_points });
        let rules = Rules { fee, forget_after, ..Rules::default() };
        let input = SplitInput {
            tip: BlockHash([2; 32]),
            height: 100,
            reward: Amount::from_sat(reward),
            made_ms: 0,
            base: &base,
            work,
            window: Sum { units, shares: 1 },
            settle_others: true,
        };
        let split = Arc::new(Split::new(input, &rules));
        let written_off: i64 = split.lines.iter().filter(|line| line.written_off).map(|line| line.before).sum();
        let earned: i64 = split.lines.iter().map(|line| line.earned).sum();
        prop_assert_eq!(earned, reward - split.fee.to_sat() + written_off);
        prop_assert!(split.lines.iter().all(|line| line.earned >= 0));

        let snapshot = split.snapshot(Limits { outputs, bytes, ..Limits::NONE });
        let paid = snapshot.outputs();
        prop_assert_eq!(paid.iter().map(|output| output.value.to_sat()).sum::<i64>(), reward);
        prop_assert!(paid.iter().all(|output| output.value.to_sat() > 0));
        prop_assert!(paid.len() <= outputs.max(2));
        // One payee is chosen even where there is no room for any.
        prop_assert!(snapshot.paid.len() == 1 || paid.iter().map(|o| output_len(&o.script_pubkey)).sum::<usize>() <= bytes);
        let dusty = |payout: &Payout<'_>| payout.amount.to_sat() < dust(payout.line.account.script());
        prop_assert!(snapshot.paid.len() == 1 || !snapshot.payouts().any(|payout| dusty(&payout)));

        let after = base.after(BlockHash([3; 32]), &snapshot);
        prop_assert_eq!(sum(&after), 0);
        prop_assert!(after.entries.iter().all(|entry| entry.amount != 0));
        prop_assert!(after.entries.windows(2).all(|pair| pair[0].account.script() < pair[1].account.script()));
        let owed: i64 = after.entries.iter().map(|entry| entry.amount.max(0)).sum();
        prop_assert_eq!(snapshot.carried().to_sat(), owed);
        for line in &split.lines {
            let payment = snapshot.payment_of(line.account.script());
            prop_assert_eq!(payment.after, after.balance(line.account.script()));
            prop_assert_eq!(payment.earned + if line.written_off { 0 } else { line.before } - payment.paid, payment.after);
        }

        // As bytes and back it settles the same.
        let bytes = snapshot.to_bytes();
        let read = PayoutSnapshot::from_bytes(&bytes, &mut registry).unwrap();
        prop_assert_eq!(read.to_bytes(), bytes.clone());
        prop_assert_eq!(read.outputs(), paid);
        prop_assert!(PayoutSnapshot::from_bytes(&bytes[..bytes.len() - 1], &mut registry).is_err());
    }

    #[test]
    fn parts_telescope(total in 0i64..2_100_000_000_000_000, weights in prop::collection::vec(0u128..u128::MAX >> 8, 1..50)) {
        let parts = telescope(total, weights.iter().copied());
        let sum: u128 = weights.iter().sum();
        if sum == 0 {
            prop_assert!(parts.iter().all(|part| *part == 0));
            return Ok(());
        }
        prop_assert_eq!(parts.iter().sum::<i64>(), total);
        for (part, weight) in parts.iter().zip(&weights) {
            let exact = U256::from(total as u64) * U256::from(*weight) / U256::from(sum);
            prop_assert!((i128::from(*part) - exact.to::<u128>() as i128).abs() <= 1);
        }
    }

    #[test]
    fn no_bytes_make_a_snapshots_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let with_version = [&[1u8][..], &bytes].concat();
        let _ = PayoutSnapshot::from_bytes(&with_version, &mut Registry::default());
    }
}

#[test]
fn dust_is_as_the_reference_client_has_it() {
    assert_eq!(dust(&[&[0u8, 20][..], &[0; 20]].concat()), 294);
    assert_eq!(dust(&[&[0u8, 32][..], &[0; 32]].concat()), 330);
    assert_eq!(dust(&[&[0x51u8, 32][..], &[0; 32]].concat()), 330);
    assert_eq!(dust(&[&[0x76u8, 0xa9, 20][..], &[0; 20], &[0x88, 0xac]].concat()), 546);
    assert_eq!(dust(&[&[0xa9u8, 20][..], &[0; 20], &[0x87]].concat()), 540);
}

/// A coinbase may be full of payouts to witness programs; one to a key's hash costs a signature operation.
#[test]
fn signature_operations_are_those_of_the_scripts_paid() {
    let hash = |n: u8| [&[0x76u8, 0xa9, 20][..], &[n; 20], &[0x88, 0xac]].concat();
    let witness = |n: u8| [&[0u8, 20][..], &[n; 20]].concat();
    for (script, cost) in [
        (hash(0xac), 4),
        ([&[33u8][..], &[2; 33], &[0xac]].concat(), 4),
        (witness(0xac), 0),
        ([&[0x51u8, 32][..], &[0xac; 32]].concat(), 0),
        ([&[0xa9u8, 20][..], &[0xac; 20], &[0x87]].concat(), 0),
    ] {
        assert_eq!(sigop_cost(&script), cost, "{script:x?}");
    }
    let mut registry = Registry::default();
    let mut scripts: Vec<Vec<u8>> = (1..=9).flat_map(|n| [hash(n), witness(n)]).collect();
    scripts.sort();
    let work: Vec<_> = scripts
        .iter()
        .enumerate()
        .map(|(n, script)| (registry.account(&format!("a{n}"), script).unwrap(), 10u128))
        .collect();
    let base = State::default();
    let input = SplitInput {
        tip: BlockHash([2; 32]),
        height: 100,
        reward: Amount::from_coins(50),
        made_ms: 0,
        base: &base,
        work,
        window: Sum { units: 180, shares: 18 },
        settle_others: true,
    };
    let split = Arc::new(Split::new(input, &Rules::default()));
    let paid = split.snapshot(Limits { sigops: 15, ..Limits::NONE }).outputs();
    let keys = paid.iter().filter(|output| output.script_pubkey[0] == 0x76).count();
    assert_eq!((keys, paid.len()), (3, 12), "three at four each, and all that cost nothing");
}
