//! What a transaction costs on its way into the mempool beside its signatures, alone and at the end of a full cluster,
//! and what a template of a full mempool costs.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lode_chain::mempool::{MAX_CLUSTER_COUNT, Mempool, MempoolOptions};
use lode_chain::template::{self, TemplateOptions};
use lode_chain::{ChainView, StoreError, Utxo};
use lode_coins::Coin;
use lode_primitives::{Amount, BlockHash, Height, OutPoint, Transaction, TxIn, TxOut, Txid, Witness};
use lode_script::build;

const NOW: u32 = 1_800_000_000;
const COINS: u32 = 10_000;

struct View(HashMap<OutPoint, Utxo>);

impl ChainView for View {
    fn coin(&self) -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").expect("known")
    }
    fn tip_hash(&self) -> BlockHash {
        BlockHash::ZERO
    }
    fn tip_height(&self) -> Height {
        200
    }
    fn tip_time(&self) -> u32 {
        1_700_000_000
    }
    fn median_time_past(&self, _: Height) -> u32 {
        1_700_000_000
    }
    fn least_time(&self) -> u32 {
        1_700_000_001
    }
    fn next_bits(&self, _: u32) -> u32 {
        0x207f_ffff
    }
    fn unspent(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        Ok(self.0.get(outpoint).cloned())
    }
}

fn coin(vout: u32) -> OutPoint {
    OutPoint { txid: Txid([7; 32]), vout }
}

/// Spends an output that a witness script of `OP_1` guards: no signature to check.
fn spend(prevout: OutPoint, sat: i64) -> Transaction {
    let input = TxIn { witness: Witness(vec![vec![0x51]]), ..TxIn::spending(prevout) };
    let output = TxOut { value: Amount::from_sat(sat), script_pubkey: build::p2wsh_of(&[0x51]) };
    Transaction::new(vec![input], vec![output])
}

fn mempool(c: &mut Criterion) {
    let output = TxOut { value: Amount::from_sat(1_000_000), script_pubkey: build::p2wsh_of(&[0x51]) };
    let utxo = Utxo { output, height: 10, coinbase: false };
    let view = View((0..COINS).map(|vout| (coin(vout), utxo.clone())).collect());
    let empty = || Mempool::new(MempoolOptions::for_coin(view.coin()));

    let mut full = empty();
    for vout in 0..COINS {
        full.accept(spend(coin(vout), 999_000 - i64::from(vout)), &view, NOW).expect("pays enough");
    }
    let last = spend(coin(0), 900_000);
    c.bench_function("mempool/test a replacement among 10,000", |b| {
        b.iter(|| full.test(black_box(&last), &view, NOW).expect("pays more"));
    });
    c.bench_function("mempool/template of 10,000", |b| {
        b.iter(|| template::build(&view, &full, &TemplateOptions::default(), NOW));
    });

    let mut chain = empty();
    let (mut prevout, mut sat) = (coin(0), 1_000_000);
    for at in 1..MAX_CLUSTER_COUNT as i64 {
        sat -= 1_000 + at * 37 % 11 * 300;
        let tx = spend(prevout, sat);
        prevout = OutPoint { txid: tx.txid(), vout: 0 };
        chain.accept(tx, &view, NOW).expect("pays enough");
    }
    let last = spend(prevout, sat - 2_000);
    c.bench_function("mempool/test the 64th of a cluster", |b| {
        b.iter(|| chain.test(black_box(&last), &view, NOW).expect("pays enough"));
    });
    c.bench_function("mempool/accept one", |b| {
        let tx = spend(coin(1), 900_000);
        b.iter_batched(
            || (empty(), tx.clone()),
            |(mut pool, tx)| pool.accept(tx, &view, NOW),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, mempool);
criterion_main!(benches);
