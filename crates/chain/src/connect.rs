//! Connecting a block to the unspent outputs, and taking it back.
//!
//! # Correctness
//! [`connect`] changes the outputs in place. Where a rule is broken it restores what it spent and removes what it
//! added, so that the outputs are either those after the block or those before it. Nobody else sees them in between:
//! the chain has one writer.

use lode_coins::{Coin, Deployments};
use lode_primitives::{Amount, Block, Height, OutPoint, Transaction};
use lode_script::{Flags, SignatureCache, TxSighashes, is_unspendable, tx_sigop_cost, verify_input};
use rayon::prelude::*;

use crate::cache::Coins;
use crate::db::Database;
use crate::limits::BIP30_AGAIN;
use crate::rules::block::Hashed;
use crate::rules::tx::{self, SequenceLocks};
use crate::tree::{Id, Tree};
use crate::undo::Undo;
use crate::utxo::Utxo;
use crate::{BlockError, StoreError, TxError};

/// Where a block is connected.
pub(crate) struct Place<'a> {
    pub(crate) coin: &'a Coin,
    pub(crate) tree: &'a Tree,
    pub(crate) db: &'a Database,
    pub(crate) parent: Id,
    /// The script rules in force.
    pub(crate) flags: Flags,
    /// Whether scripts are run (they are not below an assumed-valid block).
    pub(crate) scripts: bool,
    /// Signatures found good before.
    pub(crate) signatures: &'a dyn SignatureCache,
}

impl Place<'_> {
    fn height(&self) -> Height {
        self.tree.get(self.parent).height() + 1
    }
}

/// Spends what the block spends and adds what it makes, if every rule about that holds; gives its undo data.
pub(crate) fn connect(place: &Place<'_>, coins: &mut Coins, hashed: &Hashed) -> Result<Undo, BlockError> {
    let block = &*hashed.block;
    let may_exist = check_bip30(place, coins, hashed)?;
    let inputs = block.transactions.iter().skip(1).flat_map(|tx| &tx.inputs);
    coins.prefetch(place.db, inputs.map(|input| &input.prevout))?;

    let mut undo = Undo(Vec::with_capacity(block.transactions.len().saturating_sub(1)));
    let mut made = 0;
    let verdict = apply(place, coins, hashed, may_exist, &mut undo, &mut made)
        .and_then(|()| if place.scripts { check_scripts(place, hashed, &undo) } else { Ok(()) });
    match verdict {
        Ok(()) => Ok(undo),
        Err(error) => {
            roll_back(place.db, coins, hashed, undo, made)?;
            Err(error)
        }
    }
}

/// Takes a connected block back.
pub(crate) fn disconnect(
    db: &Database,
    coins: &mut Coins,
    hashed: &Hashed,
    undo: Undo,
) -> Result<(), StoreError> {
    roll_back(db, coins, hashed, undo, hashed.txids.len())
}

/// Refuses to overwrite an unspent transaction (BIP30). `Ok(true)` where the block is one of the two that did.
///
/// Once coinbases begin with their height (BIP34) no transaction can come twice, so the search, which costs a database
/// look-up per output, is left out there until [`BIP30_AGAIN`]. On a chain that did not pass through the block known
/// at BIP34's height it is not.
fn check_bip30(place: &Place<'_>, coins: &Coins, hashed: &Hashed) -> Result<bool, BlockError> {
    let height = place.height();
    let coin = place.coin;
    if coin.bip30_exceptions.iter().any(|(at, hash)| *at == height && *hash == hashed.hash.to_string()) {
        return Ok(true);
    }
    let unique_since = coin.deployments.bip34.filter(|&since| {
        let at = place.tree.ancestor(place.parent, since).map(|at| place.tree.get(at).hash());
        at.is_some() && at == coin.deployments.bip34_hash.parse().ok()
    });
    if Deployments::holds(unique_since, height) && height < BIP30_AGAIN {
        return Ok(false);
    }
    for (tx, txid) in hashed.block.transactions.iter().zip(&*hashed.txids) {
        for vout in 0..tx.outputs.len() as u32 {
            if coins.has(place.db, &OutPoint { txid: *txid, vout })? {
                return Err(BlockError::Bip30(*txid));
            }
        }
    }
    Ok(false)
}

