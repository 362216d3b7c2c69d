//! Reading the chain: what was paid to the wallet and what it spent.
//!
//! The wallet remembers blocks it has read up to (checkpoints). A sync finds the last of them that is still in the
//! best chain, takes back what was in later blocks, and reads on from there. When a payment moves the gap's end, the
//! scripts that come into view are looked for from the birthday on before reading goes on, so that the order in which
//! addresses were paid does not matter.

use lode_primitives::{Height, ScriptBuf, Transaction, Txid};

use crate::source::{BlockRef, ChainBlock, Source, SourceError};
use crate::wallet::unix_now;
use crate::{Wallet, WalletError, WalletTx};

/// Blocks asked about at a time: progress is shown and kept between.
const WINDOW: Height = 1_000;
/// How often a sync begins again when blocks leave the chain under its hands.
const TRIES_MAX: u32 = 5;
/// Checkpoints kept: the newest, and these many. A reorganisation past all of them reads from the birthday.
const CHECKPOINTS_MAX: usize = 32;
/// Between the newest checkpoint and the one kept beside it, blocks: most reorganisations are shorter.
const REORG_BLOCKS: Height = 6;

/// How far a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last block read.
    pub height: Height,
    /// The tip.
    pub tip: Height,
}

/// What a sync found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Transactions not known before, or in no block before.
    pub news: Vec<Txid>,
}

impl Wallet {
    /// Reads what is new in the chain and among waiting transactions, and hands in again what of the wallet's own is
    /// in no block yet. To be saved afterwards.
    ///
    /// # Errors
    /// [`WalletError::OtherChain`], or what the source says. What was read until then is kept, and reading goes on
    /// from there the next time.
    pub fn sync(
        &mut self,
        source: &mut dyn Source,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Synced, WalletError> {
        let genesis = source.block_hash(0)?;
        if genesis != Some(self.coin.genesis_block().hash()) {
            let found = genesis.map_or_else(|| "none".to_owned(), |hash| hash.to_string());
            return Err(WalletError::OtherChain { wanted: self.coin.to_string(), found });
        }
        let mut synced = Synced::default();
        for _ in 0..TRIES_MAX {
            match self.read_chain(source, progress, &mut synced) {
                Err(WalletError::Source(SourceError::Gone(_))) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.read_waiting(source, &mut synced)?;
                    return Ok(synced);
                }
            }
        }
        Err(WalletError::Restless)
    }

    fn read_chain(
        &mut self,
        source: &mut dyn Source,
        progress: &mut dyn FnMut(Progress),
        synced: &mut Synced,
    ) -> Result<(), WalletError> {
        let tip = source.tip()?;
        while let Some(last) = self.checkpoints.last().copied() {
            if last.height <= tip.height && source.block_hash(last.height)? == Some(last.hash) {
                break;
            }
            self.checkpoints.pop();
        }
        let kept = self.checkpoints.last().map(|block| block.height);
        // What was in blocks that are gone waits again; or is gone too, if it was a coinbase.
        for tx in self.txs.values_mut() {
            if tx.block.is_some_and(|block| kept.is_none_or(|kept| block.height > kept)) {
                tx.block = None;
            }
        }
        let mut from = kept.map_or(self.birthday.min(tip.height), |height| height + 1);
        while from <= tip.height {
            let to = tip.height.min(from.saturating_add(WINDOW - 1));
            let end = source.block_hash(to)?.ok_or(SourceError::Gone(BlockRef { height: to, ..tip }))?;
            let mut scripts: Vec<ScriptBuf> = self.by_script.keys().cloned().collect();
            let mut begin = from;
            while !scripts.is_empty() {
                self.read_range(source, &scripts, begin, to, synced)?;
                scripts = self.look_ahead()?;
                begin = self.birthday.min(from);
            }
            if to == tip.height
                && to > REORG_BLOCKS
                && let Some(hash) = source.block_hash(to - REORG_BLOCKS)?
            {
                self.checkpoint(BlockRef { height: to - REORG_BLOCKS, hash });
            }
            self.checkpoint(BlockRef { height: to, hash: end });
            progress(Progress { height: to, tip: tip.height });
            from = to + 1;
        }
        // Blocks that were replaced while they were read would leave holes: the checkpoint says so next time.
        match source.block_hash(tip.height)? {
            Some(hash) if hash == tip.hash => Ok(()),
            _ => Err(SourceError::Gone(tip).into()),
        }
    }

