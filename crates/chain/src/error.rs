//! What can be wrong: with a transaction, with a block, with the files.
//!
//! One variant per rule. [`BlockError::reject_reason`] and [`TxError::reject_reason`] give the reference client's
//! short names, which other software matches on; `Display` says it for people.

use std::path::PathBuf;

use lode_pow::PrimeChainError;
use lode_primitives::{Amount, BlockHash, Height, OutPoint, Txid};
use lode_script::ScriptError;

/// Why a transaction cannot be in a block (or, in the mempool, in the next one).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// No inputs.
    #[error("transaction has no inputs")]
    NoInputs,
    /// No outputs.
    #[error("transaction has no outputs")]
    NoOutputs,
    /// An output of less than the coin allows any.
    #[error("output {output} pays {value}, less than an output must at least, {least}")]
    OutputTooSmall {
        /// Its index.
        output: usize,
        /// What it pays.
        value: Amount,
        /// The least.
        least: Amount,
    },
    /// More data than a transaction may carry.
    #[error("{size} bytes of data; a transaction carries at most {max}")]
    DataTooLong {
        /// As found, in bytes.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// A fee below what the coin asks of every transaction.
    #[error("fee {fee} is less than a transaction of {size} bytes must pay, {least}")]
    FeeTooLow {
        /// As paid.
        fee: Amount,
        /// Bytes of the transaction, its data included.
        size: usize,
        /// The least.
        least: Amount,
    },
    /// Larger without witnesses than a block may be.
    #[error("transaction of {0} bytes without witnesses cannot fit in a block")]
    Oversize(usize),
    /// A negative output.
    #[error("output {0} pays a negative amount")]
    OutputNegative(usize),
    /// An output of more than there can ever be.
    #[error("output {0} pays more than there can ever be")]
    OutputTooLarge(usize),
    /// Outputs of more than there can ever be, taken together.
    #[error("outputs together pay more than there can ever be")]
    OutputTotalTooLarge,
    /// The same output spent twice (CVE-2018-17144).
    #[error("{0} is spent twice in one transaction")]
    DuplicateInput(OutPoint),
    /// A coinbase's script is not of 2 to 100 bytes.
    #[error("coinbase script of {0} bytes; 2 to 100 are allowed")]
    CoinbaseLength(usize),
    /// The null outpoint spent outside a coinbase.
    #[error("input {0} spends the null outpoint")]
    NullPrevout(usize),
    /// Not there, or spent already.
    #[error("{0} does not exist or is spent already")]
    MissingOrSpent(OutPoint),
    /// A coinbase spent too early.
    #[error("coinbase {outpoint} is spent at a depth of {depth}; it matures at {maturity}")]
    PrematureCoinbaseSpend {
        /// The output.
        outpoint: OutPoint,
        /// Blocks from the coinbase's to the spending one.
        depth: Height,
        /// The least depth.
        maturity: Height,
    },
    /// Input amounts out of range.
    #[error("input amounts add up to more than there can ever be")]
    InputValuesOutOfRange,
    /// More paid than spent.
    #[error("pays {paid} but spends only {spent}")]
    PaysMoreThanSpent {
        /// Sum of the inputs.
        spent: Amount,
        /// Sum of the outputs.
        paid: Amount,
    },
    /// A fee out of range.
    #[error("fee out of range")]
    FeeOutOfRange,
    /// The lock time is in the future (BIP113 says of which clock).
    #[error("lock time {0} is not reached yet")]
    NonFinal(u32),
    /// A relative lock is not reached yet (BIP68).
    #[error("a relative lock is not reached yet")]
    SequenceLocked,
    /// An input's script does not hold.
    #[error("input {input}, which spends {outpoint}: {error}")]
    Script {
        /// Index of the input.
        input: usize,
        /// What it spends.
        outpoint: OutPoint,
        /// Why the script failed.
        error: ScriptError,
    },
}

