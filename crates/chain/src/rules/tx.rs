//! Rules about one transaction: by itself, and against the outputs it spends.

use std::collections::HashSet;

use lode_coins::Coin;
use lode_primitives::{Amount, Height, OutPoint, SEQUENCE_FINAL, Transaction};

use crate::TxError;
use crate::limits::{COINBASE_SCRIPT_BYTES, LOCKTIME_THRESHOLD};
use crate::utxo::Utxo;

/// From this many inputs on, duplicates are looked for with a set.
const FEW_INPUTS: usize = 16;

/// What a transaction must be by itself (reference client: `CheckTransaction`).
pub(crate) fn check(coin: &Coin, tx: &Transaction) -> Result<(), TxError> {
    if tx.inputs.is_empty() {
        return Err(TxError::NoInputs);
    }
    let data = tx.data.as_deref().unwrap_or_default();
    // Data is reason enough for a transaction.
    if tx.outputs.is_empty() && data.is_empty() {
        return Err(TxError::NoOutputs);
    }
    if data.len() > coin.max_data {
        return Err(TxError::DataTooLong { size: data.len(), max: coin.max_data });
    }
    let size = tx.base_size();
    if size * lode_script::WITNESS_SCALE > coin.max_block_weight {
        return Err(TxError::Oversize(size));
    }
    let mut total = Amount::ZERO;
    for (index, output) in tx.outputs.iter().enumerate() {
        if output.value < Amount::ZERO {
            return Err(TxError::OutputNegative(index));
        }
        if output.value > coin.max_money {
            return Err(TxError::OutputTooLarge(index));
        }
        if output.value < coin.min_output {
            let (value, least) = (output.value, coin.min_output);
            return Err(TxError::OutputTooSmall { output: index, value, least });
        }
        total = total
            .checked_add(output.value)
            .filter(|total| total.is_money(coin.max_money))
            .ok_or(TxError::OutputTotalTooLarge)?;
    }
    if let Some(twice) = duplicate_input(tx) {
        return Err(TxError::DuplicateInput(twice));
    }
    if tx.is_coinbase() {
        let length = tx.inputs[0].script_sig.len();
        if !COINBASE_SCRIPT_BYTES.contains(&length) {
            return Err(TxError::CoinbaseLength(length));
        }
    } else if let Some(index) = tx.inputs.iter().position(|input| input.prevout.is_null()) {
        return Err(TxError::NullPrevout(index));
    }
    Ok(())
}

fn duplicate_input(tx: &Transaction) -> Option<OutPoint> {
    let mut prevouts = tx.inputs.iter().map(|input| input.prevout);
    if tx.inputs.len() <= FEW_INPUTS {
        let before =
            |index: usize, prevout: OutPoint| tx.inputs[..index].iter().any(|input| input.prevout == prevout);
        prevouts.enumerate().find(|&(index, prevout)| before(index, prevout)).map(|(_, prevout)| prevout)
    } else {
        let mut seen = HashSet::with_capacity(tx.inputs.len());
        prevouts.find(|prevout| !seen.insert(*prevout))
    }
}

/// True where the lock time is reached in a block at `height` whose clock, for lock times, shows `time`: the median
/// time past of its parent (BIP113), the block's own time before that rule.
pub fn is_final(tx: &Transaction, height: Height, time: u32) -> bool {
    let now = if tx.lock_time < LOCKTIME_THRESHOLD { height } else { time };
    tx.lock_time == 0 || tx.lock_time < now || tx.inputs.iter().all(|input| input.sequence == SEQUENCE_FINAL)
}

