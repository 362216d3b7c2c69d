//! Blocks, headers and transactions in every coin's form, unspent outputs and undo data: what reads must write back to
//! the same bytes, and its sizes must be true.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lode_chain::{Utxo, testing};
use lode_primitives::{Block, Decode, Encode, Form, Header, Transaction};

fuzz_target!(|data: &[u8]| {
    let Some((&pick, data)) = data.split_first() else { return };
    let form = Form { witness: pick & 1 != 0, data: pick & 2 != 0, multiplier: pick & 4 != 0 };
    match pick >> 3 & 7 {
        0 => {
            if let Ok(block) = Block::from_bytes(data, form) {
                let again = block.to_bytes();
                assert_eq!(again.len(), block.total_size());
                assert!(block.base_size() <= block.total_size());
                // A multiplier may be longer than it has to be and is written short; all else is byte for byte.
                assert!(form.multiplier || again == data);
                assert_eq!(Block::from_bytes(&again, form).as_ref(), Ok(&block));
            }
        }
        1 => {
            if let Ok(tx) = Transaction::from_bytes(data, form) {
                assert_eq!((tx.to_bytes().as_slice(), tx.total_size()), (data, data.len()));
                assert_eq!(tx.txid().0 == tx.wtxid().0, !tx.has_witness());
            }
        }
        2 => {
            if let Ok(header) = Header::from_bytes(data, form) {
                assert_eq!(Header::from_bytes(&header.to_bytes(), form), Ok(header));
            }
        }
        3 => {
            if let Ok(utxo) = Utxo::from_bytes(data, form) {
                assert_eq!(utxo.to_bytes(), data);
            }
        }
        _ => testing::read_undo(data),
    }
});
