//! Real chains from their first block on.
#![allow(clippy::unwrap_used)]

use lode_chain::{Chain, ChainOptions, SetHash};
use lode_primitives::{Block, Decode, Form, Header, Reader};

/// A file of real blocks, or `None` after saying that this test is left out: see `main_net.md` beside this.
fn data(name: &str) -> Option<Vec<u8>> {
    let Some(dir) = std::env::var_os("LODE_CHAIN_DATA") else {
        eprintln!(
            "SKIPPED: needs LODE_CHAIN_DATA, a directory of real blocks; see crates/chain/tests/main_net.md"
        );
        return None;
    };
    Some(std::fs::read(std::path::Path::new(&dir).join(name)).unwrap())
}

#[test]
fn main_network_from_block_0_to_255() {
    let coin = lode_coins::find("bitcoin", "main").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    let Some(bytes) = data("main-1-to-255.blocks") else { return };
    let mut reader = Reader::new(&bytes);
    let mut blocks = Vec::new();
    while reader.remaining() > 0 {
        blocks.push(Block::decode(&mut reader, coin.form).unwrap());
    }
    // The second half comes before the first, as from several peers.
    let headers: Vec<Header> = blocks.iter().map(|block| block.header.clone()).collect();
    assert_eq!(chain.accept_headers(&headers, 1_300_000_000).unwrap(), 255);
    assert_eq!(chain.best_header().height(), 255);
    assert_eq!(chain.missing_blocks(1_000).len(), 255);
    let now = 1_300_000_000;
    for block in &blocks[100..] {
        assert!(chain.accept_block(block.clone(), now).unwrap().is_empty());
    }
    let mut connected = 0;
    for block in &blocks[..100] {
        let mut report = chain.accept_block(block.clone(), now).unwrap();
        connected += report.connected.len();
        while report.more {
            report = chain.advance(now).unwrap();
            connected += report.connected.len();
        }
    }
    assert_eq!((connected, chain.height()), (255, 255));
    // The first payment ever, in block 170, spent the coinbase of block 9.
    let first = &blocks[169].transactions[1];
    assert_eq!(first.txid().to_string(), "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16");
    assert!(!chain.has_utxo(&first.inputs[0].prevout).unwrap());
    let spent = chain.spent_outputs(&blocks[169].hash()).unwrap().unwrap();
    assert_eq!((spent[0][0].height, spent[0][0].coinbase), (9, true));
    let info = chain.output_set().unwrap().info(SetHash::None).unwrap();
    assert_eq!(info.total.to_sat(), 255 * 50 * 100_000_000);
}

#[test]
fn signet_headers_through_a_retarget() {
    let coin = lode_coins::find("bitcoin", "signet").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    let Some(bytes) = data("signet-headers") else { return };
    let headers: Vec<Header> =
        bytes.chunks(80).map(|bytes| Header::from_bytes(bytes, Form::default()).unwrap()).collect();
    assert_eq!(headers[0].hash(), chain.tip().hash());
    assert_eq!(chain.accept_headers(&headers[1..], 1_700_000_000).unwrap(), 2015);
    // What block 2,016 was in fact mined with.
    let last = chain.best_header().hash();
    assert_eq!(chain.next_bits(&last, 0), Some(0x1e01_2fa7));
    drop(chain);
    let chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    assert_eq!(chain.best_header().hash(), last);
}
