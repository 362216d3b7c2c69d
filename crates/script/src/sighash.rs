//! What a signature signs: the three kinds of signature hash, with what a transaction's inputs share computed once.

use std::sync::OnceLock;

use bitcoin_hashes::{HashEngine as _, Sha256, sha256};
use lode_primitives::{
    Encode, Transaction, TxOut, compact_size_len, encode_bytes, encode_compact_size, tagged_hash,
};

use crate::instruction::Instructions;
use crate::opcode::OP_CODESEPARATOR;

/// The byte behind a signature that says what it covers. Unknown values are legal outside taproot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SighashType(pub u32);

impl SighashType {
    /// Taproot's default: as `ALL`, with no byte behind the signature.
    pub const DEFAULT: Self = Self(0);
    /// All inputs and outputs.
    pub const ALL: Self = Self(1);
    /// All inputs, no output.
    pub const NONE: Self = Self(2);
    /// All inputs, and the output of the input's index.
    pub const SINGLE: Self = Self(3);
    /// Flag: of the inputs, only this one.
    pub const ANYONECANPAY: u32 = 0x80;

    /// With the flag [`SighashType::ANYONECANPAY`].
    pub const fn anyone_can_pay(self) -> Self {
        Self(self.0 | Self::ANYONECANPAY)
    }

    const fn is_anyone_can_pay(self) -> bool {
        self.0 & Self::ANYONECANPAY != 0
    }

    const fn is_none(self) -> bool {
        self.0 & 0x1f == 2
    }

    const fn is_single(self) -> bool {
        self.0 & 0x1f == 3
    }

    /// Which of the six kinds of preimage it asks for; types of one kind differ only in the last four bytes hashed.
    const fn class(self) -> usize {
        (self.is_anyone_can_pay() as usize) * 3 + (self.is_single() as usize) * 2 + (self.is_none() as usize)
    }
}

/// The executed leaf of a script-path spend (BIP341, BIP342).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapLeaf {
    /// [`tapleaf_hash`] of the executed script.
    pub hash: [u8; 32],
    /// Index among the script's opcodes of the last `OP_CODESEPARATOR` executed; `u32::MAX` before the first.
    pub codeseparator: u32,
}

/// A transaction with the outputs it spends, and those hashes of them that all its inputs' signature hashes share.
/// Built once per transaction; hashes are computed when first asked for, from whichever thread.
#[derive(Debug)]
pub struct TxSighashes<'a> {
    tx: &'a Transaction,
    spent: Vec<&'a TxOut>,
    shared: OnceLock<Shared>,
    spent_hashes: OnceLock<SpentHashes>,
}

/// Single SHA-256 of parts of the transaction; BIP143 takes them hashed once more.
#[derive(Debug)]
struct Shared {
    prevouts: [u8; 32],
    sequences: [u8; 32],
    outputs: [u8; 32],
    double_prevouts: [u8; 32],
    double_sequences: [u8; 32],
    double_outputs: [u8; 32],
}

#[derive(Debug)]
struct SpentHashes {
    amounts: [u8; 32],
    scripts: [u8; 32],
}

fn digest(engine: sha256::HashEngine) -> [u8; 32] {
    Sha256::from_engine(engine).to_byte_array()
}

fn double_digest(engine: sha256::HashEngine) -> [u8; 32] {
    lode_primitives::sha256(&digest(engine))
}

fn encoded<T: Encode>(value: &T) -> Vec<u8> {
    value.to_bytes()
}

impl<'a> TxSighashes<'a> {
    /// `spent` are the outputs that `tx` spends, in the order of its inputs.
    ///
    /// # Panics
    /// Where there is not exactly one spent output per input: looking them up comes first.
    pub fn new(tx: &'a Transaction, spent: impl IntoIterator<Item = &'a TxOut>) -> Self {
        let spent: Vec<_> = spent.into_iter().collect();
        assert_eq!(spent.len(), tx.inputs.len(), "one spent output per input");
        Self { tx, spent, shared: OnceLock::new(), spent_hashes: OnceLock::new() }
    }

