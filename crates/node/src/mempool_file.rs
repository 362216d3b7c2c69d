//! The mempool kept over a restart: one file, written when the node stops (or by `savemempool`), read when it starts.
//!
//! ```text
//! "lode-mempool" | version: 1 byte | count: u64 | each: time u32 | fee delta i64 | transaction
//! ```
//! Integers are little-endian. It is a convenience: a file that cannot be read is left out, and every transaction is
//! judged anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lode_primitives::{Decode, DecodeError, Encode, Form, Reader, Transaction, Txid};

use crate::node::{Node, now};

/// The file's name in the node's directory.
const FILE: &str = "mempool";
const MAGIC: &[u8; 12] = b"lode-mempool";
const VERSION: u8 = 1;

/// What the file has of a transaction.
pub(crate) struct Kept {
    time: u32,
    delta: i64,
    tx: Transaction,
}

/// Writes the mempool; gives the file's path.
pub(crate) fn save(node: &Node) -> std::io::Result<PathBuf> {
    let mut out = MAGIC.to_vec();
    out.push(VERSION);
    {
        let state = node.read();
        // In mining order parents come before children.
        let entries: Vec<_> = state.mempool.chunks().flat_map(|(_, entries)| entries).collect();
        out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        for entry in entries {
            out.extend_from_slice(&entry.time.to_le_bytes());
            out.extend_from_slice(&entry.fee_delta.to_le_bytes());
            entry.tx.encode(&mut out);
        }
    }
    let path = node.directory.join(FILE);
    let temporary = node.directory.join("mempool.tmp");
    std::fs::write(&temporary, out)?;
    std::fs::rename(&temporary, &path)?;
    Ok(path)
}

pub(crate) fn read(bytes: &[u8], form: Form) -> Result<Vec<Kept>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.array::<12>()? != *MAGIC || reader.u8()? != VERSION {
        return Err(DecodeError::Malformed("no mempool of this version"));
    }
    let count = reader.u64_le()?;
    let mut kept = Vec::new();
    for _ in 0..count {
        let (time, delta) = (reader.u32_le()?, reader.i64_le()?);
        kept.push(Kept { time, delta, tx: Transaction::decode(&mut reader, form)? });
    }
    reader.finish()?;
    Ok(kept)
}

/// Takes back what was saved, as far as it is still valid and not too old.
pub(crate) fn load(node: &Arc<Node>) {
    let path = node.directory.join(FILE);
    if path.exists() {
        take_back(node, &path);
    }
    node.mempool_loaded.store(true, Ordering::Relaxed);
}

fn take_back(node: &Arc<Node>, path: &Path) {
    let read_file = std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| read(&bytes, node.coin.form).map_err(|error| error.to_string()));
    let kept = match read_file {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(path = %path.display(), error, "the saved mempool cannot be read and is left out");
            return;
        }
    };
    let oldest = now().saturating_sub(node.read().mempool.options().expiry);
    let (mut taken, mut refused) = (0, 0);
    for Kept { time, delta, tx } in kept {
        if *node.stop.borrow() {
            return;
        }
        if delta != 0 {
            let txid: Txid = tx.txid();
            node.write().mempool.prioritise(txid, delta);
        }
        if time >= oldest && node.accept_transaction(tx).is_ok() {
            taken += 1;
        } else {
            refused += 1;
        }
    }
    tracing::info!(taken, refused, "took back the saved mempool");
}
