//! The share log's files under everything that befalls files.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{NOW, miner, options, share, template};
use lode_ledger::log::{self, Tail};
use lode_ledger::{Ledger, LedgerError, LogError};
use lode_primitives::BlockHash;
use proptest::prelude::*;

/// Records `batches` of two shares and returns the segment's file.
fn record(dir: &Path, batches: u64, sync_after: Option<u64>) -> PathBuf {
    let (mut ledger, _) = Ledger::open(options(dir), NOW).unwrap();
    let (a, b) = (miner(&mut ledger, 1), miner(&mut ledger, 2));
    for i in 0..batches {
        let work = template(i as u32, BlockHash([i as u8; 32]));
        ledger.record(&[share(&a, &work, 10 + i, NOW + i), share(&b, &work, 20 + i, NOW + i)]).unwrap();
        if sync_after == Some(i) {
            ledger.sync().unwrap();
        }
    }
    log::segments(dir).unwrap().pop().unwrap().1
}

fn units(dir: &Path) -> Vec<u64> {
    let mut units = Vec::new();
    log::read(dir, |record| units.push(record.credit.to_units())).unwrap();
    units
}

fn damaged(dir: &Path) -> String {
    match Ledger::open(options(dir), NOW) {
        Err(LedgerError::Log(error @ LogError::Damaged { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn wherever_the_tail_is_torn_the_frames_before_it_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), 3, None);
    let whole = fs::read(&path).unwrap();
    let two = {
        let other = tempfile::tempdir().unwrap();
        fs::read(record(other.path(), 2, None)).unwrap().len()
    };
    for len in two..=whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (ledger, recovery) = Ledger::open(options(dir.path()), NOW).unwrap();
        let all = len == whole.len();
        assert_eq!(recovery.shares, if all { 6 } else { 4 });
        assert_eq!(ledger.sequence(), recovery.shares);
        let cut = (len - two) as u64;
        assert_eq!(recovery.cut, (cut > 0 && !all).then(|| (path.clone(), cut)));
        drop(ledger);
        assert_eq!(units(dir.path()).len() as u64, recovery.shares);
    }
}

#[test]
fn what_was_never_synced_may_be_torn_anywhere_after_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), 6, None);
    let mut bytes = fs::read(&path).unwrap();
    // The disk wrote the last frames but not the third.
    let third = find(&bytes, 2);
    bytes[third..third + 30].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_, recovery) = Ledger::open(options(dir.path()), NOW).unwrap();
    assert_eq!(recovery.shares, 4);
    assert_eq!(recovery.cut.unwrap().1, (bytes.len() - third) as u64);
}

#[test]
fn damage_in_what_was_safe_is_refused_with_its_place_and_can_be_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), 6, Some(4));
    let mut bytes = fs::read(&path).unwrap();
    let third = find(&bytes, 2);
    bytes[third + 40] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let told = damaged(dir.path());
    assert!(
        told.contains(&format!("from byte {third} on (intact again at byte {})", find(&bytes, 3))),
        "{told}"
    );
    assert!(told.contains("lode log --salvage"), "{told}");
    let salvaged = log::salvage(&path).unwrap();
    assert_eq!((salvaged.kept, salvaged.lost), (10, 2));
    assert!(salvaged.original.ends_with("0000000001.shares.damaged"));
    let (ledger, recovery) = Ledger::open(options(dir.path()), NOW).unwrap();
    assert_eq!((recovery.shares, ledger.sequence()), (10, 12));
    assert_eq!(units(dir.path()), [10, 20, 11, 21, 13, 23, 14, 24, 15, 25]);
}

#[test]
fn shares_whose_names_were_lost_are_credited_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), 6, Some(4));
    let mut bytes = fs::read(&path).unwrap();
    let first = find(&bytes, 0);
    bytes[first + 30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    damaged(dir.path());
    let salvaged = log::salvage(&path).unwrap();
    assert_eq!((salvaged.kept, salvaged.lost), (0, 12));
    assert_eq!(Ledger::open(options(dir.path()), NOW).unwrap().1.shares, 0);
}

#[test]
fn damage_in_an_older_segment_is_never_taken_for_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = record(dir.path(), 3, None);
    record(dir.path(), 1, None);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    damaged(dir.path());
}

#[test]
fn a_missing_segment_another_chain_and_a_second_writer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        record(dir.path(), 1, None);
    }
    let (ledger, _) = Ledger::open(options(dir.path()), NOW).unwrap();
    let second = Ledger::open(options(dir.path()), NOW).unwrap_err();
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(ledger);
    let mut other = options(dir.path());
    other.log.chain = "litecoin/main".into();
    let error = Ledger::open(other, NOW).unwrap_err().to_string();
    assert!(error.contains("of bitcoin/regtest, not of litecoin/main"), "{error}");
    fs::remove_file(dir.path().join("0000000002.shares")).unwrap();
    let error = Ledger::open(options(dir.path()), NOW).unwrap_err().to_string();
    assert!(error.contains("segment 2 is missing"), "{error}");
}