impl TxError {
    /// The reference client's short name for the rule, as it is found when a block is checked.
    pub fn reject_reason(&self) -> String {
        match self {
            Self::NoInputs => "bad-txns-vin-empty",
            Self::NoOutputs => "bad-txns-vout-empty",
            Self::Oversize(_) => "bad-txns-oversize",
            Self::OutputTooSmall { .. } => "bad-txns-vout-toosmall",
            Self::DataTooLong { .. } => "bad-txns-data-toolong",
            Self::FeeTooLow { .. } => "bad-txns-fee-toolow",
            Self::OutputNegative(_) => "bad-txns-vout-negative",
            Self::OutputTooLarge(_) => "bad-txns-vout-toolarge",
            Self::OutputTotalTooLarge => "bad-txns-txouttotal-toolarge",
            Self::DuplicateInput(_) => "bad-txns-inputs-duplicate",
            Self::CoinbaseLength(_) => "bad-cb-length",
            Self::NullPrevout(_) => "bad-txns-prevout-null",
            Self::MissingOrSpent(_) => "bad-txns-inputs-missingorspent",
            Self::PrematureCoinbaseSpend { .. } => "bad-txns-premature-spend-of-coinbase",
            Self::InputValuesOutOfRange => "bad-txns-inputvalues-outofrange",
            Self::PaysMoreThanSpent { .. } => "bad-txns-in-belowout",
            Self::FeeOutOfRange => "bad-txns-fee-outofrange",
            Self::NonFinal(_) | Self::SequenceLocked => "bad-txns-nonfinal",
            Self::Script { error, .. } => return format!("block-script-verify-flag-failed ({error})"),
        }
        .to_owned()
    }
}

/// Whose fault a refused block is, for whoever judges the peer that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The block can never be valid: whoever sent it did not check it.
    Invalid,
    /// The header is honest but the body was changed on the way: another peer may have the real one.
    Mutated,
    /// The header can never be valid.
    InvalidHeader,
    /// Known for invalid already.
    KnownInvalid,
    /// It stands on an invalid block.
    InvalidParent,
    /// Its parent is not known (yet).
    MissingParent,
    /// Too far in the future; it may be valid later.
    Early,
    /// Nobody's: a proposal that does not fit the tip, a block that is not worth keeping.
    Inconclusive,
    /// Ours: files could not be read or written.
    OwnFault,
}

