//! What a node is willing to keep and pass on, beyond what a block may hold: the reference client's standardness rules
//! (version 31), as functions of a transaction and what it spends. The mempool calls them; no block is judged by them.

use std::borrow::Cow;

use lode_coins::Coin;
use lode_primitives::{Encode, Transaction, TxOut};
use lode_script::{
    ANNEX_TAG, Instructions, MAX_ITEM_SIZE, MAX_STACK_ITEMS, ScriptKind, TAPSCRIPT_LEAF, WITNESS_SCALE,
    classify, count_sigops, is_push_only, is_unspendable, last_push, num, opcode, witness_program,
};

/// Bytes without witnesses at least: one more than an inner node of a Merkle tree has (CVE-2017-12842).
pub const MIN_STANDARD_BASE_SIZE: usize = 65;
/// Sigop cost of a standard transaction at most: a fifth of Bitcoin's block.
pub const MAX_STANDARD_SIGOPS_COST: usize = 16_000;
/// Signature checks outside witnesses that a transaction may execute at most (BIP54).
pub const MAX_TX_LEGACY_SIGOPS: usize = 2_500;
/// Bytes of an input's script at most: room for 15 signatures of 15 keys in P2SH.
const MAX_SCRIPT_SIG: usize = 1_650;
/// Sigops of a script that is paid to by its hash.
const MAX_P2SH_SIGOPS: usize = 15;
/// Keys of a multisig outside P2SH.
const MAX_BARE_MULTISIG_KEYS: usize = 3;
/// Items of a version-0 witness beside its script, and bytes of each and of the script.
const MAX_P2WSH_ITEMS: usize = 100;
const MAX_P2WSH_ITEM: usize = 80;
const MAX_P2WSH_SCRIPT: usize = 3_600;
/// Bytes of an item of a tapscript's witness.
const MAX_TAPSCRIPT_ITEM: usize = 80;
/// Outputs below the dust limit; they must be spent by the only child, and the fee be zero.
const MAX_DUST_OUTPUTS: usize = 1;
/// Versions of standard transactions; 3 is TRUC (BIP431).
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;
/// Bytes that one unit of sigop cost counts for in a transaction's size.
const BYTES_PER_SIGOP: usize = 20;

/// A fee for size, in satoshi per 1,000 virtual bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FeeRate(u64);

impl FeeRate {
    /// Satoshi per 1,000 virtual bytes.
    pub const fn from_sat_per_kvb(sat: u64) -> Self {
        Self(sat)
    }

    /// Satoshi per 1,000 virtual bytes.
    pub const fn to_sat_per_kvb(self) -> u64 {
        self.0
    }

    /// The fee for `vsize` virtual bytes in satoshi, rounded up.
    pub const fn fee(self, vsize: u64) -> i64 {
        (self.0.saturating_mul(vsize)).div_ceil(1_000) as i64
    }
}

/// Why a transaction is not standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStandard {
    /// An unknown version.
    #[error("version {0} is not standard; 1 to 3 are")]
    Version(u32),
    /// Too heavy.
    #[error("weight {weight} is more than {max}")]
    Weight {
        /// The transaction's.
        weight: usize,
        /// The bound.
        max: usize,
    },
    /// An input's script is too long.
    #[error("script of input {0} is longer than 1650 bytes")]
    ScriptSigSize(usize),
    /// An input's script does more than push.
    #[error("script of input {0} does more than push")]
    ScriptSigNotPushOnly(usize),
    /// An output's script fits no template.
    #[error("script of output {0} is of no standard kind")]
    ScriptPubkey(usize),
    /// More data carried than allowed.
    #[error("output {0} carries more data than allowed")]
    DataCarrier(usize),
    /// A bare multisig where they are not allowed.
    #[error("output {0} is a bare multisig")]
    BareMultisig(usize),
    /// More than one output below the dust limit.
    #[error("output {0} is below the dust limit")]
    Dust(usize),
    /// Too small without witnesses.
    #[error("{0} bytes without witnesses; 65 is the least")]
    TooSmall(usize),
    /// Too many signature checks outside witnesses.
    #[error("more than 2500 signature checks outside witnesses")]
    LegacySigops,
    /// An input spends an output of a kind that is not spent by standard transactions.
    #[error(
        "input {0} spends an output of no standard kind, or its redeem script is malformed or has over 15 sigops"
    )]
    Inputs(usize),
    /// A witness that is larger than, or other than, its output asks for.
    #[error("the witness of input {0} is not standard")]
    Witness(usize),
    /// Too many signature operations.
    #[error("sigop cost {0} is more than 16000")]
    Sigops(usize),
}