    /// The transaction.
    pub const fn tx(&self) -> &'a Transaction {
        self.tx
    }

    /// The output that input `index` spends.
    pub fn spent(&self, index: usize) -> &'a TxOut {
        self.spent[index]
    }

    fn shared(&self) -> &Shared {
        self.shared.get_or_init(|| {
            let mut prevouts = Sha256::engine();
            let mut sequences = Sha256::engine();
            let mut outputs = Sha256::engine();
            for input in &self.tx.inputs {
                prevouts.input(input.prevout.txid.as_bytes());
                prevouts.input(&input.prevout.vout.to_le_bytes());
                sequences.input(&input.sequence.to_le_bytes());
            }
            for output in &self.tx.outputs {
                outputs.input(&encoded(output));
            }
            let (prevouts, sequences, outputs) = (digest(prevouts), digest(sequences), digest(outputs));
            let again = |hash: &[u8; 32]| lode_primitives::sha256(hash);
            Shared {
                double_prevouts: again(&prevouts),
                double_sequences: again(&sequences),
                double_outputs: again(&outputs),
                prevouts,
                sequences,
                outputs,
            }
        })
    }

    fn spent_hashes(&self) -> &SpentHashes {
        self.spent_hashes.get_or_init(|| {
            let mut amounts = Sha256::engine();
            let mut scripts = Sha256::engine();
            let mut length = Vec::with_capacity(9);
            for output in &self.spent {
                amounts.input(&output.value.to_sat().to_le_bytes());
                length.clear();
                encode_compact_size(output.script_pubkey.len() as u64, &mut length);
                scripts.input(&length);
                scripts.input(&output.script_pubkey);
            }
            SpentHashes { amounts: digest(amounts), scripts: digest(scripts) }
        })
    }

    /// BIP143: the hash that a signature in a version-0 witness program signs. `script_code` starts behind the last
    /// executed `OP_CODESEPARATOR`.
    pub fn segwit_v0(&self, index: usize, script_code: &[u8], hash_type: SighashType) -> [u8; 32] {
        finish(self.segwit_v0_midstate(index, script_code, hash_type), hash_type)
    }

    fn segwit_v0_midstate(
        &self,
        index: usize,
        script_code: &[u8],
        hash_type: SighashType,
    ) -> sha256::HashEngine {
        let (tx, shared, zero) = (self.tx, self.shared(), [0; 32]);
        let input = &tx.inputs[index];
        let every_input = !hash_type.is_anyone_can_pay();
        let every_output = !hash_type.is_single() && !hash_type.is_none();
        let own_output;
        let outputs = if every_output {
            &shared.double_outputs
        } else if let (true, Some(output)) = (hash_type.is_single(), tx.outputs.get(index)) {
            own_output = lode_primitives::sha256d(&encoded(output));
            &own_output
        } else {
            &zero
        };
        let mut bytes = Vec::with_capacity(164 + script_code.len());
        bytes.extend_from_slice(&tx.version.to_le_bytes());
        bytes.extend_from_slice(if every_input { &shared.double_prevouts } else { &zero });
        bytes.extend_from_slice(if every_input && every_output { &shared.double_sequences } else { &zero });
        input.prevout.encode(&mut bytes);
        encode_bytes(script_code, &mut bytes);
        bytes.extend_from_slice(&self.spent[index].value.to_sat().to_le_bytes());
        bytes.extend_from_slice(&input.sequence.to_le_bytes());
        bytes.extend_from_slice(outputs);
        bytes.extend_from_slice(&tx.lock_time.to_le_bytes());
        let mut engine = Sha256::engine();
        engine.input(&bytes);
        engine
    }

    /// BIP341: the hash that a Schnorr signature signs, of a key path (`leaf` none) or in a tapscript. `annex` is the
    /// witness's annex with its leading byte. `None` where the type is not defined, or asks for an output that is not there.
    pub fn taproot(
        &self,
        index: usize,
        hash_type: u8,
        annex: Option<&[u8]>,
        leaf: Option<TapLeaf>,
    ) -> Option<[u8; 32]> {
        let annex_hash = annex.map(annex_hash);
        self.taproot_with_annex_hash(index, hash_type, annex_hash.as_ref(), leaf)
    }

    pub(crate) fn taproot_with_annex_hash(
        &self,
        index: usize,
        hash_type: u8,
        annex_hash: Option<&[u8; 32]>,
        leaf: Option<TapLeaf>,
    ) -> Option<[u8; 32]> {
        if !matches!(hash_type, 0..=3 | 0x81..=0x83) {
            return None;
        }
        let (tx, shared) = (self.tx, self.shared());
        let output_type = if hash_type == 0 { 1 } else { hash_type & 3 };
        let mut bytes = Vec::with_capacity(280);
        bytes.push(0); // epoch
        bytes.push(hash_type);
        bytes.extend_from_slice(&tx.version.to_le_bytes());
        bytes.extend_from_slice(&tx.lock_time.to_le_bytes());
        let every_input = hash_type & 0x80 == 0;
        if every_input {
            let spent = self.spent_hashes();
            for part in [&shared.prevouts, &spent.amounts, &spent.scripts, &shared.sequences] {
                bytes.extend_from_slice(part);
            }
        }
        if output_type == 1 {
            bytes.extend_from_slice(&shared.outputs);
        }
        bytes.push(u8::from(leaf.is_some()) << 1 | u8::from(annex_hash.is_some()));
        if every_input {
            bytes.extend_from_slice(&u32::try_from(index).ok()?.to_le_bytes());
        } else {
            let input = &tx.inputs[index];
            input.prevout.encode(&mut bytes);
            self.spent[index].encode(&mut bytes);
            bytes.extend_from_slice(&input.sequence.to_le_bytes());
        }
        if let Some(hash) = annex_hash {
            bytes.extend_from_slice(hash);
        }
        if output_type == 3 {
            bytes.extend_from_slice(&lode_primitives::sha256(&encoded(tx.outputs.get(index)?)));
        }
        if let Some(leaf) = leaf {
            bytes.extend_from_slice(&leaf.hash);
            bytes.push(0); // key version
            bytes.extend_from_slice(&leaf.codeseparator.to_le_bytes());
        }
        let mut engine = tap_sighash_engine();
        engine.input(&bytes);
        Some(digest(engine))
    }

    /// The hash that a signature outside witnesses signs; see [`legacy_sighash`].
    pub fn legacy(&self, index: usize, script_code: &[u8], hash_type: SighashType) -> [u8; 32] {
        legacy_sighash(self.tx, index, script_code, hash_type)
    }
}

