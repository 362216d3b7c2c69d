//! Compact filters: the published vectors of BIP158, and the index over kills and reorganisations.

use lode_chain::testing::{block_with, grow, spend};
use lode_chain::{Chain, ChainOptions, FilterIndex, NewFilter};
use lode_coins::Coin;
use lode_primitives::{Block, BlockFilter, BlockHash, Decode, Form, Hash256};

fn regtest() -> &'static Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

/// The reference client's copy of the BIP's vectors (`blockfilters.json`), where `scripts/peers` has put it.
#[test]
fn vectors_of_bip158() {
    let Some(data) = lode_testkit::bitcoin_test_data() else { return };
    let text = std::fs::read_to_string(data.join("blockfilters.json")).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let form = Form { witness: true, ..Form::default() };
    let text = |row: &serde_json::Value, column: usize| row[column].as_str().unwrap().to_owned();
    let mut seen = 0;
    for row in &rows[1..] {
        let hash: BlockHash = text(row, 1).parse().unwrap();
        let block = Block::from_bytes(&hex::decode(text(row, 2)).unwrap(), form).unwrap();
        assert_eq!(block.hash(), hash);
        let spent: Vec<Vec<u8>> =
            row[3].as_array().unwrap().iter().map(|s| hex::decode(s.as_str().unwrap()).unwrap()).collect();
        let filter = BlockFilter::of_block(&block, &hash, spent.iter().map(Vec::as_slice));
        assert_eq!(hex::encode(filter.as_bytes()), text(row, 5), "{row:?}");
        let previous: Hash256 = text(row, 4).parse().unwrap();
        assert_eq!(filter.header(&previous).to_string(), text(row, 6), "{row:?}");
        let made: Vec<&[u8]> = lode_primitives::filter::made(&block).collect();
        assert_eq!(filter.first_missing(&hash, made.iter().copied()), Ok(None));
        assert_eq!(filter.matches_any(&hash, made.iter().copied()), Ok(!made.is_empty()));
        seen += 1;
    }
    assert_eq!(seen, 10);
}

/// Enters what is missing up to the tip, as the node's thread does, in batches of three; `most` of them at most.
fn fill(chain: &Chain, index: &FilterIndex, most: usize) {
    for _ in 0..most {
        let reached = index.reached(chain).unwrap();
        let first = reached.map_or(0, |height| height + 1);
        let mut previous = match reached {
            Some(height) => {
                let hash = chain.entry_at(height).unwrap().hash();
                index.header(height, &hash).unwrap().unwrap().header
            }
            None => Hash256::ZERO,
        };
        let mut batch = Vec::new();
        for height in first..(first + 3).min(chain.height() + 1) {
            let hash = chain.entry_at(height).unwrap().hash();
            let filter = chain.block_filter(&hash).unwrap().unwrap();
            previous = filter.header(&previous);
            batch.push(NewFilter { height, hash, filter, header: previous });
        }
        if batch.is_empty() {
            return;
        }
        index.add(&batch).unwrap();
    }
}

#[test]
fn the_index_goes_on_where_it_was_and_follows_a_reorganisation() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::open(ChainOptions::new(regtest(), dir.path().join("chain"))).unwrap();
    let coinbases = grow(&mut chain, 110, 0);
    let path = dir.path().join("filters");
    let index = FilterIndex::open(&path).unwrap();
    assert_eq!(index.reached(&chain).unwrap(), None);
    fill(&chain, &index, 5);
    assert_eq!(index.reached(&chain).unwrap(), Some(14));
    drop(index);
    let index = FilterIndex::open(&path).unwrap();
    assert_eq!(index.reached(&chain).unwrap(), Some(14));
    fill(&chain, &index, usize::MAX);
    assert_eq!(index.reached(&chain).unwrap(), Some(110));
    let old = chain.tip().hash();
    let old_header = index.header(110, &old).unwrap().unwrap();

    // Another branch from 108 on, with a payment in it.
    let fork = chain.entry_at(108).unwrap().hash();
    let pay = spend(&coinbases[..1], &[1_000]);
    let mut parent = fork;
    for tag in 0..3 {
        let transactions = if tag == 0 { vec![pay.clone()] } else { Vec::new() };
        let block = block_with(&chain, &parent, 77 + tag, transactions);
        parent = block.hash();
        let now = block.header.time;
        chain.accept_block(block, now).unwrap();
    }
    assert_eq!(chain.height(), 111);
    assert_eq!(index.reached(&chain).unwrap(), Some(108));
    fill(&chain, &index, usize::MAX);
    assert_eq!(index.reached(&chain).unwrap(), Some(111));
    assert_eq!(index.header(110, &old).unwrap(), Some(old_header), "the old branch's filters stay");

    // Every filter header commits to the one before, every filter to its block.
    let mut previous = Hash256::ZERO;
    for height in 0..=chain.height() {
        let hash = chain.entry_at(height).unwrap().hash();
        let filter = index.filter(height, &hash).unwrap().unwrap();
        let header = index.header(height, &hash).unwrap().unwrap();
        assert_eq!((filter.hash(), filter.header(&previous)), (header.filter_hash, header.header));
        assert_eq!(chain.block_filter(&hash).unwrap(), Some(filter));
        previous = header.header;
    }
    assert_eq!(chain.block_filter(&BlockHash([9; 32])).unwrap(), None);
}