/// Why a header or block was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// No, or not enough, proof of work; or bits that are no target at all.
    #[error("proof of work of {0} does not meet its target")]
    HighHash(BlockHash),
    /// No prime chain, or not one as long as claimed.
    #[error("proof of work of {hash}: {error}")]
    PrimeChain {
        /// The block.
        hash: BlockHash,
        /// What is wrong with it.
        error: PrimeChainError,
    },
    /// Known and marked invalid.
    #[error("{0} was found invalid before")]
    DuplicateInvalid(BlockHash),
    /// The parent is not known.
    #[error("parent {0} is not known")]
    MissingParent(BlockHash),
    /// The parent is invalid.
    #[error("parent {0} is invalid")]
    InvalidParent(BlockHash),
    /// Other bits than the retarget rule asks for.
    #[error("bits {found:#010x} where the retarget rule asks for {required:#010x}")]
    BadBits {
        /// As found.
        found: u32,
        /// As required.
        required: u32,
    },
    /// Not after the median time of the eleven blocks before.
    #[error("time {time} is not after the median time past {median}")]
    TimeTooOld {
        /// The block's.
        time: u32,
        /// The median.
        median: u32,
    },
    /// First block of an interval, too long before its parent (BIP94).
    #[error("time {time} is more than 600 seconds before the last interval's end at {parent}")]
    TimeWarp {
        /// The block's.
        time: u32,
        /// The parent's.
        parent: u32,
    },
    /// More than two hours in the future.
    #[error("time {time} is more than two hours after now, {now}")]
    TimeTooNew {
        /// The block's.
        time: u32,
        /// Our clock.
        now: u32,
    },
    /// A version from before a soft fork that is in force.
    #[error("version {0:#010x} is from before a rule that is in force")]
    BadVersion(i32),
    /// The signet challenge is not satisfied (BIP325).
    #[error("the signet's challenge is not satisfied")]
    SignetSolution,
    /// The Merkle root is not that of the transactions.
    #[error("the header's Merkle root is not that of the transactions")]
    MerkleRoot,
    /// Two equal nodes side by side in the Merkle tree (CVE-2012-2459).
    #[error("transactions are repeated in a way the Merkle root does not show")]
    MerkleMutated,
    /// No transactions, or too many bytes without witnesses.
    #[error("no transactions, or more bytes than a block may have")]
    Length,
    /// The first transaction is no coinbase.
    #[error("the first transaction is no coinbase")]
    CoinbaseMissing,
    /// A second coinbase.
    #[error("transaction {0} is a second coinbase")]
    CoinbaseMultiple(usize),
    /// A transaction that can be in no block, or not in this one.
    #[error("transaction {txid}: {error}")]
    Tx {
        /// Which.
        txid: Txid,
        /// Why.
        error: TxError,
    },
    /// More signature operations than a block may have.
    #[error("more than {0} units of signature operations")]
    Sigops(usize),
    /// The coinbase does not begin with the height (BIP34).
    #[error("the coinbase does not begin with the block's height {0}")]
    CoinbaseHeight(Height),
    /// The coinbase's witness is not one item of 32 bytes (BIP141).
    #[error("the coinbase's witness is not one item of 32 bytes")]
    WitnessNonceSize,
    /// The witness commitment does not match (BIP141).
    #[error("the witness commitment does not match the transactions")]
    WitnessMerkle,
    /// Witnesses without a commitment, or before segwit (BIP141).
    #[error("witnesses in a block that does not commit to them")]
    UnexpectedWitness,
    /// Too heavy.
    #[error("weight {weight} of at most {max}")]
    Weight {
        /// The block's.
        weight: usize,
        /// The bound.
        max: usize,
    },
    /// A transaction that is still unspent would be overwritten (BIP30).
    #[error("transaction {0} exists already and is not spent yet")]
    Bip30(Txid),
    /// Fees add up to more than there can ever be.
    #[error("fees add up to more than there can ever be")]
    FeesOutOfRange,
    /// The coinbase pays out more than subsidy and fees.
    #[error("the coinbase pays {paid} where subsidy and fees are {allowed}")]
    CoinbaseAmount {
        /// As found.
        paid: Amount,
        /// Subsidy and fees.
        allowed: Amount,
    },
    /// On a branch with so much less work than the best chain that it is not worth keeping.
    #[error(
        "block {hash} is on a branch with far less work than the best chain, and none better is known to follow it"
    )]
    TooLittleWork {
        /// Which.
        hash: BlockHash,
    },
    /// A proposal that is not built on the tip.
    #[error("the proposal is built on {0}, not on the tip")]
    NotOnTip(BlockHash),
    /// Not a rule: a file or the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BlockError {
    /// The reference client's short name for the rule.
    pub fn reject_reason(&self) -> String {
        match self {
            Self::HighHash(_) => "high-hash",
            Self::PrimeChain { error, .. } => match error {
                PrimeChainError::LengthTarget(_) => "bad-diffbits",
                PrimeChainError::HashTooSmall(_) => "header-hash-too-small",
                PrimeChainError::OriginTooSmall => "prime-chain-origin-too-small",
                PrimeChainError::OriginTooBig => "prime-chain-origin-too-big",
                PrimeChainError::TooShort { .. }
                | PrimeChainError::FermatDisagrees { .. }
                | PrimeChainError::NotNormalized { .. } => "invalid-prime-chain",
            },
            Self::DuplicateInvalid(_) => "duplicate-invalid",
            Self::MissingParent(_) => "prev-blk-not-found",
            Self::InvalidParent(_) => "bad-prevblk",
            Self::BadBits { .. } => "bad-diffbits",
            Self::TimeTooOld { .. } => "time-too-old",
            Self::TimeWarp { .. } => "time-timewarp-attack",
            Self::TimeTooNew { .. } => "time-too-new",
            Self::BadVersion(version) => return format!("bad-version({version:#010x})"),
            Self::SignetSolution => "bad-signet-blksig",
            Self::MerkleRoot => "bad-txnmrklroot",
            Self::MerkleMutated => "bad-txns-duplicate",
            Self::Length => "bad-blk-length",
            Self::CoinbaseMissing => "bad-cb-missing",
            Self::CoinbaseMultiple(_) => "bad-cb-multiple",
            Self::Tx { error, .. } => return error.reject_reason(),
            Self::Sigops(_) => "bad-blk-sigops",
            Self::CoinbaseHeight(_) => "bad-cb-height",
            Self::WitnessNonceSize => "bad-witness-nonce-size",
            Self::WitnessMerkle => "bad-witness-merkle-match",
            Self::UnexpectedWitness => "unexpected-witness",
            Self::Weight { .. } => "bad-blk-weight",
            Self::Bip30(_) => "bad-txns-BIP30",
            Self::FeesOutOfRange => "bad-txns-accumulated-fee-outofrange",
            Self::CoinbaseAmount { .. } => "bad-cb-amount",
            Self::TooLittleWork { .. } => "too-little-chainwork",
            Self::NotOnTip(_) => "inconclusive-not-best-prevblk",
            Self::Store(_) => "error",
        }
        .to_owned()
    }

    /// Whose fault it is.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::HighHash(_)
            | Self::PrimeChain { .. }
            | Self::BadBits { .. }
            | Self::TimeTooOld { .. }
            | Self::TimeWarp { .. }
            | Self::BadVersion(_) => Blame::InvalidHeader,
            Self::DuplicateInvalid(_) => Blame::KnownInvalid,
            Self::MissingParent(_) => Blame::MissingParent,
            Self::InvalidParent(_) => Blame::InvalidParent,
            Self::TimeTooNew { .. } => Blame::Early,
            Self::MerkleRoot
            | Self::MerkleMutated
            | Self::WitnessNonceSize
            | Self::WitnessMerkle
            | Self::UnexpectedWitness => Blame::Mutated,
            Self::TooLittleWork { .. } | Self::NotOnTip(_) => Blame::Inconclusive,
            Self::Store(_) => Blame::OwnFault,
            _ => Blame::Invalid,
        }
    }

    /// True where the block is marked invalid for good: a rule is broken, and by the block that the header names.
    pub(crate) const fn marks_invalid(&self) -> bool {
        matches!(self.blame(), Blame::Invalid)
    }
}

