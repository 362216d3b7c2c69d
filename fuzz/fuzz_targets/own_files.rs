//! Our own files, damaged in ways that a checksum does not see: share log, journal of found blocks, balances, saved
//! mempool, address book. Refused or read, never a panic; what was salvaged must read.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lode_ledger::{Ledger, LedgerOptions, LogError, RecordFile, log};
use lode_p2p::AddrBook;
use lode_pool::journal::Journal;
use lode_primitives::Form;

/// A segment of the share log as docs/share-log.md has it, whole, with `payload` in its only frame.
fn segment(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 96];
    out[..8].copy_from_slice(b"LODESHR1");
    out[8] = 1;
    out[64..79].copy_from_slice(b"bitcoin/regtest");
    let crc = crc32fast::hash(&out[..92]);
    out[92..].copy_from_slice(&crc.to_le_bytes());
    let mut frame = [0; 24];
    frame[..4].copy_from_slice(b"LSf1");
    frame[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let mut sealed = frame[8..].to_vec();
    sealed.extend_from_slice(payload);
    frame[4..8].copy_from_slice(&crc32fast::hash(&sealed).to_le_bytes());
    out.extend_from_slice(&frame);
    out.extend_from_slice(payload);
    out
}

fn read_log(dir: &Path, bytes: &[u8]) {
    let path = dir.join("0000000001.shares");
    std::fs::write(&path, bytes).expect("room");
    let _ = log::read(dir, |_| {});
    if log::salvage(&path).is_ok() {
        log::read(dir, |_| {}).expect("what was salvaged reads");
    }
    let _ = Ledger::open(LedgerOptions::new(dir, "bitcoin/regtest"), 1_800_000_000_000);
}

fn record(path: &Path, magic: &[u8; 8], kind: u8, body: &[u8]) {
    let mut file = RecordFile::open(path, *magic, |_, _| Ok::<_, LogError>(())).expect("a new file");
    file.append(kind, &[body]).expect("room");
}

fuzz_target!(|data: &[u8]| {
    let Some((&pick, data)) = data.split_first() else { return };
    let form = Form { witness: pick & 64 != 0, data: pick & 128 != 0, multiplier: false };
    let dir = tempfile::tempdir_in("/dev/shm").expect("a temporary directory");
    match pick % 8 {
        0 => read_log(dir.path(), data),
        1 | 2 => read_log(dir.path(), &segment(data)),
        3 => {
            let path = dir.path().join("found");
            record(&path, b"LODEJRN1", 1 + (pick >> 3 & 1), data);
            let _ = Journal::open(&path);
        }
        4 => {
            record(&dir.path().join("balances"), b"LODEBAL1", 1 + (pick >> 3 & 1), data);
            let _ = Ledger::open(LedgerOptions::new(dir.path(), "bitcoin/regtest"), 1_800_000_000_000);
        }
        5 => {
            let whole = [b"lode-mempool\x01", data].concat();
            let _ = lode_node::testing::read_mempool(&whole, form);
        }
        6 => {
            let mut whole = [b"lodeadr1", data].concat();
            let checksum = lode_primitives::sha256d(&whole);
            whole.extend_from_slice(&checksum);
            if let Ok(book) = AddrBook::from_bytes(&whole) {
                let bytes = book.to_bytes();
                assert_eq!(AddrBook::from_bytes(&bytes).map(|book| book.to_bytes()).as_ref(), Ok(&bytes));
            }
        }
        _ => {
            std::fs::write(dir.path().join("journal"), data).expect("room");
            let _ = Journal::open(&dir.path().join("journal"));
        }
    }
});
