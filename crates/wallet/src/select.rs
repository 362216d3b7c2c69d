//! Coin choice: which coins pay for an amount, at what cost now and later.
//!
//! Four ways are tried: an exact match without change (branch and bound), the smallest coin that is enough, the largest
//! coins first, and, while fees are low, the smallest first. The one that wastes least is taken: a way wastes what its
//! inputs cost more now than at the rate expected later, and what change costs now and when it is spent, or what is
//! given away for want of change.

use lode_chain::policy::FeeRate;
use lode_coins::Coin;
use lode_primitives::{Amount, compact_size_len};

/// Steps of the search for an exact match: some milliseconds.
const SEARCH_STEPS_MAX: u32 = 100_000;
/// Coins gathered at most in passing, while fees are low.
const GATHER_MAX: usize = 50;

/// What a transaction must pay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeeRule {
    /// The coin, for what its consensus or its nodes ask for at least.
    pub(crate) coin: &'static Coin,
    /// The rate asked for.
    pub(crate) rate: FeeRate,
    /// The fee of a transaction that it replaces: it pays that, and for its own relay (BIP125, rules 3 and 4).
    pub(crate) replaces: Option<Amount>,
}

impl FeeRule {
    /// The fee of a transaction of `weight`, in satoshi.
    pub(crate) fn fee(&self, weight: usize) -> i64 {
        let vsize = weight.div_ceil(4) as u64;
        let replaced = self.replaces.map_or(0, |old| old.to_sat() + relay_rate(self.coin).fee(vsize));
        // Where consensus asks for a fee there are no witnesses, and virtual bytes are bytes.
        self.rate.fee(vsize).max(replaced).max(self.coin.least_fee(vsize as usize).to_sat())
    }

    /// The rate at which coins are expected to be spent some day: ten times the least that is relayed; where consensus
    /// sets the fee, that one.
    pub(crate) fn later(&self) -> FeeRate {
        let times = if self.coin.min_fee > Amount::ZERO { 1 } else { 10 };
        FeeRate::from_sat_per_kvb(relay_rate(self.coin).to_sat_per_kvb().saturating_mul(times))
    }
}

/// The least rate that the coin's nodes relay by default.
pub(crate) fn relay_rate(coin: &Coin) -> FeeRate {
    FeeRate::from_sat_per_kvb(coin.min_relay_fee.to_sat().unsigned_abs())
}

/// A coin that may be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// What it holds, satoshi.
    pub(crate) value: i64,
    /// Weight of the input that spends it.
    pub(crate) weight: usize,
}

/// What is to be paid.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) rule: FeeRule,
    /// To others, satoshi.
    pub(crate) target: i64,
    /// Weight of the transaction with its payments, but without inputs, their count, and change.
    pub(crate) base_weight: usize,
    /// Inputs that are there in any case.
    pub(crate) fixed: Vec<Candidate>,
    /// Weight of a change output.
    pub(crate) change_weight: usize,
    /// Weight of the input that spends it some day.
    pub(crate) change_spend_weight: usize,
    /// Change holds at least this.
    pub(crate) least_change: i64,
    /// The transaction weighs at most this.
    pub(crate) max_weight: usize,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Indexes of the candidates taken.
    pub(crate) taken: Vec<usize>,
    /// What comes back, if anything does.
    pub(crate) change: Option<i64>,
    /// What the transaction pays.
    pub(crate) fee: i64,
    /// What it weighs when signed, at most.
    pub(crate) weight: usize,
    waste: i64,
}

/// Why nothing was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// All candidates that are worth their input do not suffice; the fee is that of taking them all.
    Funds { fee: i64 },
    /// They suffice, but make too large a transaction.
    Weight { weight: usize },
}

impl Task {
    /// Chooses among `candidates`.
    pub(crate) fn choose(&self, candidates: &[Candidate]) -> Result<Choice, Short> {
        // A coin that costs more than it holds is no help.
        let mut useful: Vec<usize> =
            (0..candidates.len()).filter(|&at| self.effective(&candidates[at]) > 0).collect();
        useful.sort_by_key(|&at| std::cmp::Reverse(self.effective(&candidates[at])));
        let largest_first = self.accumulate(candidates, useful.iter().copied());
        let ways = [
            self.weigh(candidates, Vec::new()),
            self.exact(candidates, &useful),
            self.single(candidates, &useful),
            largest_first.clone().ok(),
            self.gather(candidates, &useful),
        ];
        let fits = |choice: &Choice| choice.weight <= self.max_weight;
        match ways.into_iter().flatten().filter(fits).min_by_key(|choice| choice.waste) {
            Some(choice) => Ok(choice),
            None => Err(match largest_first {
                Ok(choice) => Short::Weight { weight: choice.weight },
                Err(short) => short,
            }),
        }
    }

