//! The guard's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NetworkBlock;

/// Limits on strangers. An address block is one IPv4 address or one IPv6 /64. A block that has lately brought work is no
/// stranger: it is let in when room is short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Networks that are always let in and have no limits, whatever else is said here.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<NetworkBlock>,
    /// Networks that may not connect.
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<NetworkBlock>,
    /// Connections from one address block at once.
    pub connections_per_block: u32,
    /// Connections from one address block at once that have not authorised yet.
    pub strangers_per_block: u32,
    /// Connects from one address block per second, in the long run.
    pub connects_per_second: u32,
    /// Connects from one address block that may come at once: a farm that reconnects.
    pub connects_burst: u32,
    /// Connects from all blocks together per second, in the long run.
    pub connects_per_second_in_all: u32,
    /// Connects from all blocks together that may come at once: everybody, after a restart.
    pub connects_burst_in_all: u32,
    /// User names one address block may authorise per second, in the long run.
    pub logins_per_second: u32,
    /// User names one address block may authorise at once.
    pub logins_burst: u32,
    /// User names all blocks together may authorise per second, in the long run; blocks that brought work are not held up.
    pub logins_per_second_in_all: u32,
    /// User names all blocks together may authorise at once: everybody, after a restart.
    pub logins_burst_in_all: u32,
    /// Bytes one address block may send per second, in the long run.
    pub bytes_per_second: u32,
    /// Bytes one address block may send at once.
    pub bytes_burst: u32,
    /// Connections that may be authorised for one account at once from address blocks that have not brought it any work.
    pub newcomers_per_account: u32,
    /// Refused shares of one address block, within some ten minutes, that ban it where fewer than one to fifty was accepted.
    pub refused_max: u32,
    /// Offences of one address block (nonsense, time-outs, floods of what is refused) that lead to a ban; they fade by a
    /// tenth of this each minute.
    pub offences_max: u32,
    /// Seconds of a block's first ban; each next one is twice as long, a day at most.
    pub ban_seconds: u32,
    /// Hashes a second that each connection must bring in the long run, or be closed; 0 for no floor.
    pub work_floor: f64,
    /// Seconds over which work is measured for the floor.
    pub work_floor_seconds: u32,
}

impl Default for GuardConfig {
    fn default() -> Self {
        let loopback = NetworkBlock::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        let loopback6 = NetworkBlock::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
        Self {
            allow: vec![loopback, loopback6],
            deny: Vec::new(),
            connections_per_block: 4_000,
            strangers_per_block: 1_000,
            connects_per_second: 20,
            connects_burst: 4_000,
            connects_per_second_in_all: 2_000,
            connects_burst_in_all: 40_000,
            logins_per_second: 20,
            logins_burst: 8_000,
            logins_per_second_in_all: 2_000,
            logins_burst_in_all: 60_000,
            bytes_per_second: 1 << 20,
            bytes_burst: 64 << 20,
            newcomers_per_account: 10_000,
            refused_max: 20_000,
            offences_max: 100,
            ban_seconds: 60,
            work_floor: 0.0,
            work_floor_seconds: 900,
        }
    }
}
