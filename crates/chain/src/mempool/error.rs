//! Why a transaction was not taken.

use lode_primitives::{Amount, OutPoint, Txid};
use lode_script::ScriptError;

use crate::policy::NotStandard;
use crate::{StoreError, TxError};

/// One variant per rule; [`MempoolError::reject_reason`] is the reference client's short name.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// A consensus rule is broken, or would be in the next block.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// A coinbase by itself.
    #[error("a coinbase is only valid in a block")]
    Coinbase,
    /// Not of the kinds a node passes on.
    #[error("not standard: {0}")]
    NotStandard(#[from] NotStandard),
    /// The lock time is not reached in the next block.
    #[error("lock time {0} is not reached in the next block")]
    NonFinal(u32),
    /// A relative lock (BIP68) is not open in the next block.
    #[error("a relative lock is not open in the next block")]
    SequenceLocked,
    /// It is here already.
    #[error("already in the mempool")]
    AlreadyInMempool,
    /// It is here already, with other witnesses.
    #[error("already in the mempool with other witnesses")]
    SameTxidInMempool,
    /// It is in the chain already.
    #[error("already in the chain")]
    AlreadyKnown,
    /// A spent output is not known: the parent may yet come.
    #[error("{0} does not exist or is spent already")]
    MissingInputs(OutPoint),
    /// Dust that is not carried by a fee of zero.
    #[error("a transaction with an output below the dust limit must pay no fee")]
    DustWithFee,
    /// A parent's dust is left unspent.
    #[error("does not spend every output below the dust limit of its parent {0}")]
    DustUnspent(Txid),
    /// Below what the full mempool asks for at present.
    #[error("pays {fee} satoshi where the mempool asks for {required} at present")]
    BelowMempoolMinimum {
        /// With what was added by priority, in satoshi.
        fee: i64,
        /// In satoshi.
        required: i64,
    },
    /// Below what is relayed at all.
    #[error("pays {fee} satoshi where relay costs {required}")]
    BelowRelayMinimum {
        /// With what was added by priority, in satoshi.
        fee: i64,
        /// In satoshi.
        required: i64,
    },
    /// A rule of version 3 transactions (BIP431); which.
    #[error("version 3 rule: {0}")]
    Truc(&'static str),
    /// A replacement that touches too many clusters.
    #[error("would replace transactions of {clusters} clusters; 100 are the most")]
    TooManyReplacements {
        /// How many.
        clusters: usize,
        /// One of the replaced is the other child of a version 3 parent.
        sibling: bool,
    },
    /// A replacement that does not pay for what it replaces and for its own relay.
    #[error("pays {fee} satoshi; what it replaces pays {replaced}, and its own relay costs {relay} more")]
    ReplacementFee {
        /// In satoshi.
        fee: i64,
        /// In satoshi.
        replaced: i64,
        /// In satoshi.
        relay: i64,
        /// One of the replaced is the other child of a version 3 parent.
        sibling: bool,
    },
    /// A replacement after which some block would earn less.
    #[error("replacing would not improve the mempool's fees at every size")]
    ReplacementDiagram,
    /// It spends what it would replace.
    #[error("spends {0}, which it conflicts with")]
    SpendsConflicting(Txid),
    /// Its cluster would be larger than 64 transactions or 101 kvB.
    #[error("would make a cluster of more than 64 transactions or 101 kvB")]
    ClusterTooLarge,
    /// It pays a higher rate than its sender allows.
    #[error("pays {fee} for {vsize} virtual bytes, a higher rate than allowed")]
    MaxRateExceeded {
        /// The fee.
        fee: Amount,
        /// Virtual bytes.
        vsize: usize,
    },
    /// An input's script does not hold, by consensus or by the rules of standard transactions.
    #[error("input {input}, which spends {outpoint}: {error}")]
    Script {
        /// Index of the input.
        input: usize,
        /// What it spends.
        outpoint: OutPoint,
        /// Why the script failed.
        error: ScriptError,
    },
    /// Transactions that are judged together, but not to be taken, may replace nothing.
    #[error("it would replace a transaction, which is not judged for several together")]
    ReplacementNotTested,
    /// There was no room, and everything else pays better.
    #[error("the mempool is full of transactions that pay better")]
    Full,
    /// Not a rule: the coin database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MempoolError {
    /// The reference client's short name.
    pub fn reject_reason(&self) -> String {
        match self {
            Self::Tx(error) => return error.reject_reason(),
            Self::Coinbase => "coinbase",
            Self::NotStandard(error) => error.reject_reason(),
            Self::NonFinal(_) => "non-final",
            Self::SequenceLocked => "non-BIP68-final",
            Self::AlreadyInMempool => "txn-already-in-mempool",
            Self::SameTxidInMempool => "txn-same-nonwitness-data-in-mempool",
            Self::AlreadyKnown => "txn-already-known",
            Self::MissingInputs(_) => "bad-txns-inputs-missingorspent",
            Self::DustWithFee => "dust",
            Self::DustUnspent(_) => "missing-ephemeral-spends",
            Self::BelowMempoolMinimum { .. } => "mempool min fee not met",
            Self::BelowRelayMinimum { .. } => "min relay fee not met",
            Self::Truc(_) => "TRUC-violation",
            Self::TooManyReplacements { sibling: false, .. } => "too many potential replacements",
            Self::TooManyReplacements { .. } => {
                "too many potential replacements (including sibling eviction)"
            }
            Self::ReplacementFee { sibling: false, .. } => "insufficient fee",
            Self::ReplacementFee { .. } => "insufficient fee (including sibling eviction)",
            Self::ReplacementDiagram => "replacement-failed",
            Self::SpendsConflicting(_) => "bad-txns-spends-conflicting-tx",
            Self::ClusterTooLarge => "too-large-cluster",
            Self::MaxRateExceeded { .. } => "max feerate exceeded",
            Self::Script { error, .. } => return format!("mempool-script-verify-flag-failed ({error})"),
            Self::ReplacementNotTested => "bip125-replacement-disallowed",
            Self::Full => "mempool full",
            Self::Store(_) => "error",
        }
        .to_owned()
    }

    /// True where the transaction can never be valid as it is: the peer that sent it did not check it. False for
    /// policy, for what time or a parent may mend, and for what other witnesses may mend.
    pub const fn is_invalid(&self) -> bool {
        match self {
            Self::Tx(error) => {
                !matches!(error, TxError::PrematureCoinbaseSpend { .. } | TxError::MissingOrSpent(_))
            }
            Self::Coinbase | Self::SpendsConflicting(_) => true,
            _ => false,
        }
    }

    /// True where a fee alone is missing: a child may pay for it.
    pub const fn is_fee(&self) -> bool {
        matches!(
            self,
            Self::BelowMempoolMinimum { .. }
                | Self::BelowRelayMinimum { .. }
                | Self::ReplacementFee { .. }
                | Self::ReplacementDiagram
                | Self::Full
        )
    }
}
