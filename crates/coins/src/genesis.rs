//! First blocks, built from what they say.

use lode_primitives::{
    Amount, Block, BlockHash, Form, Header, MerkleNode, OutPoint, SEQUENCE_FINAL, Transaction, TxIn, TxOut,
    Witness,
};

/// What a first block is made of. Its coinbase pushes `0x1d00ffff`, 4 and `text`, as the first of all did, and pays
/// `value` to the public key `output_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The sentence in the coinbase.
    pub text: &'static str,
    /// Public key of the only output, as bytes of a push.
    pub output_key: &'static [u8],
    /// Value of the only output.
    pub value: Amount,
    /// Unix time in seconds.
    pub time: u32,
    /// Compact target.
    pub bits: u32,
    /// Nonce.
    pub nonce: u32,
}

impl Genesis {
    /// The block, in the coin's `form`.
    pub(crate) fn block(&self, form: Form) -> Block {
        let mut script_sig = vec![4, 0xff, 0xff, 0x00, 0x1d, 1, 4];
        push(self.text.as_bytes(), &mut script_sig);
        let mut script_pubkey = Vec::new();
        push(self.output_key, &mut script_pubkey);
        script_pubkey.push(0xac); // OP_CHECKSIG
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
            version: 1,
            prev: BlockHash::ZERO,
            merkle_root: MerkleNode(coinbase.txid().0),
            time: self.time,
            bits: self.bits,
            nonce: self.nonce,
            multiplier: None,
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
