//! Payment proofs: that a transaction is in a block, for somebody who has nothing but the headers.
//!
//! A proof is a plain JSON file with its format's name and version in it; docs/light.md describes every field. It says
//! nothing that its reader has to believe: the transaction's id follows from its bytes, the Merkle root from the id and
//! the branch, the block's id from the header, and whether that header is in the best chain, and how deep, the reader
//! finds in headers of his own.

use lode_chain::HeaderChain;
use lode_coins::Coin;
use lode_primitives::{
    Block, BlockHash, Decode, Encode, Header, Height, MerkleNode, Transaction, Txid, merkle,
};
use serde::{Deserialize, Serialize};

/// What the `format` field says.
pub const FORMAT: &str = "lode-payment-proof";
/// The version written and read.
pub const VERSION: u32 = 1;
/// A proof file is no longer, in bytes: a transaction of a whole block in hex, and its branch.
pub const FILE_BYTES_MAX: usize = 9_000_000;
/// A branch is no longer: no block has 2^32 transactions.
const BRANCH_MAX: usize = 32;
/// A transaction of this many bytes (without witnesses) could be an inner node of the tree (CVE-2017-12842).
const NODE_BYTES: usize = 64;

/// A payment proof as it is in the file. Hashes are in the hex that people see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The coin's name.
    pub coin: String,
    /// The network's name.
    pub network: String,
    /// The transaction's id.
    pub txid: String,
    /// The transaction with its witnesses, in hex.
    pub transaction: String,
    /// Its place among the block's transactions, from 0.
    pub index: u32,
    /// Its siblings in the Merkle tree, from the leaves upwards.
    pub branch: Vec<String>,
    /// The block's id.
    pub block: String,
    /// The block's height.
    pub height: Height,
    /// The block's header, in hex.
    pub header: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The file is no proof.
    #[error("this is no payment proof: {0}")]
    Unreadable(String),
    /// Of a format or version that is not known here.
    #[error("the proof is of format {format:?}, version {version}; known is {FORMAT:?}, version {VERSION}")]
    Format {
        /// The format it names.
        format: String,
        /// The version it names.
        version: u32,
    },
    /// Of another coin or network.
    #[error("the proof is of {found}, the headers here are of {wanted}: choose with --coin and --network")]
    OtherChain {
        /// What the proof is of.
        found: String,
        /// What the headers are of.
        wanted: String,
    },
    /// A field cannot be read.
    #[error("the proof's {0} cannot be read: {1}")]
    Field(&'static str, String),
    /// Two parts do not fit each other.
    #[error("the proof is wrong: {0}")]
    Wrong(String),
    /// The block is not known.
    #[error(
        "block {block}, which the proof names, is not among the headers here, which go up to {height}: bring them up to \
         date with `lode light --once`; if it is still missing then, the proof is of another chain"
    )]
    UnknownBlock {
        /// The block.
        block: BlockHash,
        /// The tip's height.
        height: Height,
    },
    /// The block lost against another.
    #[error(
        "block {block} was replaced by another chain with more work from height {fork} on: the payment is undone there"
    )]
    Replaced {
        /// The block.
        block: BlockHash,
        /// The last height both chains share.
        fork: Height,
    },
}

/// What a good proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The transaction.
    pub transaction: Transaction,
    /// Its id.
    pub txid: Txid,
    /// The block it is in.
    pub block: BlockHash,
    /// The block's height.
    pub height: Height,
    /// The block's time, Unix seconds.
    pub time: u32,
    /// Blocks from this one to the tip, both counted in.
    pub confirmations: u32,
}

