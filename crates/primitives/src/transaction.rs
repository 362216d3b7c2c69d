//! Transactions, with or without witnesses, with or without a data field.

use crate::encode::{
    Decode, DecodeError, Encode, Form, Reader, compact_size_len, encode_bytes, encode_compact_size,
    encode_vec,
};
use crate::{Amount, Txid, Wtxid, sha256d};

/// A script as bytes; what they mean is the `script` crate's business.
pub type ScriptBuf = Vec<u8>;

/// A sequence number that asks for nothing: no lock time, no relative lock.
pub const SEQUENCE_FINAL: u32 = 0xffff_ffff;

/// The longest script, witness item or data field that is decoded at all, in bytes: no message or block is longer.
const MAX_VECTOR_BYTES: usize = 4_000_000;

/// Which output of which transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OutPoint {
    /// The transaction.
    pub txid: Txid,
    /// The output's index in it, from 0.
    pub vout: u32,
}

impl OutPoint {
    /// What a coinbase's only input points at.
    pub const NULL: Self = Self { txid: Txid::ZERO, vout: u32::MAX };

    /// True for [`OutPoint::NULL`].
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }
}

impl std::fmt::Display for OutPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.txid, self.vout)
    }
}

/// An input's witness: a stack of byte vectors (BIP141). Empty where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Witness(pub Vec<Vec<u8>>);

impl Witness {
    /// True where there is no item.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn encoded_len(&self) -> usize {
        compact_size_len(self.0.len() as u64) + self.0.iter().map(|item| vector_len(item)).sum::<usize>()
    }
}

/// One input: what it spends and why it may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxIn {
    /// The output spent.
    pub prevout: OutPoint,
    /// The unlocking script; in a coinbase, up to 100 bytes of the miner's choice.
    pub script_sig: ScriptBuf,
    /// Relative lock (BIP68), replaceability (BIP125), or [`SEQUENCE_FINAL`].
    pub sequence: u32,
    /// The witness; it travels behind the outputs, not here.
    pub witness: Witness,
}

impl TxIn {
    /// Spends `prevout`, final; script and witness are still to come.
    pub const fn spending(prevout: OutPoint) -> Self {
        Self { prevout, script_sig: Vec::new(), sequence: SEQUENCE_FINAL, witness: Witness(Vec::new()) }
    }
}

/// One output: how much, and who may spend it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxOut {
    /// The amount, unchecked: validation refuses what is negative or more than there can be.
    pub value: Amount,
    /// The locking script.
    pub script_pubkey: ScriptBuf,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// 1, or 2 where relative locks (BIP68) are meant.
    pub version: i32,
    /// What is spent.
    pub inputs: Vec<TxIn>,
    /// What is made.
    pub outputs: Vec<TxOut>,
    /// Earliest block height (below 500,000,000) or Unix time at which it may be mined.
    pub lock_time: u32,
    /// Datacoin's data field: `Some`, if only empty, in every transaction of a coin whose form has it; else `None`.
    pub data: Option<Vec<u8>>,
}

impl Transaction {
    /// Of version 2, without a lock time or a data field.
    pub const fn new(inputs: Vec<TxIn>, outputs: Vec<TxOut>) -> Self {
        Self { version: 2, inputs, outputs, lock_time: 0, data: None }
    }

    /// True for the form of a coinbase: one input, spending the null outpoint.
    pub fn is_coinbase(&self) -> bool {
        matches!(self.inputs.as_slice(), [input] if input.prevout.is_null())
    }

    /// True where any input has a witness.
    pub fn has_witness(&self) -> bool {
        self.inputs.iter().any(|input| !input.witness.is_empty())
    }

    /// The id: SHA-256d of the encoding without witnesses (data is part of it).
    pub fn txid(&self) -> Txid {
        let mut bytes = Vec::with_capacity(self.base_size());
        self.encode_without_witness(&mut bytes);
        Txid(sha256d(&bytes))
    }

    /// The id with witnesses; equal in bytes to the txid where there are none.
    pub fn wtxid(&self) -> Wtxid {
        Wtxid(sha256d(&self.to_bytes()))
    }