/// SHA-256 of an annex with its length in front (BIP341).
pub(crate) fn annex_hash(annex: &[u8]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(annex.len() + 9);
    encode_bytes(annex, &mut bytes);
    lode_primitives::sha256(&bytes)
}

/// The engine behind the tag `TapSighash`; made once.
fn tap_sighash_engine() -> sha256::HashEngine {
    static ENGINE: OnceLock<sha256::HashEngine> = OnceLock::new();
    ENGINE
        .get_or_init(|| {
            let tag = lode_primitives::sha256(b"TapSighash");
            let mut engine = Sha256::engine();
            engine.input(&tag);
            engine.input(&tag);
            engine
        })
        .clone()
}

/// A taproot leaf's hash (BIP341); `leaf_version` without the parity bit.
pub fn tapleaf_hash(leaf_version: u8, script: &[u8]) -> [u8; 32] {
    let mut head = vec![leaf_version];
    encode_compact_size(script.len() as u64, &mut head);
    tagged_hash("TapLeaf", &[&head, script])
}

/// A taproot branch's hash (BIP341): of the two nodes, the lesser first.
pub fn tapbranch_hash(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    tagged_hash("TapBranch", &[first, second])
}

fn finish(mut midstate: sha256::HashEngine, hash_type: SighashType) -> [u8; 32] {
    midstate.input(&hash_type.0.to_le_bytes());
    double_digest(midstate)
}

/// The hash that a signature outside witnesses signs. `script_code` starts behind the last executed
/// `OP_CODESEPARATOR` and has had the signature deleted from it; other code separators are left out here.
///
/// `SINGLE` with no output of that index signs the number one, as ever. A data field (Datacoin) follows the lock time.
pub fn legacy_sighash(
    tx: &Transaction,
    index: usize,
    script_code: &[u8],
    hash_type: SighashType,
) -> [u8; 32] {
    match legacy_midstate(tx, index, script_code, hash_type) {
        Some(midstate) => finish(midstate, hash_type),
        None => ONE,
    }
}

