//! The whole pool over real sockets, on a node that is only a channel of templates.

mod common;

use std::sync::{Arc, Mutex};

use common::{ADDRESS, LEAST, Miner, coin, config, now_ms};
use lode_ledger::{Ledger, LedgerOptions};
use lode_pool::journal::FoundBlock;
use lode_pool::{Pool, PoolError, PoolEvent, PoolHandle, PoolParts, Template, Upstream};
use lode_primitives::{Amount, Block, BlockHash, Decode as _};
use tokio::sync::{mpsc, watch};

/// A chain of one branch: the pool's own blocks become its tips.
#[derive(Clone)]
struct FakeNode {
    templates: watch::Receiver<Option<Arc<Template>>>,
    ledger: Arc<Mutex<Ledger>>,
    found: mpsc::UnboundedSender<FoundBlock>,
}

impl Upstream for FakeNode {
    fn templates(&self) -> watch::Receiver<Option<Arc<Template>>> {
        self.templates.clone()
    }

    async fn place_tip(&self, template: &Template) -> Result<(), String> {
        let height = template.height - 1;
        let mut ledger = self.ledger.lock().unwrap();
        let own = ledger
            .unplaced(&template.prev, height)
            .iter()
            .map(|link| link.hash)
            .find(|hash| *hash == template.prev);
        ledger.place(template.prev, height, own).map_err(|error| error.to_string())
    }

    fn found(&self, block: &FoundBlock) -> Result<(), String> {
        self.ledger.lock().unwrap().found(block.hash, &block.snapshot).unwrap();
        let _ = self.found.send(block.clone());
        Ok(())
    }
}

struct Running {
    pool: PoolHandle,
    templates: watch::Sender<Option<Arc<Template>>>,
    found: mpsc::UnboundedReceiver<FoundBlock>,
    _dir: tempfile::TempDir,
}

fn template(height: u32, prev: BlockHash, bits: u32) -> Arc<Template> {
    Arc::new(Template {
        height,
        prev,
        version: 0x2000_0000,
        bits,
        time: (now_ms() / 1000) as u32,
        min_time: 0,
        coinbase_value: Amount::from_sat(5_000_000_000),
        transactions: vec![],
        witness_commitment: Some([&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[5; 32]].concat()),
        mweb: None,
        coinbase_weight_max: 100_000,
        coinbase_sigops_max: 10_000,
        heard_us: 0,
    })
}

fn start(solo: bool, first: Arc<Template>) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(LedgerOptions::new(dir.path(), "bitcoin/regtest"), now_ms()).unwrap();
    let ledger = Arc::new(Mutex::new(ledger));
    let (templates, receiver) = watch::channel(Some(first));
    let (sender, found) = mpsc::unbounded_channel();
    let pool = Pool::start(PoolParts {
        coin: coin(),
        config: config(),
        ledger: Arc::clone(&ledger),
        solo,
        upstream: FakeNode { templates: receiver, ledger, found: sender },
        directory: None,
    })
    .unwrap();
    Running { pool, templates, found, _dir: dir }
}

/// Mines on the miner's job until a share is a block of this height.
fn mine(running: &mut Running, miner: &mut Miner, worker: &str, height: u32) -> FoundBlock {
    for nonce in 0.. {
        miner.send(&miner.share(50, worker, nonce));
        assert_eq!(miner.answer(50)["result"], true, "a block's share is accepted too");
        while let Ok(block) = running.found.try_recv() {
            if block.height == height {
                return block;
            }
        }
        assert!(nonce < 1000, "every other hash is a block");
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_pay_those_whose_work_is_in_the_window() {
    let mut running = start(false, template(1, BlockHash([1; 32]), 0x207f_ffff));
    let address = running.pool.addresses()[0];
    let mut events = running.pool.events();
    let handle = tokio::task::spawn_blocking(move || {
        let mut miner = Miner::connect(address);
        miner.login("rig");
        let block = mine(&mut running, &mut miner, "rig", 1);
        (running, miner, block)
    });
    let (mut running, mut miner, first) = handle.await.unwrap();
    let whole = Block::from_bytes(&first.block, coin().form).unwrap();
    assert_eq!(whole.hash(), first.hash);
    // Nobody had work in the window when this job was made: the finder is paid.
    let script = coin().address_to_script(ADDRESS).unwrap();
    assert_eq!(whole.transactions[0].outputs[0].script_pubkey, script);
    first.snapshot.check(&whole.transactions[0]).unwrap();
    loop {
        if let PoolEvent::Block(block) = events.recv().await.unwrap() {
            assert_eq!(block.hash, first.hash);
            break;
        }
    }
    // On top of it the window pays, and the balances are those after it.
    running.templates.send(Some(template(2, first.hash, 0x207f_ffff))).unwrap();
    let second = tokio::task::spawn_blocking(move || {
        loop {
            miner.next_job();
            if miner.job["params"][8] == true {
                break;
            }
        }
        let block = mine(&mut running, &mut miner, "rig", 2);
        // The miner stays, to be seen among the sessions.
        (running, miner, block)
    });
    let (running, _miner, second) = second.await.unwrap();
    assert_eq!(second.height, 2);
    let job = running.pool.job().borrow().clone().unwrap();
    let split = job.split().expect("the window is not empty any more");
    assert_eq!(split.base, first.hash, "the first block's settlement is what this one builds on");
    assert!(running.pool.sessions().iter().any(|session| session.accepted > 0));
    tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn solo_pays_the_finder_alone() {
    let mut running = start(true, template(1, BlockHash([1; 32]), 0x207f_ffff));
    let address = running.pool.addresses()[0];
    tokio::task::spawn_blocking(move || {
        const OTHER: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";
        let mut other = Miner::connect(address);
        other.send("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n");
        other.send(&format!("{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{OTHER}\",\"x\"]}}\n"));
        other.next_job();
        let mut miner = Miner::connect(address);
        miner.login("rig");
        assert_ne!(other.job["params"][3], miner.job["params"][3]);
        let block = mine(&mut running, &mut miner, "rig", 1);
        let outputs = block.snapshot.outputs();
        assert_eq!(outputs.len(), 1);
        assert_eq!(outputs[0].script_pubkey, coin().address_to_script(ADDRESS).unwrap());
        running.pool.stop();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_with_what_to_do() {
    let running = start(false, template(1, BlockHash([1; 32]), 0x1700_ffff));
    let mut config = config();
    config.ports[0].bind = running.pool.addresses()[0];
    config.ports[0].start_difficulty = LEAST;
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(LedgerOptions::new(dir.path(), "bitcoin/regtest"), now_ms()).unwrap();
    let ledger = Arc::new(Mutex::new(ledger));
    let (_, receiver) = watch::channel(None);
    let (found, _) = mpsc::unbounded_channel();
    let error = Pool::start(PoolParts {
        coin: coin(),
        config,
        ledger: Arc::clone(&ledger),
        solo: false,
        upstream: FakeNode { templates: receiver, ledger, found },
        directory: None,
    })
    .err()
    .unwrap();
    assert!(matches!(error, PoolError::Front(_)) && error.to_string().contains("pool.ports"));
    tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
}