impl NotStandard {
    /// The reference client's short name.
    pub const fn reject_reason(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Weight { .. } => "tx-size",
            Self::ScriptSigSize(_) => "scriptsig-size",
            Self::ScriptSigNotPushOnly(_) => "scriptsig-not-pushonly",
            Self::ScriptPubkey(_) => "scriptpubkey",
            Self::DataCarrier(_) => "datacarrier",
            Self::BareMultisig(_) => "bare-multisig",
            Self::Dust(_) => "dust",
            Self::TooSmall(_) => "tx-size-small",
            Self::LegacySigops | Self::Inputs(_) => "bad-txns-nonstandard-inputs",
            Self::Witness(_) => "bad-witness-nonstandard",
            Self::Sigops(_) => "bad-txns-too-many-sigops",
        }
    }
}

/// What an operator may choose of the rules.
#[derive(Clone, Copy, Debug)]
pub struct Standard {
    /// Weight units at most.
    pub max_weight: usize,
    /// Bytes of `OP_RETURN` scripts in one transaction at most; `None`: no such outputs.
    pub max_data_carrier: Option<usize>,
    /// Multisig outputs outside P2SH.
    pub bare_multisig: bool,
    /// Outputs that cost more than they hold to spend at this rate are dust.
    pub dust_rate: FeeRate,
}

impl Standard {
    /// The defaults for a coin: the reference client's, with the coin's own size.
    pub fn for_coin(coin: &Coin) -> Self {
        Self {
            max_weight: coin.max_standard_weight,
            max_data_carrier: Some(coin.max_standard_weight / WITNESS_SCALE),
            bare_multisig: true,
            dust_rate: FeeRate::from_sat_per_kvb(coin.dust_relay_fee.to_sat().unsigned_abs()),
        }
    }
}

/// The transaction by itself (reference client: `IsStandardTx`).
pub fn check_standard(tx: &Transaction, rules: &Standard) -> Result<(), NotStandard> {
    let version = tx.version as u32;
    if !VERSIONS.contains(&version) {
        return Err(NotStandard::Version(version));
    }
    let weight = tx.weight();
    if weight > rules.max_weight {
        return Err(NotStandard::Weight { weight, max: rules.max_weight });
    }
    for (index, input) in tx.inputs.iter().enumerate() {
        if input.script_sig.len() > MAX_SCRIPT_SIG {
            return Err(NotStandard::ScriptSigSize(index));
        }
        if !is_push_only(&input.script_sig) {
            return Err(NotStandard::ScriptSigNotPushOnly(index));
        }
    }
    let mut data_left = rules.max_data_carrier.unwrap_or(0);
    for (index, output) in tx.outputs.iter().enumerate() {
        match classify(&output.script_pubkey) {
            ScriptKind::NonStandard => return Err(NotStandard::ScriptPubkey(index)),
            ScriptKind::Multisig { keys, .. } if keys.len() > MAX_BARE_MULTISIG_KEYS => {
                return Err(NotStandard::ScriptPubkey(index));
            }
            ScriptKind::Multisig { .. } if !rules.bare_multisig => {
                return Err(NotStandard::BareMultisig(index));
            }
            ScriptKind::NullData => {
                data_left = data_left
                    .checked_sub(output.script_pubkey.len())
                    .ok_or(NotStandard::DataCarrier(index))?;
            }
            _ => {}
        }
    }
    if let Some(index) = dust_outputs(tx, rules.dust_rate).nth(MAX_DUST_OUTPUTS) {
        return Err(NotStandard::Dust(index));
    }
    Ok(())
}