/// The number one, little-endian.
const ONE: [u8; 32] = {
    let mut one = [0; 32];
    one[0] = 1;
    one
};

fn legacy_midstate(
    tx: &Transaction,
    index: usize,
    script_code: &[u8],
    hash_type: SighashType,
) -> Option<sha256::HashEngine> {
    let (single, none) = (hash_type.is_single(), hash_type.is_none());
    if single && index >= tx.outputs.len() {
        return None;
    }
    let mut bytes = Vec::with_capacity(tx.base_size() + script_code.len() + compact_size_len(u64::MAX));
    bytes.extend_from_slice(&tx.version.to_le_bytes());
    let signed_inputs = if hash_type.is_anyone_can_pay() { index..index + 1 } else { 0..tx.inputs.len() };
    encode_compact_size(signed_inputs.len() as u64, &mut bytes);
    for at in signed_inputs {
        let input = &tx.inputs[at];
        input.prevout.encode(&mut bytes);
        if at == index {
            encode_without_separators(script_code, &mut bytes);
        } else {
            bytes.push(0);
        }
        let sequence = if at != index && (single || none) { 0 } else { input.sequence };
        bytes.extend_from_slice(&sequence.to_le_bytes());
    }
    let signed_outputs = match (none, single) {
        (true, _) => 0,
        (_, true) => index + 1,
        _ => tx.outputs.len(),
    };
    encode_compact_size(signed_outputs as u64, &mut bytes);
    for (at, output) in tx.outputs[..signed_outputs].iter().enumerate() {
        if single && at != index {
            bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]); // value -1, no script
        } else {
            output.encode(&mut bytes);
        }
    }
    bytes.extend_from_slice(&tx.lock_time.to_le_bytes());
    if let Some(data) = &tx.data {
        encode_bytes(data, &mut bytes);
    }
    let mut engine = Sha256::engine();
    engine.input(&bytes);
    Some(engine)
}

/// Length and bytes of a script without its `OP_CODESEPARATOR`s. Where the script ends in an instruction that runs
/// out of bytes, the length counts what the bytes leave out, as the reference client's does.
fn encode_without_separators(script: &[u8], out: &mut Vec<u8>) {
    if !script.contains(&OP_CODESEPARATOR) {
        let mut ops = Instructions::new(script);
        if ops.by_ref().all(|op| op.is_ok()) {
            return encode_bytes(script, out);
        }
        encode_compact_size(script.len() as u64, out);
        return out.extend_from_slice(&script[..ops.position()]);
    }
    let mut parts = Vec::with_capacity(script.len());
    let mut ops = Instructions::new(script);
    let (mut start, mut separators) = (0, 0);
    while let Some(Ok(op)) = ops.next() {
        if op.opcode == OP_CODESEPARATOR {
            separators += 1;
            parts.extend_from_slice(&script[start..ops.position() - 1]);
            start = ops.position();
        }
    }
    parts.extend_from_slice(&script[start..ops.position()]);
    encode_compact_size((script.len() - separators) as u64, out);
    out.extend_from_slice(&parts);
}

/// Signature hashes of one input so far, by kind and script code: a script that checks many signatures hashes the
/// transaction once for each, not once for each pair of signature and key.
#[derive(Default)]
pub(crate) struct SighashMemo([Option<(Box<[u8]>, sha256::HashEngine)>; 6]);

impl SighashMemo {
    /// The legacy or (with `witness`) BIP143 hash.
    pub(crate) fn sighash(
        &mut self,
        sighashes: &TxSighashes<'_>,
        index: usize,
        script_code: &[u8],
        hash_type: SighashType,
        witness: bool,
    ) -> [u8; 32] {
        let entry = &mut self.0[hash_type.class()];
        if let Some((code, midstate)) = entry
            && **code == *script_code
        {
            return finish(midstate.clone(), hash_type);
        }
        let midstate = if witness {
            sighashes.segwit_v0_midstate(index, script_code, hash_type)
        } else {
            match legacy_midstate(sighashes.tx, index, script_code, hash_type) {
                Some(midstate) => midstate,
                None => return ONE,
            }
        };
        *entry = Some((script_code.into(), midstate.clone()));
        finish(midstate, hash_type)
    }
}
