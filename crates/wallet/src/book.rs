//! What the wallet's transactions come to: coins, balance, history.

use std::collections::HashMap;

use lode_primitives::{Amount, Height, OutPoint, ScriptBuf, Txid};

use crate::keychain::KeyRef;
use crate::source::BlockRef;
use crate::{Wallet, WalletTx};

/// An output that is the wallet's and was not spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Which.
    pub outpoint: OutPoint,
    /// What it holds.
    pub value: Amount,
    /// Its locking script.
    pub script: ScriptBuf,
    /// The key it is locked to.
    pub key: KeyRef,
    /// Its block's height, if it is in a block.
    pub height: Option<Height>,
    /// Made by a coinbase.
    pub coinbase: bool,
    /// Whether it can be spent now.
    pub state: CoinState,
}

/// Whether a coin can be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoinState {
    /// It can: it is in a block, or the wallet's own change.
    Spendable,
    /// A coinbase that can be spent after so many more blocks.
    Immature {
        /// How many; at least 1.
        blocks: Height,
    },
    /// From others, in no block yet.
    Unconfirmed,
}

/// The sums of a wallet's coins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Can be spent now.
    pub spendable: Amount,
    /// From others, in no block yet.
    pub unconfirmed: Amount,
    /// Coinbases that are too young.
    pub immature: Amount,
    /// Blocks until the next of those can be spent.
    pub next_mature: Option<Height>,
}

impl Balance {
    /// All of it.
    pub fn total(&self) -> Amount {
        sum([self.spendable, self.unconfirmed, self.immature])
    }
}

/// One transaction as the wallet's owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub txid: Txid,
    /// Its block, if it is in one.
    pub block: Option<BlockRef>,
    /// Blocks that confirm it, its own among them; 0 while it waits.
    pub confirmations: Height,
    /// Its block's time, or when it was first seen; Unix seconds.
    pub time: u64,
    /// What it did to the balance.
    pub change: Amount,
    /// What it paid for being mined, where all inputs are the wallet's.
    pub fee: Option<Amount>,
    /// A coinbase.
    pub mined: bool,
    /// To whom it paid outside the wallet, where all inputs are the wallet's; else the own scripts it paid to.
    pub scripts: Vec<ScriptBuf>,
    /// It says that it may be replaced by one that pays more (BIP125), and is in no block.
    pub replaceable: bool,
}

impl Wallet {
    /// The coins: every output of the wallet's that no transaction it knows spends, oldest first.
    pub fn coins(&self) -> Vec<Coin> {
        let spent = self.spends();
        let tip = self.synced_to().map_or(0, |block| block.height);
        let mut coins = Vec::new();
        for (txid, kept) in self.counted() {
            let coinbase = kept.tx.is_coinbase();
            let own = kept.block.is_none() && self.inputs_value(kept).is_some();
            for (vout, output) in kept.tx.outputs.iter().enumerate() {
                let outpoint = OutPoint { txid: *txid, vout: vout as u32 };
                let Some(key) = self.key_of(output) else { continue };
                if spent.contains_key(&outpoint) {
                    continue;
                }
                let state = match kept.block {
                    None if own => CoinState::Spendable,
                    None => CoinState::Unconfirmed,
                    // The next block is tip + 1, and spends it from height + maturity on.
                    Some(block) if coinbase => {
                        match (block.height + self.coin.coinbase_maturity).saturating_sub(tip + 1) {
                            0 => CoinState::Spendable,
                            blocks => CoinState::Immature { blocks },
                        }
                    }
                    Some(_) => CoinState::Spendable,
                };
                coins.push(Coin {
                    outpoint,
                    value: output.value,
                    script: output.script_pubkey.clone(),
                    key,
                    height: kept.block.map(|block| block.height),
                    coinbase,
                    state,
                });
            }
        }
        coins.sort_by_key(|coin| (coin.height.unwrap_or(Height::MAX), coin.outpoint));
        coins
    }

    /// The sums of [`Wallet::coins`].
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for coin in self.coins() {
            match coin.state {
                CoinState::Spendable => balance.spendable = sum([balance.spendable, coin.value]),
                CoinState::Unconfirmed => {
                    balance.unconfirmed = sum([balance.unconfirmed, coin.value]);
                }
                CoinState::Immature { blocks } => {
                    balance.immature = sum([balance.immature, coin.value]);
                    let next = balance.next_mature.map_or(blocks, |next| next.min(blocks));
                    balance.next_mature = Some(next);
                }
            }
        }
        balance
    }

    /// The transactions, newest first.
    pub fn history(&self) -> Vec<Entry> {
        let tip = self.synced_to().map_or(0, |block| block.height);
        let mut entries: Vec<Entry> =
            self.counted().map(|(txid, kept)| self.entry(*txid, kept, tip)).collect();
        entries.sort_by_key(|entry| {
            (std::cmp::Reverse(entry.block.map_or(Height::MAX, |block| block.height)), entry.time)
        });
        entries
    }

    fn entry(&self, txid: Txid, kept: &WalletTx, tip: Height) -> Entry {
        let own = |output: &&lode_primitives::TxOut| self.key_of(output).is_some();
        let value = |output: &lode_primitives::TxOut| output.value;
        let received = sum(kept.tx.outputs.iter().filter(own).map(value));
        let inputs = kept.tx.inputs.iter().filter_map(|input| self.output(&input.prevout));
        let spent = sum(inputs.filter(own).map(value));
        let all = sum(kept.tx.outputs.iter().map(value));
        let fee = self.inputs_value(kept).and_then(|inputs| inputs.checked_sub(all));
        let paid_out = fee.is_some();
        let shown = kept.tx.outputs.iter().filter(|output| self.key_of(output).is_some() != paid_out);
        Entry {
            txid,
            block: kept.block,
            confirmations: kept.block.map_or(0, |block| (tip + 1).saturating_sub(block.height)),
            time: kept.time,
            change: received.checked_sub(spent).unwrap_or_default(),
            fee,
            mined: kept.tx.is_coinbase(),
            scripts: shown.map(|output| output.script_pubkey.clone()).collect(),
            replaceable: kept.block.is_none()
                && paid_out
                && kept.tx.inputs.iter().any(|i| i.sequence < 0xffff_fffe),
        }
    }

    /// The transactions that count: a coinbase counts only in a block.
    fn counted(&self) -> impl Iterator<Item = (&Txid, &WalletTx)> {
        self.txs.iter().filter(|(_, kept)| kept.block.is_some() || !kept.tx.is_coinbase())
    }

    /// What spends which outpoint.
    pub(crate) fn spends(&self) -> HashMap<OutPoint, Txid> {
        self.counted()
            .flat_map(|(txid, kept)| kept.tx.inputs.iter().map(|input| (input.prevout, *txid)))
            .collect()
    }

    /// What the inputs hold together, where all of them are the wallet's.
    pub(crate) fn inputs_value(&self, kept: &WalletTx) -> Option<Amount> {
        kept.tx.inputs.iter().try_fold(Amount::ZERO, |sum, input| {
            let output = self.output(&input.prevout).filter(|output| self.key_of(output).is_some())?;
            sum.checked_add(output.value)
        })
    }
}

/// The sum; more than any coin has where a source tells of such amounts.
pub(crate) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Amount {
    Amount::checked_sum(amounts).unwrap_or(Amount::from_sat(i64::MAX))
}
