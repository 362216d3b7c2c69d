//! Blocks made on request, for tests and benches: what a template, a miner and a wallet would do together, on networks
//! where a block takes no time. [`payments`] has transactions with real signatures. Behind the feature `testing`.

pub mod payments;

use std::sync::atomic::{AtomicBool, Ordering};

use lode_coins::{Coin, Deployments};
use lode_pow::{ChainLength, PowAlgorithm, PrimeSearcher};
use lode_primitives::{
    Amount, Block, BlockHash, Header, Height, MerkleNode, Multiplier, OutPoint, ScriptBuf, Target,
    Transaction, TxIn, TxOut, Txid, Witness, merkle,
};

use crate::{Chain, height_push, witness_commitment_script};

/// An output anyone can spend: `OP_1`.
pub fn anyone() -> ScriptBuf {
    vec![0x51]
}

/// A block on top of `parent`, which the chain knows, with its coinbase only; to be changed at will, then
/// [`seal`]ed. `tag` makes it differ from others at its height.
pub fn block_on(chain: &Chain, parent: &BlockHash, tag: u32) -> Block {
    let coin = chain.coin();
    let above = chain.entry(parent).expect("the parent is known");
    let median = chain.median_time_past(parent).expect("the parent is known");
    let time = (above.time() + 1).max(median + 1);
    let height = above.height() + 1;
    let bits = chain.next_bits(parent, time).expect("the parent is known");
    Block {
        header: Header {
            version: 0x2000_0000,
            prev: *parent,
            merkle_root: MerkleNode::ZERO,
            time,
            bits,
            nonce: 0,
            multiplier: coin.form.multiplier.then(Multiplier::default),
        },
        transactions: vec![coinbase(coin, height, bits, tag, Amount::ZERO)],
    }
}

/// A coinbase that pays subsidy and `fees` to anyone.
pub fn coinbase(coin: &Coin, height: Height, bits: u32, tag: u32, fees: Amount) -> Transaction {
    let mut script_sig = height_push(height);
    script_sig.push(4);
    script_sig.extend_from_slice(&tag.to_le_bytes());
    let value = coin.subsidy(height, bits).checked_add(fees).expect("a reward fits");
    let input = TxIn { script_sig, ..TxIn::spending(OutPoint::NULL) };
    let data = coin.form.data.then(Vec::new);
    Transaction { data, ..Transaction::new(vec![input], vec![TxOut { value, script_pubkey: anyone() }]) }
}

/// A transaction that spends outputs anyone can spend and pays `values` to anyone.
pub fn spend(prevouts: &[OutPoint], values: &[i64]) -> Transaction {
    let output = |sat: &i64| TxOut { value: Amount::from_sat(*sat), script_pubkey: anyone() };
    Transaction::new(
        prevouts.iter().copied().map(TxIn::spending).collect(),
        values.iter().map(output).collect(),
    )
}

/// Adds the witness commitment where any transaction has a witness, sets the Merkle root, and mines.
pub fn seal(coin: &Coin, block: &mut Block, height: Height) {
    commit(coin, block, height);
    root(block);
    mine(coin, block);
}

/// Adds the witness commitment where any transaction has a witness.
pub fn commit(coin: &Coin, block: &mut Block, height: Height) {
    let witnesses = block.transactions.iter().any(Transaction::has_witness);
    if witnesses && Deployments::holds(coin.deployments.segwit, height) {
        let script_pubkey = witness_commitment_script(&block.transactions, &txids(block));
        let coinbase = &mut block.transactions[0];
        coinbase.inputs[0].witness = Witness(vec![vec![0; 32]]);
        coinbase.outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
    }
}

/// Sets the Merkle root.
pub fn root(block: &mut Block) {
    let leaves = txids(block).iter().map(|txid| txid.0).collect();
    block.header.merkle_root = merkle::root(leaves).0;
}

/// Finds a nonce, and a multiplier where the work is a prime chain.
///
/// # Panics
/// Where the bits are no target or there is no nonce.
pub fn mine(coin: &Coin, block: &mut Block) {
    if coin.pow == PowAlgorithm::PrimeChain {
        return mine_prime_chain(&mut block.header);
    }
    let target = Target::from_compact(block.header.bits).expect("bits are a target");
    for nonce in 0..u32::MAX {
        block.header.nonce = nonce;
        let hash = coin.pow.hash(&block.header.pow_bytes()).expect("proof of work is a hash");
        if target.is_met_by(&hash) {
            return;
        }
    }
    panic!("no nonce meets the target");
}

fn mine_prime_chain(header: &mut Header) {
    let (bytes, length) = (header.pow_bytes(), ChainLength(header.bits));
    let stop = AtomicBool::new(false);
    let mut first = None;
    PrimeSearcher::new().search(&bytes, (length, length), 0..1 << 32, &stop, |found| {
        first.get_or_insert(found);
        stop.store(true, Ordering::Relaxed);
    });
    let found = first.expect("some nonce has a chain");
    header.nonce = found.nonce;
    header.multiplier = Some(found.multiplier);
}

/// The ids of a block's transactions.
pub fn txids(block: &Block) -> Vec<Txid> {
    block.transactions.iter().map(Transaction::txid).collect()
}

/// A block on top of `parent` with these transactions, sealed; the coinbase takes no fees.
pub fn block_with(chain: &Chain, parent: &BlockHash, tag: u32, transactions: Vec<Transaction>) -> Block {
    let mut block = block_on(chain, parent, tag);
    block.transactions.extend(transactions);
    let height = chain.entry(parent).expect("the parent is known").height() + 1;
    seal(chain.coin(), &mut block, height);
    block
}

/// Adds `count` empty blocks on top of the tip and gives their coinbases' outpoints.
///
/// # Panics
/// Where the chain refuses one.
pub fn grow(chain: &mut Chain, count: u32, tag: u32) -> Vec<OutPoint> {
    (0..count)
        .map(|_| {
            let parent = chain.tip().hash();
            let block = block_with(chain, &parent, tag, Vec::new());
            let outpoint = OutPoint { txid: block.transactions[0].txid(), vout: 0 };
            let now = block.header.time;
            let report = chain.accept_block(block, now).expect("an empty block is valid");
            assert_eq!(report.connected.len(), 1);
            outpoint
        })
        .collect()
}

/// Reads undo data as found on disk, and where it reads checks that it writes back to the same; for fuzzing.
pub fn read_undo(bytes: &[u8]) {
    let Some((id, _)) = bytes.split_first_chunk::<32>() else { return };
    if let Ok(undo) = crate::undo::Undo::decode(bytes, BlockHash(*id)) {
        let mut again = Vec::new();
        undo.encode(BlockHash(*id), &mut again);
        assert_eq!(again, bytes);
    }
}
