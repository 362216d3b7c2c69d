//! Rules about one header: its proof of work, and what its ancestors ask of it.

use lode_coins::{Coin, Deployments, Retarget};
use lode_pow::{ChainLength, PowAlgorithm, check_prime_chain};
use lode_primitives::{BlockHash, Header, Multiplier, Target};

use crate::BlockError;
use crate::limits::{MAX_FUTURE_SECONDS, MAX_TIMEWARP_SECONDS};
use crate::retarget::next_bits;
use crate::tree::{Id, Tree};

/// That the header, whose id is `hash`, proves the work its bits claim. Whether they are the right bits is for the chain
/// to say.
pub fn check_pow(coin: &Coin, header: &Header, hash: &BlockHash) -> Result<(), BlockError> {
    let failed = || BlockError::HighHash(*hash);
    let proof = match coin.pow {
        // The id is the proof where the header is 80 bytes: do not hash twice.
        PowAlgorithm::Sha256d if !coin.form.multiplier => hash.0,
        PowAlgorithm::PrimeChain => {
            let nothing = Multiplier::default();
            let multiplier = header.multiplier.as_ref().unwrap_or(&nothing);
            let (header, length) = (header.pow_bytes(), ChainLength(header.bits));
            return match check_prime_chain(&header, multiplier, length, coin.min_chain_length) {
                Ok(_) => Ok(()),
                Err(error) => Err(BlockError::PrimeChain { hash: *hash, error }),
            };
        }
        other => other.hash(&header.pow_bytes()).ok_or_else(failed)?,
    };
    let target = Target::from_compact(header.bits).map_err(|_| failed())?;
    if target > coin.pow_limit || !target.is_met_by(&proof) {
        return Err(failed());
    }
    Ok(())
}

