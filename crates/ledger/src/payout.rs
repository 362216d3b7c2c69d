//! The payout split: a reward divided among those whose work is in the window, and what of it fits into a coinbase.
//!
//! [`Split`] says what everyone has earned, once per template; [`Split::snapshot`] chooses the outputs for one size
//! class of coinbase, and is what settles if that job finds a block. The rules:
//!
//! - Earned: with accounts in the order of their scripts, account i gets the difference of the running sums
//!   `floor(reward * work up to i / all work)`. The differences telescope: they sum to the reward exactly.
//! - Due: earned plus the balance from before. All dues together are the reward.
//! - Paid: whose due is worth an output. Where there are more than fit, a quarter of the places go to those who wait
//!   longest, the others to the largest dues.
//! - What the unpaid are due is advanced to those paid, in proportion to what they earned; they owe it from then on.
//!   So every balance is someone's claim on the others: balances sum to zero, and the pool holds nothing.
//! - Written off: a balance that is a debt, or too small to pay, of an account without work for
//!   [`Rules::forget_after`] blocks. All who earned share it in proportion.

use std::sync::Arc;

use lode_primitives::{Amount, BlockHash, Height, Transaction, TxOut, U256, compact_size_len};

use crate::balances::State;
use crate::registry::Account;
use crate::window::Sum;

/// The pool's fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    /// The pool's payout script.
    pub script: Vec<u8>,
    /// Hundredths of a percent of the reward, at most 10,000.
    pub basis_points: u16,
}

/// What a split follows beside the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The pool's fee, if it takes one.
    pub fee: Option<Fee>,
    /// Least payout worth an output; the dust limit of the output's kind holds as well.
    pub payout_min: Amount,
    /// The least output that the coin's consensus allows; zero where it has no such rule.
    pub output_min: Amount,
    /// Blocks of the chain without work after which a debt or a dust balance is written off.
    pub forget_after: Height,
}

impl Default for Rules {
    /// No fee, payouts from 1,000 satoshi, a month of ten-minute blocks.
    fn default() -> Self {
        Self { fee: None, payout_min: Amount::from_sat(1_000), output_min: Amount::ZERO, forget_after: 4_320 }
    }
}

/// Room for payouts in a coinbase, fee included; a size class of miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most outputs.
    pub outputs: usize,
    /// Most bytes of outputs.
    pub bytes: usize,
    /// Most signature operations of outputs, in cost units (BIP141).
    pub sigops: usize,
}

impl Limits {
    /// No limit but the block's.
    pub const NONE: Self = Self { outputs: usize::MAX, bytes: usize::MAX, sigops: usize::MAX };
}

/// An account's part in a split.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose.
    pub account: Arc<Account>,
    /// Its work in the window.
    pub units: u128,
    /// Its part of the reward, satoshi.
    pub earned: i64,
    /// Its balance before: owed to it, or (negative) by it. Satoshi.
    pub before: i64,
    /// Since which height it has been waiting to be paid, where `before` is above zero.
    pub(crate) waiting_since: Height,
    /// The height of the last split it had work in.
    pub(crate) seen: Height,
    /// Its balance is written off: it is not due any more.
    pub written_off: bool,
}

impl Line {
    /// What it is due: earned and owed. Satoshi.
    pub fn due(&self) -> i64 {
        if self.written_off { 0 } else { self.earned + self.before }
    }
}

/// What everyone has earned of one template's reward.
#[derive(Clone, Debug)]
pub struct Split {
    /// The block that the template builds on.
    pub tip: BlockHash,
    /// The template's height.
    pub height: Height,
    /// Subsidy and transaction fees, satoshi.
    pub reward: Amount,
    /// The pool's part, satoshi; zero where it would be dust.
    pub fee: Amount,
    /// Where it goes.
    pub fee_script: Option<Vec<u8>>,
    /// Whose balances it builds on: the last block of the pool's own below, or all zeros.
    pub base: BlockHash,
    /// By script. Those with work in the window or with a balance.
    pub lines: Vec<Line>,
    /// All work in the window.
    pub window: Sum,
    /// When it was made, Unix milliseconds.
    pub made_ms: u64,
    /// Least payout.
    pub(crate) payout_min: Amount,
    /// Least output by consensus.
    pub(crate) output_min: Amount,
}