/// The fee, where every input may be spent at `height` as far as amounts and maturity go (reference client:
/// `CheckTxInputs`). `spent` are the outputs in the order of the inputs.
pub(crate) fn check_inputs(
    coin: &Coin,
    tx: &Transaction,
    spent: &[Utxo],
    height: Height,
) -> Result<Amount, TxError> {
    let mut total = Amount::ZERO;
    for (input, utxo) in tx.inputs.iter().zip(spent) {
        let depth = height.saturating_sub(utxo.height);
        if utxo.coinbase && depth < coin.coinbase_maturity {
            return Err(TxError::PrematureCoinbaseSpend {
                outpoint: input.prevout,
                depth,
                maturity: coin.coinbase_maturity,
            });
        }
        total = total
            .checked_add(utxo.output.value)
            .filter(|total| utxo.output.value.is_money(coin.max_money) && total.is_money(coin.max_money))
            .ok_or(TxError::InputValuesOutOfRange)?;
    }
    let paid = Amount::checked_sum(tx.outputs.iter().map(|output| output.value))
        .ok_or(TxError::OutputTotalTooLarge)?;
    match total.checked_sub(paid) {
        Some(fee) if fee < Amount::ZERO => Err(TxError::PaysMoreThanSpent { spent: total, paid }),
        Some(fee) if fee.is_money(coin.max_money) => {
            let size = tx.total_size();
            let least = coin.least_fee(size);
            if fee < least { Err(TxError::FeeTooLow { fee, size, least }) } else { Ok(fee) }
        }
        _ => Err(TxError::FeeOutOfRange),
    }
}

/// Until when a transaction's relative locks (BIP68) keep it out: it may be in a block above `height` whose parent's
/// median time past is above `time`. `None` where there is no lock of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SequenceLocks {
    /// Last height at which it is locked.
    pub height: Option<Height>,
    /// Last median time past at which it is locked, Unix seconds.
    pub time: Option<u32>,
}

const SEQUENCE_DISABLED: u32 = 1 << 31;
const SEQUENCE_IS_TIME: u32 = 1 << 22;
const SEQUENCE_MASK: u32 = 0xffff;
/// Relative lock times count units of 512 seconds.
const SEQUENCE_TIME_SHIFT: u32 = 9;

impl SequenceLocks {
    /// The locks of `tx`, whose inputs were made at `heights`. `median_time_before(h)` is the median time past of the
    /// block below height `h`.
    pub(crate) fn of(
        tx: &Transaction,
        heights: impl IntoIterator<Item = Height>,
        median_time_before: impl Fn(Height) -> u32,
    ) -> Self {
        let mut locks = Self::default();
        // The version counts as unsigned here.
        if (tx.version as u32) < 2 {
            return locks;
        }
        for (input, height) in tx.inputs.iter().zip(heights) {
            if input.sequence & SEQUENCE_DISABLED != 0 {
                continue;
            }
            let span = input.sequence & SEQUENCE_MASK;
            // A span of nothing from height or time 0 is below everything: no lock.
            if input.sequence & SEQUENCE_IS_TIME != 0 {
                let from = median_time_before(height);
                locks.time = locks.time.max(from.saturating_add(span << SEQUENCE_TIME_SHIFT).checked_sub(1));
            } else {
                locks.height = locks.height.max(height.saturating_add(span).checked_sub(1));
            }
        }
        locks
    }