/// The sequential part: every input exists and is spent once, amounts, maturity, relative locks, sigops, reward.
/// `undo` gets what was spent, `made` the number of transactions whose outputs were added.
fn apply(
    place: &Place<'_>,
    coins: &mut Coins,
    hashed: &Hashed,
    may_exist: bool,
    undo: &mut Undo,
    made: &mut usize,
) -> Result<(), BlockError> {
    let (coin, height) = (place.coin, place.height());
    let median_time = place.tree.median_time_past(place.parent);
    let relative_locks = Deployments::holds(coin.deployments.csv, height);
    let mut fees = Amount::ZERO;
    let mut sigops = 0;
    for (index, (tx, txid)) in hashed.block.transactions.iter().zip(&*hashed.txids).enumerate() {
        let refuse = |error| BlockError::Tx { txid: *txid, error };
        let spent: &[Utxo] = if index == 0 {
            &[]
        } else {
            undo.0.push(Vec::with_capacity(tx.inputs.len()));
            let last = undo.0.len() - 1;
            let spent = &mut undo.0[last];
            for input in &tx.inputs {
                let utxo = coins.spend(place.db, &input.prevout)?;
                spent.push(utxo.ok_or_else(|| refuse(TxError::MissingOrSpent(input.prevout)))?);
            }
            let fee = tx::check_inputs(coin, tx, spent, height).map_err(refuse)?;
            fees = fees
                .checked_add(fee)
                .filter(|fees| fees.is_money(coin.max_money))
                .ok_or(BlockError::FeesOutOfRange)?;
            if relative_locks {
                let locks = SequenceLocks::of(tx, spent.iter().map(|utxo| utxo.height), |height| {
                    median_time_before(place.tree, place.parent, height)
                });
                if !locks.are_open(height, median_time) {
                    return Err(refuse(TxError::SequenceLocked));
                }
            }
            spent
        };
        sigops += tx_sigop_cost(tx, spent.iter().map(|utxo| &utxo.output), place.flags);
        if sigops > coin.max_block_sigops_cost {
            return Err(BlockError::Sigops(coin.max_block_sigops_cost));
        }
        for (vout, output) in (0u32..).zip(&tx.outputs) {
            if !is_unspendable(&output.script_pubkey) {
                let utxo = Utxo { output: output.clone(), height, coinbase: index == 0 };
                coins.add(OutPoint { txid: *txid, vout }, utxo, may_exist);
            }
        }
        *made += 1;
    }
    let coinbase = &hashed.block.transactions[0];
    let paid =
        Amount::checked_sum(coinbase.outputs.iter().map(|output| output.value)).unwrap_or(coin.max_money);
    let reward = coin.reward(height, hashed.block.header.bits, fees, coinbase.total_size());
    let allowed = reward.unwrap_or(coin.max_money);
    if paid > allowed {
        return Err(BlockError::CoinbaseAmount { paid, allowed });
    }
    Ok(())
}

/// The median time past of the block below `height`, in the chain of `tip`.
pub(crate) fn median_time_before(tree: &Tree, tip: Id, height: Height) -> u32 {
    tree.ancestor(tip, height.saturating_sub(1)).map_or(0, |at| tree.median_time_past(at))
}

/// From this many inputs on a single transaction's are shared among threads.
const PARALLEL_INPUTS: usize = 16;

/// The parallel part: every input's script.
fn check_scripts(place: &Place<'_>, hashed: &Hashed, undo: &Undo) -> Result<(), BlockError> {
    let transactions = hashed.block.transactions.get(1..).unwrap_or_default();
    let known = ReadOnly(place.signatures);
    let failed = transactions.par_iter().zip(&undo.0).enumerate().find_map_first(|(index, (tx, spent))| {
        let error = check_tx_scripts(tx, spent, place.flags, &known).err()?;
        Some(BlockError::Tx { txid: hashed.txids[index + 1], error })
    });
    failed.map_or(Ok(()), Err)
}

/// Runs the scripts of all inputs of `tx`, which spend `spent`.
pub(crate) fn check_tx_scripts(
    tx: &Transaction,
    spent: &[Utxo],
    flags: Flags,
    signatures: &dyn SignatureCache,
) -> Result<(), TxError> {
    let sighashes = TxSighashes::new(tx, spent.iter().map(|utxo| &utxo.output));
    let check = |input: usize| match verify_input(&sighashes, input, flags, Some(signatures)) {
        Ok(()) => None,
        Err(error) => Some(TxError::Script { input, outpoint: tx.inputs[input].prevout, error }),
    };
    let inputs = 0..tx.inputs.len();
    let failed = if inputs.len() < PARALLEL_INPUTS {
        inputs.into_iter().find_map(check)
    } else {
        inputs.into_par_iter().with_min_len(4).find_map_first(check)
    };
    failed.map_or(Ok(()), Err)
}

/// Signatures in blocks are looked up but not kept: they will not come again.
struct ReadOnly<'a>(&'a dyn SignatureCache);

impl SignatureCache for ReadOnly<'_> {
    fn contains(&self, key: &[u8; 32]) -> bool {
        self.0.contains(key)
    }

    fn insert(&self, _: [u8; 32]) {}
}

/// Removes what the first `made` transactions made and restores what all in `undo` spent, last first. `undo` may be one
/// transaction longer and end in the middle of its inputs: the one that broke a rule. Its outputs must not be touched:
/// an earlier block may hold the very same transaction.
fn roll_back(
    db: &Database,
    coins: &mut Coins,
    hashed: &Hashed,
    mut undo: Undo,
    made: usize,
) -> Result<(), StoreError> {
    let transactions = hashed.block.transactions.iter().zip(&*hashed.txids).enumerate();
    let reached = made.max(undo.0.len() + 1).min(hashed.txids.len());
    for (index, (tx, txid)) in transactions.take(reached).rev() {
        if index < made {
            for (vout, output) in (0u32..).zip(&tx.outputs) {
                if !is_unspendable(&output.script_pubkey) {
                    coins.spend(db, &OutPoint { txid: *txid, vout })?;
                }
            }
        }
        if index > 0 && index == undo.0.len() {
            for (input, utxo) in tx.inputs.iter().zip(undo.0.pop().unwrap_or_default()).rev() {
                coins.add(input.prevout, utxo, false);
            }
        }
    }
    Ok(())
}

/// What an undo record should look like for `block`: for telling damage from a fault of our own.
pub(crate) fn fits(undo: &Undo, block: &Block) -> bool {
    undo.0.len() + 1 == block.transactions.len()
        && undo.0.iter().zip(&block.transactions[1..]).all(|(spent, tx)| spent.len() == tx.inputs.len())
}