/// What a split is of.
pub(crate) struct SplitInput<'a> {
    pub(crate) tip: BlockHash,
    pub(crate) height: Height,
    pub(crate) reward: Amount,
    pub(crate) made_ms: u64,
    pub(crate) base: &'a State,
    /// Accounts with work, by script.
    pub(crate) work: Vec<(Arc<Account>, u128)>,
    pub(crate) window: Sum,
    /// Whether accounts without work that have a balance take part.
    pub(crate) settle_others: bool,
}

/// Balances above this many are written off as soon as their account has no work left: bounds the books in memory and
/// on disk (about 100 bytes each) against one who mines a share under each of a million names.
pub const MAX_BALANCES: usize = 250_000;

impl Split {
    pub(crate) fn new(input: SplitInput<'_>, rules: &Rules) -> Self {
        let SplitInput { tip, height, reward, made_ms, base, work, window, settle_others } = input;
        let payout_min = rules.payout_min.max(rules.output_min);
        let mut lines = Vec::with_capacity(work.len() + base.entries.len());
        let mut entries = base.entries.iter().peekable();
        let forget_after = if base.entries.len() > MAX_BALANCES { 0 } else { rules.forget_after };
        let idle = |entry: &crate::balances::Balance| {
            let gone = height.saturating_sub(entry.seen) > forget_after;
            Line {
                account: Arc::clone(&entry.account),
                units: 0,
                earned: 0,
                before: entry.amount,
                waiting_since: entry.waiting_since,
                seen: entry.seen,
                written_off: gone && entry.amount < threshold(entry.account.script(), payout_min),
            }
        };
        for (account, units) in work {
            while let Some(entry) = entries.next_if(|entry| entry.account.script() < account.script()) {
                if settle_others {
                    lines.push(idle(entry));
                }
            }
            let (before, waiting_since) = entries
                .next_if(|entry| entry.account.script() == account.script())
                .map_or((0, height), |entry| (entry.amount, entry.waiting_since));
            lines.push(Line {
                account,
                units,
                earned: 0,
                before,
                waiting_since,
                seen: height,
                written_off: false,
            });
        }
        if settle_others {
            lines.extend(entries.map(idle));
        }
        let (fee, fee_script) = fee_of(reward, rules);
        let mut miners = reward.to_sat() - fee.to_sat();
        let written_off: i64 = lines.iter().filter(|line| line.written_off).map(|line| line.before).sum();
        if miners + written_off >= 0 {
            miners += written_off;
        } else {
            lines.iter_mut().for_each(|line| line.written_off = false);
        }
        let parts = telescope(miners, lines.iter().map(|line| line.units));
        for (line, earned) in lines.iter_mut().zip(parts) {
            line.earned = earned;
        }
        Self {
            tip,
            height,
            reward,
            fee,
            fee_script,
            base: base.id,
            lines,
            window,
            made_ms,
            payout_min,
            output_min: rules.output_min,
        }
    }

    /// Chooses the outputs for one size class. With a fee, `limits` should leave room for two outputs at least; a
    /// payee is chosen even where there is none.
    pub fn snapshot(self: &Arc<Self>, limits: Limits) -> PayoutSnapshot {
        let (fee_bytes, fee_sigops) =
            self.fee_script.as_ref().map_or((0, 0), |script| (output_len(script), sigop_cost(script)));
        let room = Limits {
            outputs: limits.outputs.saturating_sub(usize::from(self.fee_script.is_some())).max(1),
            bytes: limits.bytes.saturating_sub(fee_bytes),
            sigops: limits.sigops.saturating_sub(fee_sigops),
        };
        let mut paid = self.choose(room);
        let line = |index: u32| &self.lines[index as usize];
        paid.sort_by(|a, b| {
            b.1.cmp(&a.1).then_with(|| line(a.0).account.script().cmp(line(b.0).account.script()))
        });
        PayoutSnapshot { split: Arc::clone(self), paid }
    }