#[test]
fn a_torn_header_is_a_segment_without_shares() {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), 1, None);
    let path = dir.path().join("0000000002.shares");
    fs::write(&path, b"LODESHR1 and then the power went").unwrap();
    let (mut ledger, recovery) = Ledger::open(options(dir.path()), NOW).unwrap();
    assert_eq!((recovery.shares, recovery.cut), (2, Some((path, 32))));
    let worker = miner(&mut ledger, 1);
    ledger.record(&[share(&worker, &template(1, BlockHash::ZERO), 1, NOW)]).unwrap();
    assert_eq!(log::read(dir.path(), |_| ()).unwrap(), Tail::Clean);
}

/// The child of the test below: its files can have 16 kB each.
#[test]
fn child_with_little_room() {
    let Ok(dir) = std::env::var("LODE_FULL_DIR") else { return };
    let (mut ledger, _) = Ledger::open(options(Path::new(&dir)), NOW).unwrap();
    let worker = miner(&mut ledger, 1);
    let work = template(1, BlockHash::ZERO);
    let batch = vec![share(&worker, &work, 1, NOW); 100];
    let mut accepted = 0;
    let error = loop {
        match ledger.record(&batch) {
            Ok(()) => accepted += 100,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    // Refused whole, and smaller ones still fit: nothing half-written is in the way.
    let len = fs::metadata(dir_segment(Path::new(&dir))).unwrap().len();
    assert!(ledger.record(&batch).is_err());
    assert_eq!(fs::metadata(dir_segment(Path::new(&dir))).unwrap().len(), len);
    ledger.record(&batch[..1]).unwrap();
    assert_eq!(ledger.sequence(), accepted + 1);
    assert_eq!(ledger.window_total().shares, accepted + 1);
    drop(ledger);
    assert_eq!(units(Path::new(&dir)).len() as u64, accepted + 1);
}

fn dir_segment(dir: &Path) -> PathBuf {
    log::segments(dir).unwrap().pop().unwrap().1
}

#[test]
fn a_full_disk_refuses_shares_and_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    // The shell's limit on file sizes stands in for a full disk: ignoring the signal, writes fail as they would there.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" child_with_little_room --exact --nocapture";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("LODE_FULL_DIR", dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(Ledger::open(options(dir.path()), NOW).unwrap().1.shares > 100);
}

#[test]
fn old_segments_are_dropped_only_where_asked_and_only_once_they_are_of_no_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.log.segment_bytes = 4_096;
    options.drop_after_ms = Some(60_000);
    let (mut ledger, _) = Ledger::open(options.clone(), NOW).unwrap();
    let worker = miner(&mut ledger, 1);
    let work = template(1, BlockHash::ZERO);
    for minute in 0..300 {
        let now = NOW + minute * 60_000;
        ledger.record(&vec![share(&worker, &work, 5, now); 50]).unwrap();
        ledger.tick(now).unwrap();
    }
    let now = NOW + 299 * 60_000;
    let (before, kept) = (ledger.window_total(), log::segments(dir.path()).unwrap().len());
    assert!((16..30).contains(&kept), "{kept}");
    drop((ledger, worker));
    let (ledger, _) = Ledger::open(options, now).unwrap();
    assert_eq!(ledger.window_total(), before);
    assert_eq!(ledger.sequence(), 300 * 50);
}

/// Where frame `n` begins.
fn find(bytes: &[u8], n: usize) -> usize {
    let frames = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"LSf1");
    frames.map(|(at, _)| at).nth(n).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is flipped, cut or overwritten: a share is read as it was written or not at all.
    #[test]
    fn no_damage_makes_up_a_share(at: prop::sample::Index, value: u8, len in 1usize..40, cut in 0usize..60) {
        let dir = tempfile::tempdir().unwrap();
        let path = record(dir.path(), 5, Some(2));
        let written = units(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        let end = (at + len).min(bytes.len());
        bytes[at..end].fill(value);
        bytes.truncate(bytes.len() - cut);
        fs::write(&path, &bytes).unwrap();
        if Ledger::open(options(dir.path()), NOW).is_err() {
            let _ = log::salvage(&path);
        }
        let mut read = Vec::new();
        let _ = log::read(dir.path(), |record| read.push(record.credit.to_units()));
        prop_assert!(read.iter().all(|units| written.contains(units)));
        read.dedup();
        prop_assert!(read.len() <= written.len());
    }
}