/// The least an output may hold, in satoshi, not to be dust: what spending it costs at `rate`.
pub fn dust_threshold(output: &TxOut, rate: FeeRate) -> i64 {
    if is_unspendable(&output.script_pubkey) {
        return 0;
    }
    // Outpoint, script length and sequence, and 107 bytes of signature and key, a quarter of that in a witness.
    let spend = 32 + 4 + 1 + 4 + if witness_program(&output.script_pubkey).is_some() { 107 / 4 } else { 107 };
    rate.fee((output.to_bytes().len() + spend) as u64)
}

/// Indexes of the outputs below the dust limit.
pub fn dust_outputs(tx: &Transaction, rate: FeeRate) -> impl Iterator<Item = usize> {
    let is_dust = move |output: &TxOut| output.value.to_sat() < dust_threshold(output, rate);
    tx.outputs.iter().enumerate().filter(move |(_, output)| is_dust(output)).map(|(index, _)| index)
}

/// The scripts of the spent outputs, and what redeems them outside witnesses (reference client:
/// `ValidateInputsStandardness`).
pub fn check_inputs_standard<'a>(
    tx: &Transaction,
    spent: impl IntoIterator<Item = &'a TxOut>,
) -> Result<(), NotStandard> {
    let mut sigops = 0;
    let mut first_bad = None;
    for (index, (input, output)) in tx.inputs.iter().zip(spent).enumerate() {
        let (script_sig, script) = (&input.script_sig, &output.script_pubkey);
        sigops += count_sigops(script_sig, true);
        let kind = classify(script);
        sigops += match kind {
            ScriptKind::ScriptHash(_) => last_push(script_sig).map_or(0, |redeem| count_sigops(redeem, true)),
            _ => count_sigops(script, true),
        };
        if sigops > MAX_TX_LEGACY_SIGOPS {
            return Err(NotStandard::LegacySigops);
        }
        let good = match kind {
            ScriptKind::NonStandard | ScriptKind::WitnessUnknown { .. } => false,
            ScriptKind::ScriptHash(_) => {
                redeem_script(script_sig).is_some_and(|redeem| count_sigops(&redeem, true) <= MAX_P2SH_SIGOPS)
            }
            _ => true,
        };
        if !good && first_bad.is_none() {
            first_bad = Some(index);
        }
    }
    first_bad.map_or(Ok(()), |index| Err(NotStandard::Inputs(index)))
}

/// What executing a push-only script leaves on top of the stack; `None` where it fails or pushes nothing.
fn redeem_script(script_sig: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut last = None;
    let mut count = 0;
    for op in Instructions::new(script_sig) {
        let op = op.ok().filter(|op| op.data.len() <= MAX_ITEM_SIZE)?;
        last = Some(match op.opcode {
            opcode::OP_1NEGATE => Cow::Owned(num::encode(-1)),
            opcode::OP_1..=opcode::OP_16 => Cow::Owned(vec![op.opcode - opcode::OP_1 + 1]),
            _ if op.is_data_push() => Cow::Borrowed(op.data),
            _ => return None,
        });
        count += 1;
    }
    last.filter(|_| count <= MAX_STACK_ITEMS)
}

/// Each witness against the output it is for: no larger than common spends need, and none where none is asked for
/// (reference client: `IsWitnessStandard`).
pub fn check_witness_standard<'a>(
    tx: &Transaction,
    spent: impl IntoIterator<Item = &'a TxOut>,
) -> Result<(), NotStandard> {
    for (index, (input, output)) in tx.inputs.iter().zip(spent).enumerate() {
        let witness = input.witness.0.as_slice();
        if !witness.is_empty() && !is_witness_standard(witness, &input.script_sig, &output.script_pubkey) {
            return Err(NotStandard::Witness(index));
        }
    }
    Ok(())
}