/// What the ancestors' headers and our clock (`now`, Unix seconds; `None` for headers accepted before) ask for
/// (reference client: `ContextualCheckBlockHeader`).
pub(crate) fn check_in_context(
    tree: &Tree,
    coin: &Coin,
    header: &Header,
    parent: Id,
    now: Option<u32>,
) -> Result<(), BlockError> {
    let above = tree.get(parent);
    let height = above.height() + 1;
    let required = next_bits(tree, coin, parent, header.time);
    if header.bits != required {
        return Err(BlockError::BadBits { found: header.bits, required });
    }
    let median = tree.median_time_past(parent);
    if coin.median_time_rule && header.time <= median {
        return Err(BlockError::TimeTooOld { time: header.time, median });
    }
    if let Retarget::Interval { timespan, spacing, bip94: true, .. } = coin.retarget
        && height.is_multiple_of(timespan / spacing)
        && header.time < above.time().saturating_sub(MAX_TIMEWARP_SECONDS)
    {
        return Err(BlockError::TimeWarp { time: header.time, parent: above.time() });
    }
    if let Some(now) = now
        && header.time > now.saturating_add(MAX_FUTURE_SECONDS)
    {
        return Err(BlockError::TimeTooNew { time: header.time, now });
    }
    let holds = |since| Deployments::holds(since, height);
    let rules = &coin.deployments;
    if (header.version < 2 && holds(rules.bip34))
        || (header.version < 3 && holds(rules.bip66))
        || (header.version < 4 && holds(rules.bip65))
    {
        return Err(BlockError::BadVersion(header.version));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::work_of;
    use lode_primitives::MerkleNode;

    const SPACING: u32 = 600;
    const INTERVAL: u32 = 2016;

    /// Headers of testnet4's own parameters, but for their proof of work, whose times `time` gives by height.
    struct Testnet4 {
        coin: &'static Coin,
        tree: Tree,
        tip: Id,
    }

    impl Testnet4 {
        fn grown(count: u32, time: impl Fn(u32) -> u32) -> Self {
            let coin = lode_coins::find("bitcoin", "testnet4").unwrap();
            let mut tree = Tree::default();
            let genesis = coin.genesis_block().header;
            let tip = tree.insert(&genesis, genesis.hash(), work_of(coin, genesis.bits));
            let mut chain = Self { coin, tree, tip };
            for height in 1..=count {
                let start = chain.tree.get(0).time();
                let header = chain.next(start + time(height));
                chain.check(&header).unwrap();
                chain.tip = chain.tree.insert(&header, header.hash(), work_of(chain.coin, header.bits));
            }
            chain
        }

        /// A header on the tip with the bits it must have.
        fn next(&self, time: u32) -> Header {
            let bits = next_bits(&self.tree, self.coin, self.tip, time);
            let prev = self.tree.get(self.tip).hash();
            let (merkle_root, multiplier) = (MerkleNode::ZERO, None);
            Header { version: 0x2000_0000, prev, merkle_root, time, bits, nonce: 0, multiplier }
        }

        fn check(&self, header: &Header) -> Result<(), BlockError> {
            check_in_context(&self.tree, self.coin, header, self.tip, None)
        }

        fn tip(&self) -> &crate::BlockEntry {
            self.tree.get(self.tip)
        }

        fn verdict(&self, time: u32) -> Result<(), String> {
            self.check(&self.next(time)).map_err(|error| error.reject_reason())
        }
    }

    #[test]
    fn testnet4_intervals_begin_ten_minutes_before_the_last_end_at_most() {
        // The last block of the interval is hours ahead of the others.
        let ahead = |height: u32| height * SPACING + if height == INTERVAL - 1 { 20_000 } else { 0 };
        let chain = Testnet4::grown(INTERVAL - 1, ahead);
        let end = chain.tip().time();
        assert_eq!(chain.verdict(end - 600), Ok(()));
        assert_eq!(chain.verdict(end - 601), Err("time-timewarp-attack".to_owned()));
        // Anywhere else only the median counts.
        let ahead = |height: u32| height * SPACING + if height == INTERVAL - 2 { 20_000 } else { 0 };
        let chain = Testnet4::grown(INTERVAL - 2, ahead);
        assert_eq!(chain.verdict(chain.tip().time() - 20_000), Ok(()));
        let median = chain.tree.median_time_past(chain.tip);
        assert_eq!(chain.verdict(median), Err("time-too-old".to_owned()));
        assert_eq!(chain.verdict(median + 1), Ok(()));
    }

    #[test]
    fn testnet4_keeps_its_difficulty_through_easy_blocks() {
        // Twice too fast: the second interval is twice as hard, by a measure over 2,015 of its 2,016 spacings.
        let fast = |height: u32| height * SPACING / 2;
        let mut chain = Testnet4::grown(INTERVAL, fast);
        let hard = chain.tip().bits();
        assert_eq!(hard, 0x1c7f_ef3f);
        let easiest = chain.coin.pow_limit.to_compact();
        // After a pause of more than twenty minutes an easy block may come, and only then.
        let time = chain.tip().time();
        assert_eq!(chain.next(time + 1_200).bits, hard);
        let mut easy = chain.next(time + 1_201);
        assert_eq!(easy.bits, easiest);
        assert!(chain.check(&easy).is_ok());
        easy.time = time + 1_200;
        assert_eq!(chain.check(&easy).unwrap_err().reject_reason(), "bad-diffbits");
        // An interval that ends in easy blocks, all but the first: the next is retargeted from the first's bits, not
        // from those of the last, which would throw the difficulty away.
        while !(chain.tip().height() + 1).is_multiple_of(INTERVAL) {
            let header = chain.next(chain.tip().time() + 1_201);
            assert_eq!(header.bits, easiest);
            chain.check(&header).unwrap();
            chain.tip = chain.tree.insert(&header, header.hash(), work_of(chain.coin, header.bits));
        }
        let next = chain.next(chain.tip().time() + 600);
        assert!(Target::from_compact(next.bits).unwrap() < chain.coin.pow_limit, "{:#x}", next.bits);
        // 2,015 pauses of 1,201 seconds where 600 are aimed at.
        let scale = f64::from(Target::from_compact(next.bits).unwrap().0)
            / f64::from(Target::from_compact(hard).unwrap().0);
        assert!((scale - 2_015.0 * 1_201.0 / 1_209_600.0).abs() < 1e-3, "{scale}");
    }
}
