//! What a wallet refuses, and why.

use std::path::PathBuf;

use lode_coins::AddressError;
use lode_primitives::Amount;

use crate::file::FileError;
use crate::keychain::DescriptorError;
use crate::keys::KeyError;
use crate::source::SourceError;

/// Why the wallet did not do what was asked. Whatever it is: nothing was signed or sent, unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The mnemonic or a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A descriptor.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The chain.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Not an address of this coin and network.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The seal was right, but what was sealed makes no sense to this version.
    #[error("{path} was opened, but cannot be read: {reason}")]
    State {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A wallet for something else.
    #[error("this wallet holds {found}, not {wanted}")]
    OtherCoin {
        /// What it holds.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The node's first block is another.
    #[error("the node follows another chain than {wanted}: its first block is {found}")]
    OtherChain {
        /// The wallet's coin.
        wanted: String,
        /// The id of the node's genesis block.
        found: String,
    },
    /// The chain changed under the reader's hands again and again.
    #[error("the chain kept changing while it was read; try again")]
    Restless,
    /// A gap out of bounds.
    #[error("a gap of {0} addresses; it must be 1 to {max}", max = crate::GAP_MAX)]
    Gap(u32),
    /// No keys for such addresses.
    #[error("the wallet has no keys for {kind} addresses of {coin}")]
    NoKind {
        /// What was asked for.
        kind: &'static str,
        /// The coin.
        coin: String,
    },
    /// A script without address.
    #[error("the script {0} has no address")]
    NoAddress(String),
    /// A label too long.
    #[error("a label of {0} bytes; {max} are the most", max = crate::LABEL_BYTES_MAX)]
    Label(usize),
    /// Only watching.
    #[error(
        "this wallet only watches, it has no keys: make a PSBT with `lode wallet psbt` and sign it where they are"
    )]
    WatchOnly,
    /// PSBTs cannot express this coin's transactions.
    #[error("{0} transactions do not fit in a PSBT")]
    NoPsbt(String),
    /// An output too small to be worth spending.
    #[error("{amount} is dust for this address: at least {least} is relayed")]
    Dust {
        /// What was to be paid.
        amount: Amount,
        /// The least.
        least: Amount,
    },
    /// More data than a transaction carries.
    #[error("{size} bytes of data; a transaction of this coin carries at most {max}")]
    Data {
        /// Bytes to be carried.
        size: usize,
        /// The most, 0 where transactions carry none.
        max: usize,
    },
    /// More than there is.
    #[error("{needed} needed (fee {fee} included), {spendable} spendable{}", waiting(.immature, .unconfirmed))]
    TooLittle {
        /// What was to be paid, and the fee.
        needed: Amount,
        /// The fee in it.
        fee: Amount,
        /// What can be spent now.
        spendable: Amount,
        /// Coinbases too young.
        immature: Amount,
        /// Payments from others in no block yet.
        unconfirmed: Amount,
    },
    /// A coin that cannot be spent.
    #[error("{coin} cannot be spent: {reason}")]
    NotSpendable {
        /// Its outpoint.
        coin: String,
        /// Why.
        reason: String,
    },
    /// Nothing to do.
    #[error("{0}")]
    Nothing(String),
    /// Too large to be relayed.
    #[error(
        "it would take {weight} weight units of inputs and outputs; {max} are relayed. Pay in parts, or consolidate first"
    )]
    TooLarge {
        /// What it would weigh.
        weight: usize,
        /// The most.
        max: usize,
    },
    /// Fee rate out of bounds.
    #[error("a fee rate of {given} sat/vB; {why}")]
    Rate {
        /// As given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// No rate is known.
    #[error("no one could say what fee is enough now; give it with --rate (sat/vB)")]
    NoRate,
    /// Not a transaction that can be replaced.
    #[error("{txid} cannot be replaced: {reason}")]
    NoBump {
        /// Which.
        txid: String,
        /// Why.
        reason: String,
    },
    /// A PSBT that makes no sense.
    #[error("not a PSBT that can be used: {0}")]
    Psbt(String),
    /// A signature could not be made, or did not verify.
    #[error("input {input} was not signed: {reason}. Nothing was sent")]
    Sign {
        /// Which.
        input: usize,
        /// Why.
        reason: String,
    },
}

fn waiting(immature: &Amount, unconfirmed: &Amount) -> String {
    let mut text = String::new();
    if *immature > Amount::ZERO {
        text += &format!("; {immature} are coinbases not mature yet");
    }
    if *unconfirmed > Amount::ZERO {
        text += &format!("; {unconfirmed} wait for a block");
    }
    text
}
