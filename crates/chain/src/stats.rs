//! Figures about the unspent outputs, as `gettxoutsetinfo` gives them: the reference client's numbers and hashes.

use bitcoin_hashes::{HashEngine, Sha256};
use lode_primitives::{Amount, BlockHash, Encode, Hash256, Height, OutPoint, encode_bytes, sha256};

use crate::StoreError;
use crate::chain::Chain;
use crate::db::Outputs;
use crate::muhash::MuHash;
use crate::utxo::Utxo;

/// All unspent outputs at one block, whatever the chain does meanwhile.
pub struct OutputSet {
    outputs: Outputs,
    /// The block.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// Bytes the database takes on disk.
    pub disk_bytes: u64,
}

/// Which hash over the outputs is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetHash {
    /// SHA-256d over all outputs in order: `hash_serialized_3`.
    Serialized,
    /// A product that does not depend on the order: `muhash`.
    MuHash,
    /// None: counts and amounts only.
    None,
}

/// Figures about the unspent outputs at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSetInfo {
    /// The block.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// Transactions with an unspent output.
    pub transactions: u64,
    /// Unspent outputs.
    pub outputs: u64,
    /// A measure of size that does not depend on the database: 50 bytes to an output and its script.
    pub bogo_bytes: u64,
    /// What they are worth together.
    pub total: Amount,
    /// Bytes the database takes on disk.
    pub disk_bytes: u64,
    /// The hash asked for, in internal byte order.
    pub set_hash: Option<Hash256>,
}

impl Chain {
    /// The unspent outputs at the tip, as they are now: flushes, then takes a snapshot that may be read at leisure.
    pub fn output_set(&mut self) -> Result<OutputSet, StoreError> {
        self.usable()?;
        self.flush()?;
        Ok(OutputSet {
            outputs: self.db.outputs(),
            hash: self.tip().hash(),
            height: self.height(),
            disk_bytes: self.db.disk_bytes(),
        })
    }
}

impl OutputSet {
    /// Every output, by txid (internal bytes) and index.
    pub fn iter(&self) -> impl Iterator<Item = Result<(OutPoint, Utxo), StoreError>> + '_ {
        self.outputs.iter()
    }

    /// Reads all outputs and adds up.
    pub fn info(&self, hash: SetHash) -> Result<OutputSetInfo, StoreError> {
        let mut info = OutputSetInfo {
            hash: self.hash,
            height: self.height,
            transactions: 0,
            outputs: 0,
            bogo_bytes: 0,
            total: Amount::ZERO,
            disk_bytes: self.disk_bytes,
            set_hash: None,
        };
        let mut serialized = Sha256::engine();
        let mut product = MuHash::default();
        let mut last = None;
        let mut bytes = Vec::new();
        for row in self.iter() {
            let (outpoint, utxo) = row?;
            if last.replace(outpoint.txid) != Some(outpoint.txid) {
                info.transactions += 1;
            }
            info.outputs += 1;
            info.bogo_bytes += 50 + utxo.output.script_pubkey.len() as u64;
            info.total = info.total.checked_add(utxo.output.value).unwrap_or(info.total);
            if hash != SetHash::None {
                bytes.clear();
                encode_output(&outpoint, &utxo, &mut bytes);
                match hash {
                    SetHash::MuHash => product.insert(&bytes),
                    _ => serialized.input(&bytes),
                }
            }
        }
        info.set_hash = match hash {
            SetHash::Serialized => Some(Hash256(sha256(Sha256::from_engine(serialized).as_byte_array()))),
            SetHash::MuHash => Some(Hash256(product.finish())),
            SetHash::None => None,
        };
        Ok(info)
    }
}

/// An output as both hashes take it: outpoint, height and coinbase flag in 32 bits, amount, script.
fn encode_output(outpoint: &OutPoint, utxo: &Utxo, out: &mut Vec<u8>) {
    outpoint.encode(out);
    out.extend_from_slice(&(utxo.code() as u32).to_le_bytes());
    out.extend_from_slice(&utxo.output.value.to_sat().to_le_bytes());
    encode_bytes(&utxo.output.script_pubkey, out);
}
