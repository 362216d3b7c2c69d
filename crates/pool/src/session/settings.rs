//! What all sessions of a pool share.

use std::sync::atomic::{AtomicU32, Ordering};

use lode_pow::PowAlgorithm;
use lode_stratum::{write_reconnect, write_show_message};

use crate::config::{PortConfig, VardiffConfig};
use crate::job::EXTRANONCE1_SIZE;

/// Pause that is asked for before a miner comes to where it is sent.
const FAREWELL_WAIT_SECONDS: u32 = 5;

/// Settings that all sessions share.
#[derive(Debug)]
pub struct SessionSettings {
    /// Bits of the version that may be rolled.
    pub version_mask: u32,
    /// Difficulty adjustment.
    pub vardiff: VardiffConfig,
    /// What work is proven with.
    pub pow: PowAlgorithm,
    /// The ports, by number.
    pub ports: Vec<PortConfig>,
    /// What those known to take it are told when the pool stops: see [`write_farewell`].
    pub farewell: Vec<u8>,
    /// The next extranonce 1: none is given twice.
    pub extranonces: Extranonces,
}

/// Extranonces 1, one after the other.
#[derive(Debug)]
pub struct Extranonces(AtomicU32);

impl Default for Extranonces {
    /// Begins anywhere: those of an earlier run must not come again while its miners still work on them.
    fn default() -> Self {
        Self::starting_at(rand::random())
    }
}

impl Extranonces {
    /// From this one on: for tests whose hashes are to be the same each time.
    pub fn starting_at(first: u32) -> Self {
        Self(AtomicU32::new(first))
    }

    /// The next one.
    pub fn next(&self) -> [u8; EXTRANONCE1_SIZE] {
        self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

/// The lines for a planned stop: a message, and where to go, `None` for back here.
pub fn write_farewell(moved_to: Option<(&str, u16)>) -> Vec<u8> {
    let mut out = Vec::new();
    let message = match moved_to {
        Some((host, port)) => format!("This pool stops; go to {host}:{port}"),
        None => "This pool stops for a moment and comes back; all work is recorded".to_owned(),
    };
    write_show_message(&message, &mut out);
    write_reconnect(moved_to, FAREWELL_WAIT_SECONDS, &mut out);
    out
}
