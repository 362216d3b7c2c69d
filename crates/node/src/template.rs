//! Blocks made of templates: the coinbase, the Merkle root, the proof of work.
//!
//! For `generatetoaddress` and its kin. The pool makes its own coinbases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lode_chain::template::BlockTemplate;
use lode_chain::{height_push, witness_commitment_script};
use lode_coins::Coin;
use lode_pow::{ChainLength, PowAlgorithm, PrimeSearcher, Searcher};
use lode_primitives::{
    Amount, Block, Header, Multiplier, OutPoint, Target, Transaction, TxIn, TxOut, Txid, merkle,
};

/// The block of `template` with these transactions behind its coinbase, which pays `value` to `script` and pushes `extra`
/// behind the height. The proof of work is still to be done.
pub(crate) fn block(
    coin: &Coin,
    template: &BlockTemplate,
    transactions: &[Arc<Transaction>],
    (value, script): (Amount, &[u8]),
    extra: Option<[u8; 8]>,
) -> Block {
    let mut script_sig = height_push(template.height);
    if let Some(extra) = extra {
        script_sig.push(extra.len() as u8);
        script_sig.extend_from_slice(&extra);
    }
    if script_sig.len() < 2 {
        // A coinbase's script has two bytes at least.
        script_sig.push(0);
    }
    let input = TxIn { script_sig, ..TxIn::spending(OutPoint::NULL) };
    let mut coinbase = Transaction::new(vec![input], vec![TxOut { value, script_pubkey: script.to_vec() }]);
    coinbase.data = coin.form.data.then(Vec::new);
    let mut all = vec![coinbase];
    all.extend(transactions.iter().map(|tx| (**tx).clone()));
    if template.witness_commitment.is_some() {
        let txids: Vec<Txid> = all.iter().map(Transaction::txid).collect();
        let script_pubkey = witness_commitment_script(&all, &txids);
        let coinbase = &mut all[0];
        coinbase.outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
        coinbase.inputs[0].witness.0.push(vec![0; 32]);
    }
    let header = Header {
        version: template.version,
        prev: template.prev,
        merkle_root: merkle::root(all.iter().map(|tx| tx.txid().0).collect()).0,
        time: template.time,
        bits: template.bits,
        nonce: 0,
        multiplier: coin.form.multiplier.then(Multiplier::default),
    };
    Block { header, transactions: all }
}

/// Finds a nonce among the first `tries`, and a multiplier where the work is a prime chain; false where none of them will do.
pub(crate) fn solve(coin: &Coin, header: &mut Header, tries: u64, stop: &AtomicBool) -> bool {
    if coin.pow == PowAlgorithm::PrimeChain {
        return solve_prime_chain(header, tries, stop);
    }
    let Ok(target) = Target::from_compact(header.bits) else { return false };
    // On a network where every other nonce will do, the search's own start costs more than the work.
    const FIRST: u32 = 16;
    for nonce in 0..FIRST.min(u32::try_from(tries).unwrap_or(u32::MAX)) {
        header.nonce = nonce;
        match coin.pow.hash(&header.pow_bytes()) {
            Some(hash) if target.is_met_by(&hash) => return true,
            Some(_) => {}
            None => return false,
        }
    }
    let Some(mut searcher) = Searcher::new(coin.pow) else { return false };
    // In steps, so that the first find ends the search.
    const STEP: u64 = 1 << 16;
    let end = tries.min(1 << 32);
    let mut next = u64::from(FIRST);
    let mut nonce = None;
    while nonce.is_none() && next < end && !stop.load(Ordering::Relaxed) {
        searcher.search(&header.pow_bytes(), target, next..end.min(next + STEP), stop, |found| {
            nonce.get_or_insert(found.nonce);
        });
        next += STEP;
    }
    header.nonce = nonce.unwrap_or(header.nonce);
    nonce.is_some()
}

/// [`solve`] for prime chains.
fn solve_prime_chain(header: &mut Header, tries: u64, stop: &AtomicBool) -> bool {
    // One nonce in 420 is sieved: in steps of about that many, so that a stop is heeded soon.
    const STEP: u64 = 512;
    let (bytes, length) = (header.pow_bytes(), ChainLength(header.bits));
    let mut searcher = PrimeSearcher::new();
    let (end, mut next) = (tries.min(1 << 32), 0);
    while next < end && !stop.load(Ordering::Relaxed) {
        let done = AtomicBool::new(false);
        let mut first = None;
        searcher.search(&bytes, (length, length), next..end.min(next + STEP), &done, |found| {
            first.get_or_insert(found);
            done.store(true, Ordering::Relaxed);
        });
        if let Some(found) = first {
            header.nonce = found.nonce;
            header.multiplier = Some(found.multiplier);
            return true;
        }
        next += STEP;
    }
    false
}