    fn read_range(
        &mut self,
        source: &mut dyn Source,
        scripts: &[ScriptBuf],
        from: Height,
        to: Height,
        synced: &mut Synced,
    ) -> Result<(), WalletError> {
        for at in source.matching(scripts, from, to)? {
            let block = source.block(at)?;
            self.read_block(&block, synced);
        }
        Ok(())
    }

    /// Takes what concerns the wallet from a block.
    fn read_block(&mut self, block: &ChainBlock, synced: &mut Synced) {
        for tx in &block.transactions {
            if self.concerns(tx) {
                self.enter(tx, Some(block.at), block.time.into(), synced);
            }
        }
    }

    fn read_waiting(&mut self, source: &mut dyn Source, synced: &mut Synced) -> Result<(), WalletError> {
        let mut known: Vec<Txid> = self.txs.keys().copied().collect();
        known.sort_unstable();
        let mut waiting = source.waiting(&|txid| known.binary_search(txid).is_ok())?;
        // A transaction may spend another that waits too, and come before it.
        for _ in 0..2 {
            waiting.retain(|tx| {
                let concerned = self.concerns(tx);
                if concerned {
                    self.enter(tx, None, unix_now(), synced);
                }
                !concerned
            });
        }
        let own: Vec<Transaction> = self
            .txs
            .values()
            .filter(|tx| tx.block.is_none() && !tx.tx.is_coinbase())
            .map(|tx| tx.tx.clone())
            .collect();
        for tx in own {
            // The node mostly has it already; a refusal says only that it is not to be mined now.
            match source.broadcast(&tx) {
                Ok(()) => {}
                Err(SourceError::Refused(reason)) => {
                    tracing::debug!(txid = %tx.txid(), reason, "not taken again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// True where `tx` pays to or spends from the wallet.
    pub(crate) fn concerns(&self, tx: &Transaction) -> bool {
        let sane = tx.outputs.iter().all(|output| output.value.is_money(self.coin.max_money));
        let paid = || tx.outputs.iter().any(|output| self.key_of(output).is_some());
        let spent = || {
            let own = |input: &lode_primitives::TxIn| {
                self.output(&input.prevout).and_then(|output| self.key_of(output))
            };
            tx.inputs.iter().any(|input| own(input).is_some())
        };
        sane && (paid() || spent())
    }

    /// Enters a transaction that concerns the wallet. Those waiting ones that spend the same coins leave, and what
    /// spends from them.
    pub(crate) fn enter(
        &mut self,
        tx: &Transaction,
        block: Option<BlockRef>,
        time: u64,
        synced: &mut Synced,
    ) {
        let txid = tx.txid();
        for output in &tx.outputs {
            if let Some(key) = self.key_of(output) {
                let keychain = &mut self.keychains[key.keychain];
                keychain.used = keychain.used.max(key.index + 1);
            }
        }
        if let Some(known) = self.txs.get_mut(&txid) {
            if block.is_some() && known.block != block {
                if known.block.is_none() {
                    synced.news.push(txid);
                }
                (known.block, known.time) = (block, time);
            }
            if block.is_none() {
                return;
            }
        } else {
            synced.news.push(txid);
            self.txs.insert(txid, WalletTx { tx: tx.clone(), block, time });
        }
        let rivals: Vec<Txid> = self
            .txs
            .iter()
            .filter(|(other, kept)| {
                **other != txid
                    && kept.block.is_none()
                    && kept
                        .tx
                        .inputs
                        .iter()
                        .any(|input| tx.inputs.iter().any(|own| own.prevout == input.prevout))
            })
            .map(|(other, _)| *other)
            .collect();
        for rival in rivals {
            self.forget(&rival);
        }
    }

    /// Removes a waiting transaction and all that spends from it.
    pub(crate) fn forget(&mut self, txid: &Txid) {
        let mut gone = vec![*txid];
        while let Some(txid) = gone.pop() {
            self.txs.remove(&txid);
            let children = self.txs.iter().filter(|(_, kept)| {
                kept.block.is_none() && kept.tx.inputs.iter().any(|input| input.prevout.txid == txid)
            });
            gone.extend(children.map(|(child, _)| *child));
        }
    }

    fn checkpoint(&mut self, block: BlockRef) {
        self.checkpoints.retain(|kept| kept.height < block.height);
        self.checkpoints.push(block);
        if self.checkpoints.len() > CHECKPOINTS_MAX {
            // Every other of the old ones goes: what is left reaches ever further back.
            let keep_from = self.checkpoints.len() - CHECKPOINTS_MAX / 2;
            let mut place = 0;
            self.checkpoints.retain(|_| {
                place += 1;
                place > keep_from || place % 2 == 0
            });
        }
    }
}
