//! First blocks, built from what they say.

use lode_primitives::{
    Amount, Block, BlockHash, Form, Header, MerkleNode, Multiplier, OutPoint, SEQUENCE_FINAL, Transaction,
    TxIn, TxOut, Witness,
};

/// What a first block is made of: a coinbase that pushes some numbers and `text`, and pays `value` to `output_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The block's version.
    pub version: i32,
    /// What the coinbase's script begins with, as script.
    pub script_start: &'static [u8],
    /// The sentence in the coinbase.
    pub text: &'static str,
    /// Public key of the only output, as bytes of a push; empty for an output without a script.
    pub output_key: &'static [u8],
    /// Value of the only output.
    pub value: Amount,
    /// Unix time in seconds.
    pub time: u32,
    /// Compact target.
    pub bits: u32,
    /// Nonce.
    pub nonce: u32,
    /// The prime chain's multiplier; of no meaning where headers have none.
    pub multiplier: u64,
}

impl Genesis {
    /// The block, in the coin's `form`.
    pub(crate) fn block(&self, form: Form) -> Block {
        let mut script_sig = self.script_start.to_vec();
        push(self.text.as_bytes(), &mut script_sig);
        let mut script_pubkey = Vec::new();
        if !self.output_key.is_empty() {
            push(self.output_key, &mut script_pubkey);
            script_pubkey.push(0xac); // OP_CHECKSIG
        }
        let coinbase = Transaction {
            version: 1,
            inputs: vec![TxIn {
                prevout: OutPoint::NULL,
                script_sig,
                sequence: SEQUENCE_FINAL,
                witness: Witness::default(),
            }],
            outputs: vec![TxOut { value: self.value, script_pubkey }],
            lock_time: 0,
            data: form.data.then(Vec::new),
        };
        let header = Header {
            version: self.version,
            prev: BlockHash::ZERO,
            merkle_root: MerkleNode(coinbase.txid().0),
            time: self.time,
            bits: self.bits,
            nonce: self.nonce,
            multiplier: form
                .multiplier
                .then(|| Multiplier::from_le_magnitude(&self.multiplier.to_le_bytes())),
        };
        Block { header, transactions: vec![coinbase] }
    }
}

/// Appends a push of up to 255 bytes.
fn push(bytes: &[u8], script: &mut Vec<u8>) {
    if bytes.len() > 75 {
        script.push(0x4c); // OP_PUSHDATA1
    }
    script.push(bytes.len() as u8);
    script.extend_from_slice(bytes);
}