fn is_witness_standard(witness: &[Vec<u8>], script_sig: &[u8], script: &[u8]) -> bool {
    let (program_script, in_p2sh) = match classify(script) {
        ScriptKind::Anchor => return false,
        ScriptKind::ScriptHash(_) => match redeem_script(script_sig) {
            Some(redeem) => (redeem, true),
            None => return false,
        },
        _ => (Cow::Borrowed(script), false),
    };
    match (witness_program(&program_script), witness) {
        (None, _) => false,
        (Some((0, program)), [items @ .., script]) if program.len() == 32 => {
            script.len() <= MAX_P2WSH_SCRIPT
                && items.len() <= MAX_P2WSH_ITEMS
                && items.iter().all(|item| item.len() <= MAX_P2WSH_ITEM)
        }
        (Some((1, program)), _) if program.len() == 32 && !in_p2sh => match witness {
            [_, .., last] if last.first() == Some(&ANNEX_TAG) => false,
            [items @ .., _script, control] => match control.first() {
                None => false,
                Some(leaf) if leaf & 0xfe == TAPSCRIPT_LEAF => {
                    items.iter().all(|item| item.len() <= MAX_TAPSCRIPT_ITEM)
                }
                Some(_) => true,
            },
            _ => true,
        },
        _ => true,
    }
}

/// A transaction's weight, or what its sigops count for where that is more.
pub fn sigop_adjusted_weight(weight: usize, sigop_cost: usize) -> usize {
    weight.max(sigop_cost * BYTES_PER_SIGOP)
}

