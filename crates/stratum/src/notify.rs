//! `mining.notify`: one job.

use lode_primitives::BlockHash;
use serde_json::Value;

use crate::hex_field::{hex_bytes, parse_hex_u32, push_hex, push_hex_u32};

/// A job as it travels. The coinbase is `coinbase1 || extranonce1 || extranonce2 || coinbase2`, without witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The job's id.
    pub job_id: String,
    /// The block to build on.
    pub prev: BlockHash,
    /// The coinbase up to extranonce 1.
    pub coinbase1: Vec<u8>,
    /// The coinbase behind extranonce 2.
    pub coinbase2: Vec<u8>,
    /// The coinbase's Merkle branch, from the leaves upwards, internal byte order.
    pub branch: Vec<[u8; 32]>,
    /// The header's version.
    pub version: u32,
    /// The header's compact target.
    pub bits: u32,
    /// The header's time, Unix seconds.
    pub time: u32,
    /// All earlier jobs are void.
    pub clean_jobs: bool,
}

/// Reverses each group of four bytes: what the previous hash suffers on the wire.
fn swap_words(hash: &[u8; 32]) -> [u8; 32] {
    let mut out = *hash;
    out.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    out
}

impl Notify {
    /// Appends the notification as one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"");
        out.extend_from_slice(self.job_id.as_bytes());
        out.extend_from_slice(b"\",\"");
        push_hex(&swap_words(self.prev.as_bytes()), out);
        out.extend_from_slice(b"\",\"");
        push_hex(&self.coinbase1, out);
        out.extend_from_slice(b"\",\"");
        push_hex(&self.coinbase2, out);
        out.extend_from_slice(b"\",[");
        for (i, node) in self.branch.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
            push_hex(node, out);
            out.push(b'"');
        }
        out.extend_from_slice(b"],\"");
        push_hex_u32(self.version, out);
        out.extend_from_slice(b"\",\"");
        push_hex_u32(self.bits, out);
        out.extend_from_slice(b"\",\"");
        push_hex_u32(self.time, out);
        out.extend_from_slice(if self.clean_jobs { b"\",true]}\n" } else { b"\",false]}\n" });
    }

    /// Reads the parameters of a notification; `None` where they are not nine of the right kinds.
    pub fn from_params(params: &[Value]) -> Option<Self> {
        let text = |i: usize| params.get(i).and_then(Value::as_str);
        let prev: [u8; 32] = hex_bytes(text(1)?)?.try_into().ok()?;
        let branch = params.get(4)?.as_array()?;
        let branch = branch
            .iter()
            .map(|node| hex_bytes(node.as_str()?)?.try_into().ok())
            .collect::<Option<Vec<[u8; 32]>>>()?;
        Some(Self {
            job_id: text(0)?.to_owned(),
            prev: BlockHash(swap_words(&prev)),
            coinbase1: hex_bytes(text(2)?)?,
            coinbase2: hex_bytes(text(3)?)?,
            branch,
            version: parse_hex_u32(text(5)?)?,
            bits: parse_hex_u32(text(6)?)?,
            time: parse_hex_u32(text(7)?)?,
            clean_jobs: params.get(8).and_then(Value::as_bool).unwrap_or(false),
        })
    }
}
