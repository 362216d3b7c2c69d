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