    /// Bytes without witnesses.
    pub fn base_size(&self) -> usize {
        let inputs: usize = self.inputs.iter().map(|input| 40 + vector_len(&input.script_sig)).sum();
        let outputs: usize = self.outputs.iter().map(|output| 8 + vector_len(&output.script_pubkey)).sum();
        8 + compact_size_len(self.inputs.len() as u64)
            + inputs
            + compact_size_len(self.outputs.len() as u64)
            + outputs
            + self.data.as_deref().map_or(0, vector_len)
    }

    /// Bytes on the wire, witnesses included.
    pub fn total_size(&self) -> usize {
        let witness = if self.has_witness() {
            2 + self.inputs.iter().map(|input| input.witness.encoded_len()).sum::<usize>()
        } else {
            0
        };
        self.base_size() + witness
    }

    /// Weight units (BIP141): three times the base size plus the total size.
    pub fn weight(&self) -> usize {
        3 * self.base_size() + self.total_size()
    }

    /// Appends the encoding without witnesses: what the txid is a hash of.
    pub fn encode_without_witness(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        self.encode_body(out);
        self.encode_tail(out);
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        encode_vec(&self.inputs, out);
        encode_vec(&self.outputs, out);
    }

    fn encode_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.lock_time.to_le_bytes());
        if let Some(data) = &self.data {
            encode_bytes(data, out);
        }
    }
}

fn vector_len(bytes: &[u8]) -> usize {
    compact_size_len(bytes.len() as u64) + bytes.len()
}

impl Encode for Transaction {
    fn encode(&self, out: &mut Vec<u8>) {
        if !self.has_witness() {
            return self.encode_without_witness(out);
        }
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0, 1]);
        self.encode_body(out);
        for input in &self.inputs {
            input.witness.encode(out);
        }
        self.encode_tail(out);
    }
}

impl Decode for Transaction {
    /// As the reference client: no inputs and a flag mean the witness form. A transaction with no inputs and no
    /// outputs cannot be told from it and is refused there.
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        let version = reader.i32_le()?;
        let mut inputs: Vec<TxIn> = decode_vec(reader, form, TX_IN_MIN)?;
        let mut flag = 0;
        let outputs;
        if inputs.is_empty() && form.witness {
            flag = reader.u8()?;
            if flag == 0 {
                outputs = Vec::new();
            } else {
                inputs = decode_vec(reader, form, TX_IN_MIN)?;
                outputs = decode_vec(reader, form, TX_OUT_MIN)?;
            }
        } else {
            outputs = decode_vec(reader, form, TX_OUT_MIN)?;
        }
        if flag & 1 != 0 {
            for input in &mut inputs {
                input.witness = Witness::decode(reader, form)?;
            }
            if inputs.iter().all(|input| input.witness.is_empty()) {
                return Err(DecodeError::SuperfluousWitness);
            }
        }
        if flag & !1 != 0 {
            return Err(DecodeError::UnknownFlag(flag));
        }
        let lock_time = reader.u32_le()?;
        let data =
            if form.data { Some(reader.bytes("data field", MAX_VECTOR_BYTES)?.to_vec()) } else { None };
        Ok(Self { version, inputs, outputs, lock_time, data })
    }
}

/// Least bytes of an encoded input: outpoint, empty script, sequence.
const TX_IN_MIN: usize = 41;
/// Least bytes of an encoded output: value, empty script.
const TX_OUT_MIN: usize = 9;

/// Reads a count, then as many items, each of at least `item_min` bytes.
pub(crate) fn decode_vec<T: Decode>(
    reader: &mut Reader<'_>,
    form: Form,
    item_min: usize,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.count(item_min)?;
    (0..count).map(|_| T::decode(reader, form)).collect()
}

impl Encode for TxIn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.prevout.encode(out);
        encode_bytes(&self.script_sig, out);
        out.extend_from_slice(&self.sequence.to_le_bytes());
    }
}

impl Decode for TxIn {
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            prevout: OutPoint::decode(reader, form)?,
            script_sig: reader.bytes("script", MAX_VECTOR_BYTES)?.to_vec(),
            sequence: reader.u32_le()?,
            witness: Witness::default(),
        })
    }
}