    /// The lines paid and their amounts, which sum to the miners' part.
    fn choose(&self, room: Limits) -> Vec<(u32, i64)> {
        let total = self.reward.to_sat() - self.fee.to_sat();
        if total <= 0 {
            return Vec::new();
        }
        let line = |index: &u32| &self.lines[*index as usize];
        let mut payable: Vec<u32> = (0..self.lines.len() as u32)
            .filter(|i| line(i).due() >= threshold(line(i).account.script(), self.payout_min))
            .collect();
        let bytes: usize = payable.iter().map(|i| output_len(line(i).account.script())).sum();
        let sigops: usize = payable.iter().map(|i| sigop_cost(line(i).account.script())).sum();
        if payable.len() > room.outputs || bytes > room.bytes || sigops > room.sigops {
            let mut by_age: Vec<u32> = payable.iter().copied().filter(|i| line(i).before > 0).collect();
            by_age.sort_by_key(|i| (line(i).waiting_since, -line(i).due()));
            by_age.truncate((room.outputs / 4).max(usize::from(room.outputs > 1)));
            let aged: std::collections::HashSet<u32> = by_age.iter().copied().collect();
            payable.retain(|i| !aged.contains(i));
            payable.sort_by_key(|i| (-line(i).due(), *i));
            let mut left = room;
            payable = by_age
                .into_iter()
                .chain(payable)
                .filter(|i| {
                    let script = line(i).account.script();
                    let (len, cost) = (output_len(script), sigop_cost(script));
                    let fits = left.outputs > 0 && left.bytes >= len && left.sigops >= cost;
                    if fits {
                        left = Limits {
                            outputs: left.outputs - 1,
                            bytes: left.bytes - len,
                            sigops: left.sigops - cost,
                        };
                    }
                    fits
                })
                .collect();
        }
        loop {
            let dues: i64 = payable.iter().map(|i| line(i).due()).sum();
            let earned: i64 = payable.iter().map(|i| line(i).earned).sum();
            // More than is due: the rest is advanced to those who are earning. Less: all get less, and are owed it.
            let amounts = if dues <= total && earned > 0 {
                let extra = telescope(total - dues, payable.iter().map(|i| line(i).earned as u128));
                payable.iter().zip(extra).map(|(i, extra)| line(i).due() + extra).collect()
            } else {
                telescope(total, payable.iter().map(|i| line(i).due() as u128))
            };
            let before = payable.len();
            let paid: Vec<(u32, i64)> = payable
                .into_iter()
                .zip(amounts)
                .filter(|(i, amount)| *amount >= threshold(line(i).account.script(), self.output_min))
                .collect();
            if paid.is_empty() {
                // Not even one output that is allowed: the largest due takes all, and owes the others.
                let largest =
                    (0..self.lines.len() as u32).max_by_key(|i| (line(i).due(), std::cmp::Reverse(*i)));
                return largest.map(|i| vec![(i, total)]).unwrap_or_default();
            }
            if paid.len() == before {
                return paid;
            }
            payable = paid.into_iter().map(|(i, _)| i).collect();
        }
    }
}

/// What a job's coinbase pays, and so what settles if it finds a block: a split and the choice for one size class.
#[derive(Clone, Debug)]
pub struct PayoutSnapshot {
    /// What everyone has earned.
    pub split: Arc<Split>,
    /// Index of the line, and satoshi paid to it.
    pub(crate) paid: Vec<(u32, i64)>,
}

/// One output of a coinbase and its reasons.
#[derive(Clone, Debug)]
pub struct Payout<'a> {
    /// Earned, and the balance before.
    pub line: &'a Line,
    /// Paid in the coinbase.
    pub amount: Amount,
    /// The balance after: below zero is what it got ahead of others.
    pub after: i64,
}

/// Why a coinbase is not what its snapshot says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// An output is missing or another is in its place.
    #[error("output {index} pays {found:?}, the ledger says {expected:?}")]
    Output {
        /// Its place.
        index: usize,
        /// What the snapshot has there: satoshi and script as hex.
        expected: Option<(i64, String)>,
        /// What the coinbase has there.
        found: Option<(i64, String)>,
    },
    /// The outputs do not sum to the reward.
    #[error("the coinbase pays {found}, the reward is {expected}")]
    Sum {
        /// The reward.
        expected: Amount,
        /// The sum.
        found: Amount,
    },
}

impl PayoutSnapshot {
    /// The outputs, largest first, the pool's fee last. They sum to the reward.
    pub fn outputs(&self) -> Vec<TxOut> {
        let fee = self.split.fee_script.as_ref().map(|script| (script.as_slice(), self.split.fee));
        self.payouts()
            .map(|payout| (payout.line.account.script(), payout.amount))
            .chain(fee)
            .map(|(script, value)| TxOut { value, script_pubkey: script.to_vec() })
            .collect()
    }

