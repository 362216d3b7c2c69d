//! The standard templates of output scripts.

use crate::checker::is_valid_key_size;
use crate::instruction::{Instruction, Instructions};
use crate::opcode::*;
use crate::{MAX_MULTISIG_KEYS, MAX_SCRIPT_SIZE, build, num};

/// What an output's script asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptKind<'a> {
    /// A signature by this key (P2PK).
    PubKey(&'a [u8]),
    /// A key of this hash, and its signature (P2PKH).
    PubKeyHash(&'a [u8; 20]),
    /// A script of this hash, and what it asks for (P2SH, BIP16).
    ScriptHash(&'a [u8; 20]),
    /// Signatures by `required` of `keys`.
    Multisig {
        /// How many signatures, 1 to 20.
        required: usize,
        /// The keys, at most 20.
        keys: Vec<&'a [u8]>,
    },
    /// As `PubKeyHash`, in the witness (P2WPKH, BIP141).
    WitnessV0KeyHash(&'a [u8; 20]),
    /// As `ScriptHash` with SHA-256, in the witness (P2WSH, BIP141).
    WitnessV0ScriptHash(&'a [u8; 32]),
    /// A signature by this x-only key, or a script it commits to (P2TR, BIP341).
    WitnessV1Taproot(&'a [u8; 32]),
    /// Nothing: anyone may spend it, to raise the fee of the transaction that has it (P2A).
    Anchor,
    /// `OP_RETURN` and pushes: cannot be spent, carries data.
    NullData,
    /// A witness program of a version or length with no meaning yet.
    WitnessUnknown {
        /// 1 to 16.
        version: u8,
        /// 2 to 40 bytes.
        program: &'a [u8],
    },
    /// Anything else.
    NonStandard,
}

impl ScriptKind<'_> {
    /// The kind's name in the reference client's RPC.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PubKey(_) => "pubkey",
            Self::PubKeyHash(_) => "pubkeyhash",
            Self::ScriptHash(_) => "scripthash",
            Self::Multisig { .. } => "multisig",
            Self::WitnessV0KeyHash(_) => "witness_v0_keyhash",
            Self::WitnessV0ScriptHash(_) => "witness_v0_scripthash",
            Self::WitnessV1Taproot(_) => "witness_v1_taproot",
            Self::Anchor => "anchor",
            Self::NullData => "nulldata",
            Self::WitnessUnknown { .. } => "witness_unknown",
            Self::NonStandard => "nonstandard",
        }
    }
}

/// The template that `script` fits.
pub fn classify(script: &[u8]) -> ScriptKind<'_> {
    let (hash20, hash32) = (
        |at: usize| script.get(at..).and_then(<[u8]>::first_chunk::<20>),
        |at: usize| script.get(at..).and_then(<[u8]>::first_chunk::<32>),
    );
    if let ([OP_HASH160, 20, .., OP_EQUAL], 23, Some(hash)) = (script, script.len(), hash20(2)) {
        return ScriptKind::ScriptHash(hash);
    }
    if let Some((version, program)) = witness_program(script) {
        return match (version, program.len()) {
            (0, 20) => hash20(2).map_or(ScriptKind::NonStandard, ScriptKind::WitnessV0KeyHash),
            (0, 32) => hash32(2).map_or(ScriptKind::NonStandard, ScriptKind::WitnessV0ScriptHash),
            (0, _) => ScriptKind::NonStandard,
            (1, 32) => hash32(2).map_or(ScriptKind::NonStandard, ScriptKind::WitnessV1Taproot),
            (1, 2) if program == build::ANCHOR_PROGRAM => ScriptKind::Anchor,
            _ => ScriptKind::WitnessUnknown { version, program },
        };
    }
    match script {
        [OP_RETURN, rest @ ..] if is_push_only(rest) => return ScriptKind::NullData,
        [33 | 65, key @ .., OP_CHECKSIG] if key.len() == usize::from(script[0]) && is_valid_key_size(key) => {
            return ScriptKind::PubKey(key);
        }
        [OP_DUP, OP_HASH160, 20, .., OP_EQUALVERIFY, OP_CHECKSIG] if script.len() == 25 => {
            return hash20(3).map_or(ScriptKind::NonStandard, ScriptKind::PubKeyHash);
        }
        _ => {}
    }
    multisig(script).unwrap_or(ScriptKind::NonStandard)
}

fn multisig(script: &[u8]) -> Option<ScriptKind<'_>> {
    if script.last() != Some(&OP_CHECKMULTISIG) {
        return None;
    }
    let mut ops = Instructions::new(script);
    let required = small_number(ops.next()?.ok()?)?;
    let mut keys = Vec::new();
    let last = loop {
        let op = ops.next()?.ok()?;
        if !is_valid_key_size(op.data) {
            break op;
        }
        keys.push(op.data);
    };
    let fits = (1..=MAX_MULTISIG_KEYS).contains(&required)
        && small_number(last)? == keys.len()
        && (required..=MAX_MULTISIG_KEYS).contains(&keys.len())
        && ops.position() + 1 == script.len();
    fits.then_some(ScriptKind::Multisig { required, keys })
}