    /// What a coin adds after paying for its own input.
    fn effective(&self, candidate: &Candidate) -> i64 {
        candidate.value - self.rule.rate.fee(candidate.weight.div_ceil(4) as u64)
    }

    /// The transaction that takes these, if they suffice.
    pub(crate) fn weigh(&self, candidates: &[Candidate], taken: Vec<usize>) -> Option<Choice> {
        let inputs = || self.fixed.iter().chain(taken.iter().map(|&at| &candidates[at]));
        let count = inputs().count();
        if count == 0 {
            return None;
        }
        let value = inputs().try_fold(0i64, |sum, input| sum.checked_add(input.value))?;
        let input_weight: usize = inputs().map(|input| input.weight).sum();
        let weight = self.base_weight + input_weight + 4 * compact_size_len(count as u64);
        let over = value.checked_sub(self.target)?;
        let (now, later) = (self.rule.rate, self.rule.later());
        let vbytes = |weight: usize| weight.div_ceil(4) as u64;
        let timing = now.fee(vbytes(input_weight)) - later.fee(vbytes(input_weight));
        let with_change = weight + self.change_weight;
        let change = over - self.rule.fee(with_change);
        let spend_later = later.fee(vbytes(self.change_spend_weight));
        if change >= self.least_change.max(spend_later) {
            let fee = over - change;
            let cost = fee - self.rule.fee(weight) + spend_later;
            return Some(Choice {
                taken,
                change: Some(change),
                fee,
                weight: with_change,
                waste: timing + cost,
            });
        }
        let excess = over - self.rule.fee(weight);
        // No payment and no change: a transaction of nothing.
        (excess >= 0 && self.target > 0).then_some(Choice {
            taken,
            change: None,
            fee: over,
            weight,
            waste: timing + excess,
        })
    }

    /// Takes one after the other until they suffice.
    fn accumulate(
        &self,
        candidates: &[Candidate],
        order: impl Iterator<Item = usize>,
    ) -> Result<Choice, Short> {
        let mut taken = Vec::new();
        let (mut value, mut weight) = self.fixed.iter().fold((0i64, 0), |(value, weight), input| {
            (value.saturating_add(input.value), weight + input.weight)
        });
        let whole =
            |weight: usize, count: usize| self.base_weight + weight + 4 * compact_size_len(count as u64);
        for at in order {
            taken.push(at);
            value = value.saturating_add(candidates[at].value);
            weight += candidates[at].weight;
            let fee = self.rule.fee(whole(weight, taken.len() + self.fixed.len()));
            if value.saturating_sub(fee) >= self.target
                && let Some(choice) = self.weigh(candidates, taken.clone())
            {
                return Ok(choice);
            }
        }
        Err(Short::Funds { fee: self.rule.fee(whole(weight, taken.len() + self.fixed.len())) })
    }

    /// The smallest coin that is enough alone. `useful` is in falling order.
    fn single(&self, candidates: &[Candidate], useful: &[usize]) -> Option<Choice> {
        let enough = useful.partition_point(|&at| self.weigh(candidates, vec![at]).is_some());
        self.weigh(candidates, vec![*useful.get(enough.checked_sub(1)?)?])
    }

    /// While fees are low, the smallest first, some at a time.
    fn gather(&self, candidates: &[Candidate], useful: &[usize]) -> Option<Choice> {
        if self.rule.rate > self.rule.later() {
            return None;
        }
        self.accumulate(candidates, useful.iter().rev().copied().take(GATHER_MAX)).ok()
    }