    /// True where the locks are open in a block at `height` whose parent's median time past is `median_time`.
    pub fn are_open(&self, height: Height, median_time: u32) -> bool {
        self.height.is_none_or(|last| last < height) && self.time.is_none_or(|last| last < median_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{TxOut, Txid};

    fn coin() -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").unwrap()
    }

    fn tx(inputs: usize, values: &[i64]) -> Transaction {
        let prevout = |vout: usize| OutPoint { txid: Txid([7; 32]), vout: vout as u32 };
        crate::testing::spend(&(0..inputs).map(prevout).collect::<Vec<_>>(), values)
    }

    fn utxo(sat: i64, height: Height, coinbase: bool) -> Utxo {
        Utxo { output: TxOut { value: Amount::from_sat(sat), script_pubkey: vec![] }, height, coinbase }
    }

    const MAX: i64 = 2_100_000_000_000_000;

    #[test]
    fn each_rule_from_both_sides() {
        let verdict = |tx: &Transaction| check(coin(), tx).map_err(|error| error.reject_reason());
        assert_eq!(verdict(&tx(1, &[0])), Ok(()));
        assert_eq!(verdict(&tx(0, &[0])).unwrap_err(), "bad-txns-vin-empty");
        assert_eq!(verdict(&tx(1, &[])).unwrap_err(), "bad-txns-vout-empty");
        assert_eq!(verdict(&tx(1, &[-1])).unwrap_err(), "bad-txns-vout-negative");
        assert_eq!(verdict(&tx(1, &[MAX])), Ok(()));
        assert_eq!(verdict(&tx(1, &[MAX + 1])).unwrap_err(), "bad-txns-vout-toolarge");
        assert_eq!(verdict(&tx(1, &[MAX - 1, 1])), Ok(()));
        assert_eq!(verdict(&tx(1, &[MAX, 1])).unwrap_err(), "bad-txns-txouttotal-toolarge");
        for inputs in [2, 40] {
            let mut twice = tx(inputs, &[0]);
            assert_eq!(verdict(&twice), Ok(()));
            twice.inputs[inputs - 1].prevout = twice.inputs[0].prevout;
            assert_eq!(verdict(&twice).unwrap_err(), "bad-txns-inputs-duplicate");
        }
        let mut null = tx(2, &[0]);
        null.inputs[1].prevout = OutPoint::NULL;
        assert_eq!(verdict(&null).unwrap_err(), "bad-txns-prevout-null");
        for (length, good) in [(1, false), (2, true), (100, true), (101, false)] {
            let mut coinbase = tx(1, &[0]);
            coinbase.inputs[0].prevout = OutPoint::NULL;
            coinbase.inputs[0].script_sig = vec![0; length];
            let wanted = if good { Ok(()) } else { Err("bad-cb-length".to_owned()) };
            assert_eq!(verdict(&coinbase), wanted);
        }
        let mut large = tx(1, &[0]);
        let rest = large.base_size();
        large.outputs[0].script_pubkey = vec![0; 1_000_000 - rest - 4 + 1];
        assert_eq!(large.base_size(), 1_000_000);
        assert_eq!(verdict(&large), Ok(()));
        large.outputs[0].script_pubkey.push(0);
        assert_eq!(verdict(&large).unwrap_err(), "bad-txns-oversize");
    }

    #[test]
    fn amounts_and_maturity() {
        let fee = |spent: &[Utxo], paid: i64, height| {
            check_inputs(coin(), &tx(spent.len(), &[paid]), spent, height)
                .map_err(|error| error.reject_reason())
        };
        assert_eq!(fee(&[utxo(5, 1, false)], 5, 2), Ok(Amount::ZERO));
        assert_eq!(fee(&[utxo(5, 1, false)], 6, 2).unwrap_err(), "bad-txns-in-belowout");
        assert_eq!(fee(&[utxo(5, 1, true)], 1, 101), Ok(Amount::from_sat(4)));
        assert_eq!(fee(&[utxo(5, 1, true)], 1, 100).unwrap_err(), "bad-txns-premature-spend-of-coinbase");
        assert_eq!(
            fee(&[utxo(MAX, 1, false), utxo(1, 1, false)], 1, 2).unwrap_err(),
            "bad-txns-inputvalues-outofrange"
        );
    }

    #[test]
    fn lock_times() {
        let mut tx = tx(1, &[0]);
        tx.lock_time = 100;
        assert!(is_final(&tx, 5, 0)); // every sequence is final
        tx.inputs[0].sequence = 0;
        assert!(!is_final(&tx, 100, 0));
        assert!(is_final(&tx, 101, 0));
        tx.lock_time = LOCKTIME_THRESHOLD;
        assert!(!is_final(&tx, u32::MAX, LOCKTIME_THRESHOLD));
        assert!(is_final(&tx, 0, LOCKTIME_THRESHOLD + 1));
    }

    #[test]
    fn relative_locks() {
        let locks = |version, sequence, height| {
            let mut tx = tx(1, &[0]);
            tx.version = version;
            tx.inputs[0].sequence = sequence;
            SequenceLocks::of(&tx, [height], |height| height * 1_000)
        };
        assert_eq!(locks(1, 10, 5), SequenceLocks::default());
        assert_eq!(locks(2, SEQUENCE_DISABLED | 10, 5), SequenceLocks::default());
        let ten = locks(2, 10, 5);
        assert!(!ten.are_open(14, 0) && ten.are_open(15, 0));
        assert!(locks(-1, 10, 5).height.is_some());
        let time = locks(2, SEQUENCE_IS_TIME | 3, 5);
        assert!(!time.are_open(0, 5_000 + 3 * 512 - 1) && time.are_open(0, 5_000 + 3 * 512));
        assert!(locks(2, 0, 0).are_open(1, 0));
    }
}
