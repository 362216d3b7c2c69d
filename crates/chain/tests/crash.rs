//! kill -9 at any moment: nothing reported as connected is lost, nothing has to be indexed again, and the outputs end
//! up as in a run without kills.
//!
//! The child is this test program itself, run with the ignored test [`child`]: it opens the chain, says where it stands,
//! feeds it the blocks of a script full of reorganisations, and says what it was told after each.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lode_chain::testing::{block_with, grow, spend};
use lode_chain::{Chain, ChainOptions, SetHash};
use lode_primitives::{Block, Decode, Encode, Reader};

const DIR: &str = "LODE_CRASH_DIR";

fn open(dir: &Path) -> Chain {
    let mut options = ChainOptions::new(lode_coins::find("bitcoin", "regtest").unwrap(), dir);
    options.cache_bytes = 30_000; // a flush every few blocks, also in the middle of reorganisations
    options.block_file_bytes = 20_000;
    Chain::open(options).unwrap()
}

fn set_hash(chain: &mut Chain) -> String {
    chain.output_set().unwrap().info(SetHash::Serialized).unwrap().set_hash.unwrap().to_string()
}

/// Blocks in the order they arrive: two branches again and again, the second one block longer, with the same coins spent
/// otherwise; and some blocks before their parents.
fn script(dir: &Path) -> (Vec<Block>, HashMap<String, u32>, String) {
    let mut chain = open(dir);
    let mut coins = grow(&mut chain, 112, 0);
    let mut blocks: Vec<Block> = (1..=chain.height())
        .map(|height| chain.block(&chain.entry_at(height).unwrap().hash()).unwrap().unwrap())
        .collect();
    let mut next_coin = 0;
    for epoch in 0..14u32 {
        let fork = chain.tip().hash();
        let depth = 1 + epoch % 7 * 2;
        for side in 1..=2 {
            let mut parent = fork;
            let first = blocks.len();
            for i in 0..depth + side - 1 {
                let coin = coins[next_coin + i as usize];
                let values: Vec<i64> = (0..20).map(|n| i64::from(10_000 * side + n)).collect();
                let block = block_with(&chain, &parent, epoch * 2 + side, vec![spend(&[coin], &values)]);
                chain.accept_block(block.clone(), block.header.time).unwrap();
                parent = block.hash();
                blocks.push(block);
            }
            // The headers are known, so bodies may come in any order.
            if epoch % 3 == 0 {
                blocks[first..].reverse();
            }
        }
        next_coin += depth as usize + 1;
        for height in coins.len() as u32 + 1..=chain.height() {
            let hash = chain.entry_at(height).unwrap().hash();
            let block = chain.block(&hash).unwrap().unwrap();
            coins.push(lode_primitives::OutPoint { txid: block.transactions[0].txid(), vout: 0 });
        }
    }
    let heights = blocks
        .iter()
        .map(|block| block.hash())
        .map(|hash| (hash.to_string(), chain.entry(&hash).unwrap().height()));
    let heights = heights.collect();
    let hash = set_hash(&mut chain);
    (blocks, heights, hash)
}

/// Not a test: what the killed process does.
#[test]
#[ignore = "run by the test beside it"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let mut bytes = Vec::new();
    std::fs::File::open(dir.join("script")).unwrap().read_to_end(&mut bytes).unwrap();
    let mut reader = Reader::new(&bytes);
    let mut blocks = Vec::new();
    while reader.remaining() > 0 {
        blocks
            .push(Block::decode(&mut reader, lode_coins::find("bitcoin", "regtest").unwrap().form).unwrap());
    }
    let say = |word: &str, what: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{word} {what}").unwrap();
        out.flush().unwrap();
    };
    let mut chain = open(&dir.join("chain"));
    say("OPEN", &chain.tip().hash().to_string());
    let mut clock = blocks[blocks.len() - 1].header.time;
    let mut headers: Vec<_> = blocks.iter().map(|block| block.header.clone()).collect();
    // Parents first; two headers of one height do not matter.
    let height = |block: &lode_primitives::Header| block.time;
    headers.sort_by_key(height);
    for header in &headers {
        let _ = chain.accept_header(header, clock);
    }
    for (index, block) in blocks.into_iter().enumerate() {
        clock += 7;
        let mut report = chain.accept_block(block, clock).unwrap();
        while report.more {
            report = chain.advance(clock).unwrap();
        }
        say("TIP", &chain.tip().hash().to_string());
        if index % 11 == 0 {
            chain.tick(clock).unwrap();
        }
    }
    let hash = set_hash(&mut chain);
    say("DONE", &hash);
}

#[test]
fn killed_at_any_moment_nothing_reported_is_lost() {
    let work = tempfile::tempdir().unwrap();
    let (blocks, heights, wanted) = script(&work.path().join("straight"));
    let mut bytes = Vec::new();
    blocks.iter().for_each(|block| block.encode(&mut bytes));
    std::fs::write(work.path().join("script"), bytes).unwrap();

    let kills = if std::env::var_os("LODE_FULL").is_some_and(|full| full == "1") { 200 } else { 15 };
    let (mut killed, mut finished) = (0, 0);
    let mut last: Option<String> = None;
    while killed < kills || finished == 0 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIR, work.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).collect::<Vec<String>>()
        });
        if killed < kills {
            // From before it has opened anything to well into its work.
            std::thread::sleep(Duration::from_micros(rand::random::<u64>() % 400_000));
            child.kill().unwrap();
            killed += 1;
        }
        let status = child.wait().unwrap();
        let lines = reader.join().unwrap();
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert!(!complaint.contains("panicked"), "after {killed} kills: {complaint}");
        // The last line may be cut short by the kill.
        let said = |word: &str| -> Vec<String> {
            lines
                .iter()
                .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
                .filter(|hash| hash.len() == 64)
                .map(str::to_owned)
                .collect()
        };
        if let (Some(before), Some(now)) = (&last, said("OPEN").first()) {
            let height = |hash: &String| heights.get(hash).copied().unwrap_or(0);
            assert!(
                now == before || height(now) > height(before),
                "reported {before} at height {}, opened with {now} at {}",
                height(before),
                height(now)
            );
        }
        last = said("TIP").pop().or_else(|| said("OPEN").pop()).or(last);
        if status.success() {
            assert_eq!(said("DONE").first(), Some(&wanted));
            finished += 1;
            last = None;
            std::fs::remove_dir_all(work.path().join("chain")).unwrap();
        }
    }
    println!("{killed} kills, {finished} runs to the end, outputs {wanted}");
}