/// A file or the database failed. The chain stops taking blocks after one; nothing reported as connected is lost.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No room left.
    #[error("disk full while writing {path}: make room and start again; nothing is lost")]
    DiskFull {
        /// The file or directory.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{action} {path}: {message}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A file does not hold what was written to it.
    #[error(
        "{path} is damaged at byte {offset} ({what}): put back a copy of this file, or delete the directory {directory} to \
         download the chain again"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
        /// What to delete if there is no copy.
        directory: PathBuf,
    },
    /// The database failed or does not hold what was written to it.
    #[error(
        "the database in {path} is damaged ({message}): put back a copy of it, or delete the directory {directory} to \
         download the chain again"
    )]
    Database {
        /// Its directory.
        path: PathBuf,
        /// What it said.
        message: String,
        /// What to delete if there is no copy.
        directory: PathBuf,
    },
    /// The block's data was deleted by pruning.
    #[error("block {0} is not on disk any more (pruned)")]
    Pruned(BlockHash),
    /// An earlier failure stopped the chain.
    #[error("stopped after an earlier error ({0}): start again once it is mended")]
    Stopped(String),
}

impl StoreError {
    /// The error for a failed `action` on `path`; disk full is told apart.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::DiskFull { path },
            _ => Self::Io { action, path, message: error.to_string() },
        }
    }
}

/// Why a chain could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("data directory {0} is in use by another process: stop that one, or choose another directory")]
    InUse(PathBuf),
    /// The directory holds something else.
    #[error("data directory {path} belongs to {found}, not to {wanted}: choose another directory")]
    OtherNetwork {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// It was written by a later version.
    #[error(
        "data directory {path} has format {found}; this version knows {known}: use the version that wrote it"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// As found.
        found: String,
        /// As known.
        known: u32,
    },
    /// Pruning was asked for with too little room.
    #[error("pruning to {mib} MiB leaves too few blocks for a reorganisation: give at least {least} MiB")]
    PruneTooSmall {
        /// As asked.
        mib: u64,
        /// The least.
        least: u64,
    },
    /// Files or database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
