//! What an attacker could do to a payment that lies under so many blocks: section 11 of the Bitcoin paper.
//!
//! The attacker mines a chain of his own in which the payment is not made. While the payee waits for `z` blocks the
//! honest miners are expected to take `z / p` spacings, in which the attacker finds a number of blocks that is Poisson
//! distributed with mean `z q / p`. From what he is behind then he catches up as a gambler does who may play for ever.

use serde::Serialize;

/// Confirmations looked at, at the most: where an attacker comes that close to half of all power no number suffices.
const CONFIRMATIONS_MAX: u32 = 100_000;

/// An attacker who holds this share of the hash power succeeds for certain, in the long run.
pub const MAJORITY: f64 = 0.5;

/// The probability that an attacker with the share `attacker` of all hash power (0 to 1) ever catches up with the honest
/// chain from `confirmations` blocks behind, having begun when the payment was made. `confirmations` counts as in the
/// paper: the blocks the payee waits for, the one with the payment being the first.
pub fn success(attacker: f64, confirmations: u32) -> f64 {
    if attacker >= MAJORITY {
        return 1.0;
    }
    if attacker <= 0.0 || attacker.is_nan() {
        return if confirmations == 0 { 1.0 } else { 0.0 };
    }
    let honest = 1.0 - attacker;
    let ratio = attacker / honest;
    let mean = f64::from(confirmations) * ratio;
    // The paper's sum, term by term and in logarithms: for great numbers e^-mean is no longer a number above 0.
    let (log_mean, log_ratio) = (mean.ln(), ratio.ln());
    let mut log_factorial = 0.0;
    let mut fails = 0.0;
    for found in 0..=confirmations {
        if found > 0 {
            log_factorial += f64::from(found).ln();
        }
        let poisson = match confirmations {
            0 => 1.0,
            _ => (f64::from(found) * log_mean - mean - log_factorial).exp(),
        };
        // From here on he is behind by what is left, or not at all.
        let catches_up = (f64::from(confirmations - found) * log_ratio).exp();
        fails += poisson * (1.0 - catches_up);
    }
    (1.0 - fails).clamp(0.0, 1.0)
}

/// The least number of confirmations at which an attacker with this share succeeds with a probability below
/// `acceptable`; `None` where there is none, or none of reason.
pub fn confirmations_for(attacker: f64, acceptable: f64) -> Option<u32> {
    if attacker >= MAJORITY {
        return None;
    }
    // It falls with every confirmation: doubled until it is enough, then bisected.
    let enough = |confirmations| success(attacker, confirmations) < acceptable;
    let mut high = 1;
    while !enough(high) {
        high *= 2;
        if high > CONFIRMATIONS_MAX {
            return None;
        }
    }
    let mut low = 0;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(if enough(0) { 0 } else { high })
}

/// What a payee is told about a payment under so many blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// Blocks from the payment's to the tip, both counted in.
    pub confirmations: u32,
    /// Success of an attacker with a tenth of all hash power.
    pub tenth: f64,
    /// Success of an attacker with a third of it.
    pub third: f64,
    /// Confirmations still to come until an attacker with a tenth succeeds less than once in a thousand times.
    pub more_for_tenth: u32,
    /// The same for an attacker with a third.
    pub more_for_third: u32,
}

/// What is still too likely (the paper's bound): once in a thousand times.
pub const ACCEPTABLE: f64 = 0.001;

/// What to tell a payee: for the wallet, and beside a proof.
pub fn advice(confirmations: u32) -> Advice {
    let more = |attacker| {
        let wanted = confirmations_for(attacker, ACCEPTABLE).unwrap_or(CONFIRMATIONS_MAX);
        wanted.saturating_sub(confirmations)
    };
    let third = 1.0 / 3.0;
    Advice {
        confirmations,
        tenth: success(0.1, confirmations),
        third: success(third, confirmations),
        more_for_tenth: more(0.1),
        more_for_third: more(third),
    }
}

impl Advice {
    /// In one sentence.
    pub fn sentence(&self) -> String {
        match (self.confirmations, self.more_for_tenth, self.more_for_third) {
            (0, ..) => {
                "Not in a block yet: the payment can still be taken back by whoever made it.".to_owned()
            }
            (_, 0, 0) => {
                "Settled: not even an attacker with a third of all hash power undoes it once in a thousand \
                          tries."
                    .to_owned()
            }
            (_, 0, more) => format!(
                "Enough against an attacker with a tenth of all hash power; against one with a third wait for {more} \
                 more blocks."
            ),
            (_, more, _) => format!(
                "Too early for a sum that matters: wait for {more} more blocks, or {} against an attacker with a third \
                 of all hash power.",
                self.more_for_third
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's first two tables, as printed.
    #[test]
    fn the_papers_probabilities() {
        let tenth = [
            1.0,
            0.204_587_3,
            0.050_977_9,
            0.013_172_2,
            0.003_455_2,
            0.000_913_7,
            0.000_242_8,
            0.000_064_7,
            0.000_017_3,
            0.000_004_6,
            0.000_001_2,
        ];
        for (confirmations, wanted) in (0..).zip(tenth) {
            assert_eq!(
                format!("{:.7}", success(0.1, confirmations)),
                format!("{wanted:.7}"),
                "z={confirmations}"
            );
        }
        let third = [
            1.0,
            0.177_352_3,
            0.041_660_5,
            0.010_100_8,
            0.002_480_4,
            0.000_613_2,
            0.000_152_2,
            0.000_037_9,
            0.000_009_5,
            0.000_002_4,
            0.000_000_6,
        ];
        for (step, wanted) in (0..).zip(third) {
            let confirmations = step * 5;
            assert_eq!(
                format!("{:.7}", success(0.3, confirmations)),
                format!("{wanted:.7}"),
                "z={confirmations}"
            );
        }
    }

    /// The paper's third table: P < 0.1 %.
    #[test]
    fn the_papers_confirmations() {
        for (attacker, wanted) in
            [(0.10, 5), (0.15, 8), (0.20, 11), (0.25, 15), (0.30, 24), (0.35, 41), (0.40, 89), (0.45, 340)]
        {
            assert_eq!(confirmations_for(attacker, 0.001), Some(wanted), "q={attacker}");
        }
        assert_eq!(confirmations_for(0.5, 0.001), None);
        assert_eq!(confirmations_for(0.1, 2.0), Some(0));
    }

    #[test]
    fn the_ends_of_the_scale() {
        assert_eq!((success(0.0, 0), success(0.0, 1)), (1.0, 0.0));
        assert_eq!((success(0.5, 1_000), success(0.9, 3)), (1.0, 1.0));
        let late = success(0.45, 20_000);
        assert!((0.0..1e-9).contains(&late), "{late}");
    }

    #[test]
    fn advice_grows_calmer() {
        let (none, one, six, many) = (advice(0), advice(1), advice(6), advice(60));
        assert!(none.tenth > one.tenth && one.tenth > six.tenth && six.third > many.third);
        assert_eq!((six.more_for_tenth, many.more_for_third), (0, 0));
        for advice in [none, one, six, many] {
            assert!(advice.sentence().ends_with('.'));
        }
    }
}