/// A number pushed in its shortest form.
fn small_number(op: Instruction<'_>) -> Option<usize> {
    match op.opcode {
        OP_1..=OP_16 => Some(usize::from(op.opcode - OP_1) + 1),
        _ if op.is_data_push() && op.is_minimal_push() => {
            usize::try_from(num::decode(op.data, true, num::DEFAULT_MAX_LEN).ok()?).ok()
        }
        _ => None,
    }
}

/// Version (0 to 16) and program (2 to 40 bytes) of a witness program (BIP141).
pub fn witness_program(script: &[u8]) -> Option<(u8, &[u8])> {
    match script {
        [version, len, program @ ..] if program.len() == usize::from(*len) && (2..=40).contains(len) => {
            match *version {
                OP_0 => Some((0, program)),
                OP_1..=OP_16 => Some((*version - OP_1 + 1, program)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// True where every opcode is a push (`OP_RESERVED` counts as one).
pub fn is_push_only(script: &[u8]) -> bool {
    Instructions::new(script).all(|op| op.is_ok_and(|op| op.opcode <= OP_16))
}

/// True where no input can ever satisfy the script: such outputs are not kept in the UTXO set.
pub fn is_unspendable(script: &[u8]) -> bool {
    script.first() == Some(&OP_RETURN) || script.len() > MAX_SCRIPT_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_make_what_classify_knows() {
        let key = [&[2][..], &[7; 32]].concat();
        let cases = [
            (build::p2pk(&key), "pubkey"),
            (build::p2pkh(&[1; 20]), "pubkeyhash"),
            (build::p2sh(&[1; 20]), "scripthash"),
            (build::multisig(1, &[&key, &key]), "multisig"),
            (build::p2wpkh(&[1; 20]), "witness_v0_keyhash"),
            (build::p2wsh(&[1; 32]), "witness_v0_scripthash"),
            (build::p2tr(&[1; 32]), "witness_v1_taproot"),
            (build::anchor(), "anchor"),
            (build::op_return(&[b"data"]), "nulldata"),
            (build::witness(2, &[1; 32]), "witness_unknown"),
            (build::witness(0, &[1; 21]), "nonstandard"),
            (vec![], "nonstandard"),
        ];
        for (script, name) in cases {
            assert_eq!(classify(&script).name(), name, "{script:02x?}");
        }
    }

    #[test]
    fn multisig_at_its_edges() {
        let key = [&[2][..], &[7; 32]].concat();
        let keys = |n: usize| vec![&key[..]; n];
        assert!(matches!(
            classify(&build::multisig(20, &keys(20))),
            ScriptKind::Multisig { required: 20, .. }
        ));
        for (required, n) in [(0, 1), (2, 1), (1, 21), (1, 0)] {
            assert_eq!(
                classify(&build::multisig(required, &keys(n))),
                ScriptKind::NonStandard,
                "{required} of {n}"
            );
        }
    }
}