impl Encode for TxOut {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.value.to_sat().to_le_bytes());
        encode_bytes(&self.script_pubkey, out);
    }
}

impl Decode for TxOut {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            value: Amount::from_sat(reader.i64_le()?),
            script_pubkey: reader.bytes("script", MAX_VECTOR_BYTES)?.to_vec(),
        })
    }
}

impl Encode for OutPoint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.txid.as_bytes());
        out.extend_from_slice(&self.vout.to_le_bytes());
    }
}

impl Decode for OutPoint {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self { txid: Txid(reader.array()?), vout: reader.u32_le()? })
    }
}

impl Encode for Witness {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_compact_size(self.0.len() as u64, out);
        for item in &self.0 {
            encode_bytes(item, out);
        }
    }
}

impl Decode for Witness {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        let count = reader.count(1)?;
        // An item takes 24 bytes of memory beside its bytes: grow as they come, do not reserve for the count.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(reader.bytes("witness item", MAX_VECTOR_BYTES)?.to_vec());
        }
        Ok(Self(items))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const WITNESS: Form = Form { witness: true, data: false, multiplier: false };

    pub(crate) fn any_transaction(form: Form) -> impl Strategy<Value = Transaction> {
        let script = || vec(any::<u8>(), 0..60);
        let witness = move || vec(vec(any::<u8>(), 0..40), 0..if form.witness { 4 } else { 1 });
        let input = (any::<[u8; 32]>(), any::<u32>(), script(), any::<u32>(), witness()).prop_map(
            |(txid, vout, script_sig, sequence, witness)| TxIn {
                prevout: OutPoint { txid: Txid(txid), vout },
                script_sig,
                sequence,
                witness: Witness(witness),
            },
        );
        let output = (any::<i64>(), script())
            .prop_map(|(sat, script_pubkey)| TxOut { value: Amount::from_sat(sat), script_pubkey });
        (any::<i32>(), vec(input, 1..4), vec(output, 0..4), any::<u32>(), vec(any::<u8>(), 0..300)).prop_map(
            move |(version, inputs, outputs, lock_time, data)| Transaction {
                version,
                inputs,
                outputs,
                lock_time,
                data: form.data.then_some(data),
            },
        )
    }

    proptest! {
        #[test]
        fn round_trips_with_its_sizes(tx in any_transaction(WITNESS)) {
            let bytes = tx.to_bytes();
            prop_assert_eq!(bytes.len(), tx.total_size());
            prop_assert_eq!(Transaction::from_bytes(&bytes, WITNESS), Ok(tx.clone()));
            let mut base = Vec::new();
            tx.encode_without_witness(&mut base);
            prop_assert_eq!(base.len(), tx.base_size());
        }

        #[test]
        fn round_trips_with_data(tx in any_transaction(Form { data: true, ..Form::default() })) {
            let bytes = tx.to_bytes();
            prop_assert_eq!(bytes.len(), tx.base_size());
            prop_assert_eq!(Transaction::from_bytes(&bytes, Form { data: true, ..Form::default() }), Ok(tx));
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..400), witness: bool, data: bool) {
            let _ = Transaction::from_bytes(&bytes, Form { witness, data, multiplier: false });
        }
    }

    #[test]
    fn a_witness_flag_without_a_witness_is_refused() {
        let mut bytes = vec![1, 0, 0, 0, 0, 1, 1];
        bytes.extend_from_slice(&[0; 36]);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0]); // script, sequence, no outputs, empty witness, ...
        bytes.extend_from_slice(&[0; 3]);
        assert_eq!(Transaction::from_bytes(&bytes, WITNESS), Err(DecodeError::SuperfluousWitness));
        bytes[5] = 2;
        assert!(Transaction::from_bytes(&bytes, WITNESS).is_err());
    }

    #[test]
    fn no_inputs_without_witness_form_is_plain() {
        // Version, no inputs, one output: readable only where the coin has no witnesses.
        let bytes = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Transaction::from_bytes(&bytes, Form::default()).unwrap().outputs.len(), 1);
        assert!(Transaction::from_bytes(&bytes, WITNESS).is_err());
    }
}