impl Proof {
    /// The proof that the transaction at `index` is in `block`, which is at `height`; `None` where there is none.
    pub fn new(coin: &Coin, block: &Block, height: Height, index: usize) -> Option<Self> {
        let transaction = block.transactions.get(index)?;
        let leaves = block.transactions.iter().map(|transaction| transaction.txid().0).collect();
        let branch = merkle::branch(leaves, index);
        Some(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            coin: coin.name.to_owned(),
            network: coin.network.to_string(),
            txid: transaction.txid().to_string(),
            transaction: hex::encode(transaction.to_bytes()),
            index: u32::try_from(index).ok()?,
            branch: branch.into_iter().map(|node| MerkleNode(node).to_string()).collect(),
            block: block.hash().to_string(),
            height,
            header: hex::encode(block.header.to_bytes()),
        })
    }

    /// Reads a proof file.
    ///
    /// # Errors
    /// [`ProofError::Unreadable`], [`ProofError::Format`].
    pub fn read(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > FILE_BYTES_MAX {
            let what = format!("{} bytes, more than any proof's {FILE_BYTES_MAX}", bytes.len());
            return Err(ProofError::Unreadable(what));
        }
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let unreadable = |error: serde_json::Error| ProofError::Unreadable(error.to_string());
        let Head { format, version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format != FORMAT || version != VERSION {
            return Err(ProofError::Format { format: format.chars().take(80).collect(), version });
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// The file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers are JSON");
        text.push('\n');
        text
    }

    /// Checks the proof against `headers` and says what it shows.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, headers: &HeaderChain) -> Result<Verified, ProofError> {
        let coin = headers.coin();
        if self.coin != coin.name || self.network != coin.network.to_string() {
            let found = format!("{} {}", self.coin, self.network).chars().take(80).collect();
            return Err(ProofError::OtherChain { found, wanted: coin.to_string() });
        }
        let bytes = from_hex("transaction", &self.transaction)?;
        let transaction = Transaction::from_bytes(&bytes, coin.form)
            .map_err(|error| ProofError::Field("transaction", error.to_string()))?;
        if transaction.base_size() == NODE_BYTES {
            return Err(ProofError::Wrong(
                "a transaction of 64 bytes could be a node of the tree".to_owned(),
            ));
        }
        let txid = transaction.txid();
        if self.txid != txid.to_string() {
            return Err(ProofError::Wrong(format!("the transaction's id is {txid}")));
        }
        let header = from_hex("header", &self.header)?;
        let header = Header::from_bytes(&header, coin.form)
            .map_err(|error| ProofError::Field("header", error.to_string()))?;
        let block = header.hash();
        if self.block != block.to_string() {
            return Err(ProofError::Wrong(format!("the header is block {block}'s")));
        }
        if self.branch.len() > BRANCH_MAX || u64::from(self.index) >= 1 << self.branch.len() {
            let what = format!("no tree has place {} with a branch of {}", self.index, self.branch.len());
            return Err(ProofError::Wrong(what));
        }
        let branch = self
            .branch
            .iter()
            .map(|node| MerkleNode::from_display_hex(node).map(|node| node.0))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ProofError::Field("branch", error.to_string()))?;
        if merkle::root_from_branch(txid.0, &branch, self.index as usize) != header.merkle_root {
            return Err(ProofError::Wrong(
                "the branch does not lead from the transaction to the header".to_owned(),
            ));
        }
        let Some(entry) = headers.entry(&block) else {
            return Err(ProofError::UnknownBlock { block, height: headers.height() });
        };
        let height = entry.height();
        if headers.height_of(&block).is_none() {
            let fork = headers.fork_height(&block).unwrap_or_default();
            return Err(ProofError::Replaced { block, fork });
        }
        if self.height != height {
            return Err(ProofError::Wrong(format!(
                "block {block} is at height {height}, not {}",
                self.height
            )));
        }
        let confirmations = headers.height() - height + 1;
        Ok(Verified { transaction, txid, block, height, time: entry.time(), confirmations })
    }
}

fn from_hex(field: &'static str, text: &str) -> Result<Vec<u8>, ProofError> {
    hex::decode(text).map_err(|error| ProofError::Field(field, error.to_string()))
}