/// Virtual bytes of a weight, rounded up.
pub const fn virtual_size(weight: usize) -> usize {
    weight.div_ceil(WITNESS_SCALE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{Amount, OutPoint, TxIn, Witness};
    use lode_script::build;

    fn standard() -> Standard {
        Standard::for_coin(lode_coins::find("bitcoin", "main").unwrap())
    }

    fn output(sat: i64, script_pubkey: Vec<u8>) -> TxOut {
        TxOut { value: Amount::from_sat(sat), script_pubkey }
    }

    fn spend(script_sig: Vec<u8>, witness: Vec<Vec<u8>>) -> Transaction {
        let witness = Witness(witness);
        let input = TxIn { script_sig, witness, ..TxIn::spending(OutPoint::default()) };
        Transaction::new(vec![input], vec![output(10_000, build::p2wpkh(&[1; 20]))])
    }

    #[test]
    fn dust_limits_of_the_reference_client() {
        let rate = standard().dust_rate;
        for (script, limit) in [
            (build::p2pkh(&[0; 20]), 546),
            (build::p2sh(&[0; 20]), 540),
            (build::p2wpkh(&[0; 20]), 294),
            (build::p2tr(&[0; 32]), 330),
            (build::anchor(), 240),
            (build::op_return(&[b"x"]), 0),
        ] {
            assert_eq!(dust_threshold(&output(0, script), rate), limit);
        }
        // Each coin has a rate of its own; where consensus has a least output, it is that.
        for (name, limit) in [("litecoin", 2_940), ("primecoin", 0)] {
            let rate = Standard::for_coin(lode_coins::find(name, "regtest").unwrap()).dust_rate;
            assert_eq!(dust_threshold(&output(0, build::p2wpkh(&[0; 20])), rate), limit);
        }
    }

    #[test]
    fn each_rule_from_both_sides() {
        let check = |change: &dyn Fn(&mut Transaction)| {
            let mut tx = spend(vec![], vec![]);
            change(&mut tx);
            check_standard(&tx, &standard()).map_err(|error| error.reject_reason())
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert_eq!(check(&|tx| tx.version = 3), Ok(()));
        assert_eq!(check(&|tx| tx.version = 0), Err("version"));
        assert_eq!(check(&|tx| tx.version = 4), Err("version"));
        assert_eq!(check(&|tx| tx.version = -1), Err("version"));
        assert_eq!(check(&|tx| tx.inputs[0].script_sig = vec![0; 1_650]), Ok(()));
        assert_eq!(check(&|tx| tx.inputs[0].script_sig = vec![0; 1_651]), Err("scriptsig-size"));
        assert_eq!(check(&|tx| tx.inputs[0].script_sig = vec![0x61]), Err("scriptsig-not-pushonly"));
        assert_eq!(check(&|tx| tx.outputs[0].script_pubkey = vec![0x51]), Err("scriptpubkey"));
        assert_eq!(check(&|tx| tx.outputs.push(output(0, vec![0x6a; 1]))), Ok(()));
        assert_eq!(
            check(&|tx| tx.outputs.push(output(293, build::p2wpkh(&[1; 20])))),
            Ok(()),
            "one may be dust"
        );
        let two = |tx: &mut Transaction| tx.outputs.extend(vec![output(293, build::p2wpkh(&[1; 20])); 2]);
        assert_eq!(check(&two), Err("dust"));
        let key = [&[2][..], &[7; 32]].concat();
        let multisig = |n| build::multisig(1, &vec![&key[..]; n]);
        assert_eq!(check(&|tx| tx.outputs[0].script_pubkey = multisig(3)), Ok(()));
        assert_eq!(check(&|tx| tx.outputs[0].script_pubkey = multisig(4)), Err("scriptpubkey"));
        // An output of 9 + 3 + n bytes at four weight units each fills the transaction up to the limit.
        let data = |n| {
            move |tx: &mut Transaction| tx.outputs[0].script_pubkey = build::op_return(&[&vec![0; n][..]])
        };
        assert_eq!(check(&data(99_000)), Ok(()));
        assert_eq!(check(&data(100_000)), Err("tx-size"));
    }

    #[test]
    fn redeem_scripts_and_their_sigops() {
        let key = [&[2][..], &[7; 32]].concat();
        let check = |redeem: &[u8]| {
            let mut script_sig = vec![0];
            build::push_bytes(redeem, &mut script_sig);
            check_inputs_standard(&spend(script_sig, vec![]), [&output(1, build::p2sh_of(redeem))])
        };
        let checks = |n: usize| [vec![0x51; 1], vec![0xac; n]].concat();
        assert_eq!(check(&build::multisig(1, &[&key])), Ok(()));
        assert_eq!(check(&checks(15)), Ok(()));
        assert_eq!(check(&checks(16)), Err(NotStandard::Inputs(0)));
        let unknown = output(1, build::witness(2, &[1; 32]));
        assert_eq!(check_inputs_standard(&spend(vec![], vec![]), [&unknown]), Err(NotStandard::Inputs(0)));
        let nothing_pushed =
            check_inputs_standard(&spend(vec![], vec![]), [&output(1, build::p2sh(&[0; 20]))]);
        assert_eq!(nothing_pushed, Err(NotStandard::Inputs(0)));
    }

    #[test]
    fn witnesses_at_their_limits() {
        let check = |script: Vec<u8>, witness: Vec<Vec<u8>>| {
            check_witness_standard(&spend(vec![], witness), [&output(1, script)]).is_ok()
        };
        let wsh = || build::p2wsh(&[0; 32]);
        assert!(check(wsh(), [vec![vec![1; 80]; 100], vec![vec![0; 3_600]]].concat()));
        assert!(!check(wsh(), vec![vec![], vec![0; 3_601]]));
        assert!(!check(wsh(), vec![vec![1; 81], vec![0; 36]]));
        assert!(!check(wsh(), vec![vec![]; 102]));
        assert!(!check(build::anchor(), vec![vec![1]]));
        assert!(!check(build::p2pkh(&[0; 20]), vec![vec![1]]));
        let tr = || build::p2tr(&[0; 32]);
        assert!(check(tr(), vec![vec![1; 64]]));
        assert!(!check(tr(), vec![vec![1; 64], vec![0x50]]));
        assert!(check(tr(), vec![vec![1; 80], vec![0; 9_999], vec![0xc1; 33]]));
        assert!(!check(tr(), vec![vec![1; 81], vec![0; 9_999], vec![0xc1; 33]]));
        assert!(check(tr(), vec![vec![1; 500], vec![0; 9_999], vec![0xc2; 33]]));
    }
}
