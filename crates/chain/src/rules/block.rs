//! Rules about one block: by itself, and against its ancestors' headers.

use std::sync::Arc;

use lode_coins::{Coin, Deployments};
use lode_primitives::{Block, BlockHash, Height, MerkleNode, Transaction, Txid, merkle, sha256d};
use lode_script::{WITNESS_SCALE, build, tx_legacy_sigops};
use rayon::prelude::*;

use super::{header, signet, tx};
use crate::tree::{Id, Tree};
use crate::{BlockError, TxError};

/// First bytes of the output that commits to the witnesses (BIP141): `OP_RETURN`, a push of 36, a marker.
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Transactions from which on their ids are computed by several threads.
const PARALLEL_TRANSACTIONS: usize = 32;

/// A block with what is computed of it once and used all the way.
#[derive(Clone, Debug)]
pub(crate) struct Hashed {
    pub(crate) block: Arc<Block>,
    pub(crate) hash: BlockHash,
    pub(crate) txids: Arc<[Txid]>,
}

impl Hashed {
    pub(crate) fn new(block: Arc<Block>) -> Self {
        let hash = block.hash();
        let txids = if block.transactions.len() < PARALLEL_TRANSACTIONS {
            block.transactions.iter().map(Transaction::txid).collect()
        } else {
            block.transactions.par_iter().with_min_len(16).map(Transaction::txid).collect::<Vec<_>>().into()
        };
        Self { block, hash, txids }
    }
}

/// What of a block is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    Whole,
    /// A proposal: no proof of work, and so no signet solution.
    Proposal,
}

/// What a block must be by itself (reference client: `CheckBlock`).
pub(crate) fn check(coin: &Coin, hashed: &Hashed, scope: Scope) -> Result<(), BlockError> {
    let block = &*hashed.block;
    if scope == Scope::Whole {
        header::check_pow(coin, &block.header, &hashed.hash)?;
        if let Some(challenge) = coin.signet_challenge
            && block.header.prev != BlockHash::ZERO
            && !signet::is_solved(hashed, challenge)
        {
            return Err(BlockError::SignetSolution);
        }
    }
    let (root, mutated) = merkle::root(hashed.txids.iter().map(|txid| txid.0).collect());
    if root != block.header.merkle_root {
        return Err(BlockError::MerkleRoot);
    }
    if mutated {
        return Err(BlockError::MerkleMutated);
    }
    let transactions = &block.transactions;
    if transactions.is_empty()
        || transactions.len() * WITNESS_SCALE > coin.max_block_weight
        || block.base_size() * WITNESS_SCALE > coin.max_block_weight
    {
        return Err(BlockError::Length);
    }
    if !transactions[0].is_coinbase() {
        return Err(BlockError::CoinbaseMissing);
    }
    if let Some(index) = transactions.iter().skip(1).position(Transaction::is_coinbase) {
        return Err(BlockError::CoinbaseMultiple(index + 1));
    }
    for (transaction, txid) in transactions.iter().zip(&*hashed.txids) {
        tx::check(coin, transaction).map_err(|error| BlockError::Tx { txid: *txid, error })?;
    }
    let sigops: usize = transactions.iter().map(tx_legacy_sigops).sum();
    if sigops * WITNESS_SCALE > coin.max_block_sigops_cost {
        return Err(BlockError::Sigops(coin.max_block_sigops_cost));
    }
    Ok(())
}

/// What the ancestors' headers ask of the body (reference client: `ContextualCheckBlock`). The block has passed
/// [`check`].
pub(crate) fn check_in_context(
    tree: &Tree,
    coin: &Coin,
    hashed: &Hashed,
    parent: Id,
) -> Result<(), BlockError> {
    let block = &*hashed.block;
    let height = tree.get(parent).height() + 1;
    let holds = |since| Deployments::holds(since, height);
    let clock = if holds(coin.deployments.csv) { tree.median_time_past(parent) } else { block.header.time };
    for (transaction, txid) in block.transactions.iter().zip(&*hashed.txids) {
        if !tx::is_final(transaction, height, clock) {
            let error = TxError::NonFinal(transaction.lock_time);
            return Err(BlockError::Tx { txid: *txid, error });
        }
    }
    if holds(coin.deployments.bip34)
        && !block.transactions[0].inputs[0].script_sig.starts_with(&height_push(height))
    {
        return Err(BlockError::CoinbaseHeight(height));
    }
    check_witnesses(hashed, holds(coin.deployments.segwit))?;
    let weight = block.weight();
    if weight > coin.max_block_weight {
        return Err(BlockError::Weight { weight, max: coin.max_block_weight });
    }
    Ok(())
}

/// The push of `height` that a coinbase's script begins with (BIP34).
pub fn height_push(height: Height) -> Vec<u8> {
    let mut push = Vec::new();
    build::push_number(i64::from(height), &mut push);
    push
}

/// The last output of the coinbase that commits to witnesses, if any.
pub(crate) fn witness_commitment(coinbase: &Transaction) -> Option<usize> {
    coinbase.outputs.iter().rposition(|output| {
        output.script_pubkey.len() >= COMMITMENT.len() + 32 && output.script_pubkey.starts_with(&COMMITMENT)
    })
}

/// The witness commitment holds where there is one, and there are no witnesses where there is none (BIP141).
fn check_witnesses(hashed: &Hashed, segwit: bool) -> Result<(), BlockError> {
    let transactions = &hashed.block.transactions;
    if segwit && let Some(index) = witness_commitment(&transactions[0]) {
        let reserved = match transactions[0].inputs[0].witness.0.as_slice() {
            [one] if one.len() == 32 => one,
            _ => return Err(BlockError::WitnessNonceSize),
        };
        let root = witness_root(transactions, &hashed.txids);
        let commitment = sha256d(&[root.as_bytes().as_slice(), reserved].concat());
        let found = &transactions[0].outputs[index].script_pubkey[COMMITMENT.len()..][..32];
        return if found == commitment { Ok(()) } else { Err(BlockError::WitnessMerkle) };
    }
    if transactions.iter().any(Transaction::has_witness) {
        return Err(BlockError::UnexpectedWitness);
    }
    Ok(())
}

/// The root over the witness ids, the coinbase's taken as zero.
fn witness_root(transactions: &[Transaction], txids: &[Txid]) -> MerkleNode {
    let leaf = |(index, transaction): (usize, &Transaction)| match index {
        0 => [0; 32],
        _ if transaction.has_witness() => transaction.wtxid().0,
        _ => txids[index].0,
    };
    let leaves: Vec<[u8; 32]> = if transactions.len() < PARALLEL_TRANSACTIONS {
        transactions.iter().enumerate().map(leaf).collect()
    } else {
        transactions.par_iter().enumerate().with_min_len(16).map(leaf).collect()
    };
    merkle::root(leaves).0
}

/// The output script that commits to the witnesses of `transactions`, with a reserved value of 32 zero bytes, as a
/// template's coinbase carries it (BIP141). What the first transaction, the coinbase, is does not matter.
///
/// # Panics
/// Where there are fewer `txids` than `transactions`.
pub fn witness_commitment_script(transactions: &[Transaction], txids: &[Txid]) -> Vec<u8> {
    let root = witness_root(transactions, txids);
    let commitment = sha256d(&[root.as_bytes().as_slice(), &[0; 32]].concat());
    [COMMITMENT.as_slice(), &commitment].concat()
}