    /// Who is paid, largest first, without the fee.
    pub fn payouts(&self) -> impl Iterator<Item = Payout<'_>> {
        self.paid.iter().map(|(index, amount)| {
            let line = &self.split.lines[*index as usize];
            Payout { line, amount: Amount::from_sat(*amount), after: line.due() - amount }
        })
    }

    /// What this job owes to those it does not pay, satoshi: the sum of all positive balances after it.
    pub fn carried(&self) -> Amount {
        let mut paid: Vec<i64> = vec![0; self.split.lines.len()];
        self.paid.iter().for_each(|(index, amount)| paid[*index as usize] = *amount);
        let after = self.split.lines.iter().zip(paid).map(|(line, paid)| (line.due() - paid).max(0));
        Amount::from_sat(after.sum())
    }

    /// Checks that `coinbase` pays exactly this: the outputs in their order, nothing more but outputs of value zero
    /// (commitments), the whole being the reward.
    pub fn check(&self, coinbase: &Transaction) -> Result<(), CheckError> {
        let show = |output: &TxOut| (output.value.to_sat(), hex::encode(&output.script_pubkey));
        let expected = self.outputs();
        let found: Vec<&TxOut> =
            coinbase.outputs.iter().filter(|output| output.value != Amount::ZERO).collect();
        for index in 0..expected.len().max(found.len()) {
            let (want, have) = (expected.get(index), found.get(index).copied());
            if want != have {
                return Err(CheckError::Output { index, expected: want.map(show), found: have.map(show) });
            }
        }
        let sum = Amount::checked_sum(found.iter().map(|output| output.value)).unwrap_or(Amount::ZERO);
        if sum != self.split.reward {
            return Err(CheckError::Sum { expected: self.split.reward, found: sum });
        }
        Ok(())
    }
}

/// The fee, and where it goes; none where it would be dust.
fn fee_of(reward: Amount, rules: &Rules) -> (Amount, Option<Vec<u8>>) {
    let Some(Fee { script, basis_points }) = &rules.fee else { return (Amount::ZERO, None) };
    let fee = i128::from(reward.to_sat()) * i128::from((*basis_points).min(10_000)) / 10_000;
    let fee = i64::try_from(fee).unwrap_or(0);
    if fee < threshold(script, rules.output_min) {
        (Amount::ZERO, None)
    } else {
        (Amount::from_sat(fee), Some(script.clone()))
    }
}

/// Divides `total` in proportion to `weights` by differences of rounded-down running sums: exact whatever the order,
/// nobody is more than one unit from the true quotient. All zeros where all weights are.
fn telescope(total: i64, weights: impl Iterator<Item = u128> + Clone) -> Vec<i64> {
    let Some(sum) = weights.clone().try_fold(0u128, u128::checked_add).filter(|sum| *sum > 0) else {
        return weights.map(|_| 0).collect();
    };
    let total = u128::from(total.max(0).unsigned_abs());
    let narrow = total.checked_mul(sum).is_some();
    let (mut running, mut given) = (0u128, 0u128);
    weights
        .map(|weight| {
            running += weight;
            let upto = if narrow {
                total * running / sum
            } else {
                (U256::from(total) * U256::from(running) / U256::from(sum)).to::<u128>()
            };
            let part = upto - given;
            given = upto;
            part as i64
        })
        .collect()
}

/// Cost of the signature operations that an output's script has by itself: four for one to a bare key or to its hash,
/// none for script hashes and witness programs (BIP141).
fn sigop_cost(script: &[u8]) -> usize {
    match script {
        [0x76, .., 0xac] | [33 | 65, .., 0xac] => 4,
        _ => 0,
    }
}

/// Bytes of an output with this script.
pub(crate) fn output_len(script: &[u8]) -> usize {
    8 + compact_size_len(script.len() as u64) + script.len()
}

/// The least a payout to this script must be, satoshi.
fn threshold(script: &[u8], payout_min: Amount) -> i64 {
    dust(script).max(payout_min.to_sat())
}

/// Below this an output costs more to spend than it is worth, satoshi: Bitcoin Core's `GetDustThreshold` at its
/// default of 3 satoshi per virtual byte, for the bytes of the output and of the input that will spend it.
pub fn dust(script: &[u8]) -> i64 {
    let is_witness = script.len() >= 4
        && script.len() <= 42
        && (script[0] == 0 || (0x51..=0x60).contains(&script[0]))
        && usize::from(script[1]) + 2 == script.len();
    let spend = if is_witness { 32 + 4 + 1 + 107 / 4 + 4 } else { 32 + 4 + 1 + 107 + 4 };
    3 * (output_len(script) + spend) as i64
}

#[cfg(test)]
#[path = "payout_tests.rs"]
mod tests;