    /// A set that needs no change: its effective values come to what is needed, or a little more than that, but by
    /// less than change would cost. Depth first, larger coins before smaller, with or without each.
    fn exact(&self, candidates: &[Candidate], useful: &[usize]) -> Option<Choice> {
        let fixed: i64 = self.fixed.iter().map(|input| self.effective(input)).sum();
        let need = self.target + self.rule.fee(self.base_weight + 4) - fixed;
        let change_cost = self.rule.fee(self.change_weight)
            + self.rule.later().fee(self.change_spend_weight.div_ceil(4) as u64);
        let values: Vec<i64> = useful.iter().map(|&at| self.effective(&candidates[at])).collect();
        let mut rest: Vec<i64> = vec![0; values.len() + 1];
        for at in (0..values.len()).rev() {
            rest[at] = rest[at + 1].saturating_add(values[at]);
        }
        let mut best: Option<Choice> = None;
        let mut path: Vec<usize> = Vec::new();
        let (mut at, mut sum) = (0, 0i64);
        for _ in 0..SEARCH_STEPS_MAX {
            let hopeless = sum > need + change_cost || sum.saturating_add(rest[at]) < need;
            if !hopeless && sum >= need {
                let taken = path.iter().map(|&place| useful[place]).collect();
                let choice = self.weigh(candidates, taken).filter(|choice| choice.change.is_none());
                if let Some(choice) = choice
                    && best.as_ref().is_none_or(|best| choice.waste < best.waste)
                {
                    best = Some(choice);
                }
            }
            if hopeless || sum >= need || at == values.len() {
                // Back to the last coin taken, and on without it; and without its equals, which would do the same.
                let Some(last) = path.pop() else { break };
                sum -= values[last];
                at = last + 1;
                while at < values.len() && values[at] == values[last] {
                    at += 1;
                }
            } else {
                path.push(at);
                sum += values[at];
                at += 1;
            }
            if path.is_empty() && at == values.len() {
                break;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INPUT: usize = 272;

    fn task(target: i64, sat_per_kvb: u64) -> Task {
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        Task {
            rule: FeeRule { coin, rate: FeeRate::from_sat_per_kvb(sat_per_kvb), replaces: None },
            target,
            base_weight: 42 + 124,
            fixed: Vec::new(),
            change_weight: 124,
            change_spend_weight: INPUT,
            least_change: 294,
            max_weight: 400_000,
        }
    }

    fn coins(values: &[i64]) -> Vec<Candidate> {
        values.iter().map(|&value| Candidate { value, weight: INPUT }).collect()
    }

    #[test]
    fn an_exact_match_is_found_and_needs_no_change() {
        let task = task(300_000, 1_000);
        let fee = task.rule.fee(42 + 124 + 4 + 2 * INPUT);
        let coins = coins(&[1_000_000, 170_000, 90_000, 130_000 + fee, 250_000]);
        let choice = task.choose(&coins).unwrap();
        assert_eq!((choice.change, choice.fee), (None, fee));
        assert_eq!(choice.taken.iter().map(|&at| coins[at].value).sum::<i64>(), 300_000 + fee);
    }

    #[test]
    fn high_fees_take_few_coins_and_low_fees_gather() {
        let mut values = vec![10_000; 40];
        values.push(1_000_000);
        let coins = coins(&values);
        let high = task(55_555, 50_000).choose(&coins).unwrap();
        assert_eq!(high.taken, [40]);
        let low = task(55_555, 100).choose(&coins).unwrap();
        assert!(low.taken.len() > 1 && !low.taken.contains(&40), "{low:?}");
    }

    #[test]
    fn what_costs_more_than_it_holds_stays() {
        let coins = coins(&[500, 500, 100_000]);
        assert_eq!(task(50_000, 10_000).choose(&coins).unwrap().taken, [2]);
        assert!(matches!(task(99_900, 10_000).choose(&coins), Err(Short::Funds { .. })));
    }

    #[test]
    fn too_many_inputs_are_told_from_too_little_money() {
        let coins = coins(&vec![1_000; 3_000]);
        assert!(matches!(task(2_000_000, 1_000).choose(&coins), Err(Short::Weight { .. })));
    }

    proptest! {
        /// Whatever is chosen pays the target and at least the fee asked for, and takes no coin twice.
        #[test]
        fn sums_are_right(
            values in prop::collection::vec(1_000i64..5_000_000, 1..60),
            target in 1_000i64..20_000_000,
            rate in 100u64..100_000,
        ) {
            let (task, coins) = (task(target, rate), coins(&values));
            match task.choose(&coins) {
                Ok(choice) => {
                    let mut seen = choice.taken.clone();
                    seen.sort_unstable();
                    seen.dedup();
                    prop_assert_eq!(seen.len(), choice.taken.len());
                    let value: i64 = choice.taken.iter().map(|&at| coins[at].value).sum();
                    prop_assert_eq!(value, target + choice.change.unwrap_or(0) + choice.fee);
                    prop_assert!(choice.fee >= task.rule.fee(choice.weight));
                    prop_assert!(choice.change.is_none_or(|change| change >= 294));
                    // Giving away is cheaper than change would be.
                    let over = choice.fee - task.rule.fee(choice.weight);
                    prop_assert!(over <= task.rule.fee(task.change_weight) + 294 + task.rule.later().fee(68));
                }
                Err(_) => {
                    let all: i64 = coins.iter().map(|coin| task.effective(coin).max(0)).sum();
                    prop_assert!(all < target + task.rule.fee(task.base_weight + 4) + 60);
                }
            }
        }
    }
}
