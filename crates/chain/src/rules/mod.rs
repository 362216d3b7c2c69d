//! The rules, as functions of what they are about and nothing else. In the order in which a block meets them:
//!
//! 1. [`block::check`]: what the block itself shows (proof of work, Merkle root, sizes, each transaction by itself).
//! 2. [`header::check_in_context`]: what its ancestors' headers ask for (bits, times, version).
//! 3. [`block::check_in_context`]: lock times, height in the coinbase, witness commitment, weight.
//! 4. `connect`: what the unspent outputs ask for (existence, amounts, maturity, relative locks, sigops, scripts).

pub(crate) mod block;
pub(crate) mod header;
mod signet;
pub(crate) mod tx;

use lode_coins::{Coin, Deployments, ScriptException};
use lode_primitives::{BlockHash, Height};
use lode_script::Flags;

/// The script rules in force in block `hash` at `height`.
///
/// P2SH and witness rules hold from the first block on, save for the few blocks that broke them, as in the reference
/// client: what was spent by the old rules is buried.
pub(crate) fn script_flags(coin: &Coin, height: Height, hash: &BlockHash) -> Flags {
    let rules = &coin.deployments;
    let holds = |since| Deployments::holds(since, height);
    let mut flags = Flags::P2SH;
    if coin.form.witness {
        flags |= Flags::WITNESS;
    }
    if holds(rules.taproot) {
        flags |= Flags::TAPROOT;
    }
    match coin.script_exception(hash) {
        Some(ScriptException::NoP2sh) => flags = Flags::NONE,
        Some(ScriptException::NoTaproot) => flags = flags.without(Flags::TAPROOT),
        None => {}
    }
    for (since, flag) in [
        (rules.bip66, Flags::DERSIG),
        (rules.bip65, Flags::CHECKLOCKTIMEVERIFY),
        (rules.csv, Flags::CHECKSEQUENCEVERIFY),
        (rules.segwit, Flags::NULLDUMMY),
    ] {
        if holds(since) {
            flags |= flag;
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_follow_the_heights_of_the_main_network() {
        let coin = lode_coins::find("bitcoin", "main").unwrap();
        let always = Flags::P2SH | Flags::WITNESS | Flags::TAPROOT;
        let at = |height| script_flags(coin, height, &BlockHash::ZERO);
        assert_eq!(at(0), always);
        assert_eq!(at(363_724), always);
        assert_eq!(at(363_725), always | Flags::DERSIG);
        assert_eq!(at(388_380), always | Flags::DERSIG);
        assert_eq!(at(388_381), always | Flags::DERSIG | Flags::CHECKLOCKTIMEVERIFY);
        assert!(!at(419_327).contains(Flags::CHECKSEQUENCEVERIFY));
        assert!(at(419_328).contains(Flags::CHECKSEQUENCEVERIFY));
        assert!(!at(481_823).contains(Flags::NULLDUMMY));
        assert_eq!(at(481_824), Flags::MANDATORY);
        let p2sh = coin.script_exceptions[0].0.parse().unwrap();
        assert_eq!(script_flags(coin, 170_060, &p2sh), Flags::NONE);
        let taproot = coin.script_exceptions[1].0.parse().unwrap();
        assert_eq!(script_flags(coin, 692_261, &taproot), Flags::MANDATORY.without(Flags::TAPROOT));
    }
}
