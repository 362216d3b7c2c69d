//! Blocks and inputs connected a second, every script run, from bytes to disk; beside the reference client doing the
//! same with the same blocks where `LODE_BITCOIND` says where it is.
//!
//! `cargo bench -p lode-chain --bench connect [-- BLOCKS PAYMENTS]`

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lode_chain::testing::payments;
use lode_chain::{Chain, ChainOptions, SetHash};
use lode_primitives::{Block, Decode, Encode};

fn open(dir: &Path) -> Chain {
    let coin = lode_coins::find("bitcoin", "regtest").expect("in the table");
    Chain::open(ChainOptions::new(coin, dir)).expect("an empty directory")
}

fn set_hash(chain: &mut Chain) -> String {
    let info = chain.output_set().and_then(|set| set.info(SetHash::Serialized)).expect("readable");
    info.set_hash.expect("asked for").to_string()
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (full, per_block) = match numbers.as_slice() {
        [full, per_block, ..] => (*full, *per_block),
        _ => (30, 1_500),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut source = open(&dir.path().join("source"));
    let blocks: Vec<Vec<u8>> =
        payments::signed_chain(&mut source, full, per_block).iter().map(Encode::to_bytes).collect();
    let wanted = set_hash(&mut source);
    let form = source.coin().form;
    let inputs: usize = 2 * full * per_block;
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    println!("{} blocks, {inputs} signed inputs, {:.1} MB", blocks.len(), bytes as f64 / 1e6);

    let mut lode = Duration::MAX;
    for run in 0..3 {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut chain = open(&dir.path().join(format!("run{run}")));
        for bytes in &blocks {
            let block = Block::from_bytes(bytes, form).expect("our own block");
            let now = block.header.time;
            chain.accept_block(block, now).expect("a valid block");
        }
        let connected = start.elapsed();
        chain.flush().expect("room on disk");
        drop(chain);
        lode = lode.min(start.elapsed());
        report("lode", start.elapsed(), cpu_seconds() - cpu, blocks.len(), inputs);
        println!("      of it the last flush and closing {:?}", start.elapsed() - connected);
        assert_eq!(set_hash(&mut open(&dir.path().join(format!("run{run}")))), wanted);
    }

    let Some(bitcoind) = std::env::var_os("LODE_BITCOIND") else {
        println!("SKIPPED: the reference client needs LODE_BITCOIND");
        return;
    };
    let file = dir.path().join("blocks.dat");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("a new file"));
    for bytes in &blocks {
        let head = [&source.coin().magic[..], &(bytes.len() as u32).to_le_bytes()].concat();
        out.write_all(&head).and_then(|()| out.write_all(bytes)).expect("room on disk");
    }
    out.flush().expect("room on disk");
    let mut core = Duration::MAX;
    for run in 0..3 {
        let data = dir.path().join(format!("core{run}"));
        std::fs::create_dir(&data).expect("a new directory");
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let status = Command::new(&bitcoind)
            .args([
                "-regtest",
                "-listen=0",
                "-server=0",
                "-assumevalid=0",
                "-checkblockindex=0",
                "-checkmempool=0",
                "-stopafterblockimport",
                "-printtoconsole=0",
            ])
            .arg(format!("-datadir={}", data.display()))
            .arg(format!("-loadblock={}", file.display()))
            .stdout(Stdio::null())
            .status()
            .expect("the reference client starts");
        assert!(status.success());
        core = core.min(start.elapsed());
        report("core", start.elapsed(), cpu_seconds() - cpu, blocks.len(), inputs);
    }
    println!("lode takes {:.2} of the reference client's time", lode.as_secs_f64() / core.as_secs_f64());
}

fn report(who: &str, took: Duration, cpu: f64, blocks: usize, inputs: usize) {
    let seconds = took.as_secs_f64();
    let (blocks, inputs) = (blocks as f64 / seconds, inputs as f64 / seconds);
    println!("{who}: {seconds:.2} s, {cpu:.2} s of processors, {blocks:.0} blocks/s, {inputs:.0} inputs/s");
}

/// Processor time of this process and its ended children, in seconds: on a busy machine the fairer measure.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
