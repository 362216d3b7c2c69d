//! Who may connect, and how often: limits per address block, decided before anything costly is done.
//!
//! Whoever misbehaves collects offences, which fade by the minute; too many and the block is banned for a minute, twice as
//! long each time again, a day at most. Every ban ends.
//!
//! A block is one IPv4 address or one IPv6 /64, what one customer of one provider gets. The tables are bounded; what is
//! idle is forgotten first.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkBlock {
    address: IpAddr,
    prefix: u8,
}

impl NetworkBlock {
    /// True where the address is in it. IPv4 addresses mapped into IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                (u64::from(network.to_bits()) >> shift) == (u64::from(address.to_bits()) >> shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || (network.to_bits() >> shift) == (address.to_bits() >> shift)
            }
            _ => false,
        }
    }
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")]
pub struct NetworkParseError(String);

impl FromStr for NetworkBlock {
    type Err = NetworkParseError;

    fn from_str(text: &str) -> Result<Self, NetworkParseError> {
        let bad = || NetworkParseError(text.chars().take(60).collect());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| bad())?;
        if prefix > most { Err(bad()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for NetworkBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for NetworkBlock {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NetworkBlock {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Limits on strangers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Connections from one address block at once.
    pub connections_per_block: u32,
    /// Connects from one address block per second, in the long run.
    pub connects_per_second: u32,
    /// Connects from one address block that may come at once: a farm that reconnects.
    pub connects_burst: u32,
    /// Offences of one address block (nonsense, time-outs, floods of what is refused) that lead to a ban; they fade by a
    /// tenth of this each minute.
    pub offences_max: u32,
    /// Networks without limits.
    #[schemars(with = "Vec<String>")]
    pub unlimited: Vec<NetworkBlock>,
    /// Networks that may not connect.
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<NetworkBlock>,
}

impl Default for GuardConfig {
    fn default() -> Self {
        let loopback = NetworkBlock { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 };
        let loopback6 = NetworkBlock { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 };
        Self {
            connections_per_block: 4_000,
            connects_per_second: 20,
            connects_burst: 4_000,
            offences_max: 100,
            unlimited: vec![loopback, loopback6],
            deny: Vec::new(),
        }
    }
}

/// Blocks remembered at most; at about 60 bytes each, 4 MB.
const BLOCKS_MAX: usize = 65_536;

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its network may not connect.
    Denied,
    /// Its address block has its number of connections.
    Connections,
    /// Its address block connects too often.
    Rate,
    /// Its address block is banned for a while.
    Banned,
}

impl Refusal {
    /// Label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Connections => "connections",
            Self::Rate => "rate",
            Self::Banned => "banned",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Block {
    connections: u32,
    /// Connects that may come now, and when that was so.
    tokens: f32,
    at_ms: u64,
    /// Offences, faded up to `at_ms`.
    offences: f32,
    /// Bans so far, and when the last one ends.
    bans: u8,
    banned_until_ms: u64,
}

/// The first ban, milliseconds.
const BAN_MS: u64 = 60_000;
/// The longest.
const BAN_MAX_MS: u64 = 86_400_000;

/// The tables.
#[derive(Debug)]
pub struct Guard {
    config: GuardConfig,
    blocks: HashMap<u128, Block>,
}

/// The block of an address as a number: IPv4 addresses in their IPv6 mapping, else the upper 64 bits.
fn key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !0 << 64,
    }
}

impl Guard {
    /// An empty table.
    pub fn new(config: GuardConfig) -> Self {
        Self { config, blocks: HashMap::new() }
    }

    fn unlimited(&self, address: IpAddr) -> bool {
        self.config.unlimited.iter().any(|network| network.contains(address))
    }

    /// Asks for a connection. Where it is granted, [`Guard::leave`] must be called at its end.
    pub fn enter(&mut self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        if self.config.deny.iter().any(|network| network.contains(address)) {
            return Err(Refusal::Denied);
        }
        if self.unlimited(address) {
            return Ok(());
        }
        if self.blocks.len() >= BLOCKS_MAX {
            self.forget(now_ms);
            if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(&key(address)) {
                return Err(Refusal::Connections);
            }
        }
        let block = self.block(address, now_ms);
        if now_ms < block.banned_until_ms {
            return Err(Refusal::Banned);
        }
        let (connections, tokens) = (block.connections, block.tokens);
        if connections >= self.config.connections_per_block {
            return Err(Refusal::Connections);
        }
        if tokens < 1.0 {
            return Err(Refusal::Rate);
        }
        let block = self.block(address, now_ms);
        block.tokens -= 1.0;
        block.connections += 1;
        Ok(())
    }

    /// The block of an address, entered if new, with its bucket and its offences as of now.
    fn block(&mut self, address: IpAddr, now_ms: u64) -> &mut Block {
        let (rate, burst) = (self.config.connects_per_second as f32, self.config.connects_burst as f32);
        let fade = self.config.offences_max as f32 / 600.0;
        let fresh = Block {
            connections: 0,
            tokens: burst,
            at_ms: now_ms,
            offences: 0.0,
            bans: 0,
            banned_until_ms: 0,
        };
        let block = self.blocks.entry(key(address)).or_insert(fresh);
        let seconds = now_ms.saturating_sub(block.at_ms) as f32 / 1000.0;
        block.tokens = (block.tokens + seconds * rate).min(burst);
        block.offences = (block.offences - seconds * fade).max(0.0);
        block.at_ms = block.at_ms.max(now_ms);
        block
    }

    /// An address misbehaved. True where its block is banned for it.
    pub fn offence(&mut self, address: IpAddr, now_ms: u64) -> bool {
        if self.unlimited(address) || !self.blocks.contains_key(&key(address)) {
            return false;
        }
        let max = self.config.offences_max as f32;
        let block = self.block(address, now_ms);
        block.offences += 1.0;
        if block.offences < max {
            return false;
        }
        block.offences = 0.0;
        block.banned_until_ms = now_ms + (BAN_MS << block.bans.min(12)).min(BAN_MAX_MS);
        block.bans = block.bans.saturating_add(1);
        true
    }

    /// How many bans are in force.
    pub fn bans(&self, now_ms: u64) -> usize {
        self.blocks.values().filter(|block| block.banned_until_ms > now_ms).count()
    }

    /// A granted connection has ended.
    pub fn leave(&mut self, address: IpAddr) {
        if let Some(block) = self.blocks.get_mut(&key(address)) {
            block.connections = block.connections.saturating_sub(1);
        }
    }

    /// Forgets blocks without connections whose bucket is full again.
    pub fn forget(&mut self, now_ms: u64) {
        let (rate, burst) = (self.config.connects_per_second as f32, self.config.connects_burst as f32);
        self.blocks.retain(|_, block| {
            let seconds = now_ms.saturating_sub(block.at_ms) as f32 / 1000.0;
            // A block that was banned is remembered for a day, so that the next ban is longer.
            let banned_lately = block.bans > 0 && now_ms < block.banned_until_ms + BAN_MAX_MS;
            block.connections > 0 || banned_lately || block.tokens + seconds * rate < burst
        });
    }

    /// Blocks remembered.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// True where no block is remembered.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guard(connections: u32, rate: u32, burst: u32) -> Guard {
        Guard::new(GuardConfig {
            connections_per_block: connections,
            connects_per_second: rate,
            connects_burst: burst,
            deny: vec!["192.0.2.0/24".parse().unwrap()],
            ..GuardConfig::default()
        })
    }

    #[test]
    fn networks_contain_what_they_say() {
        let net: NetworkBlock = "10.0.0.0/8".parse().unwrap();
        assert!(
            net.contains(ip("10.9.8.7"))
                && net.contains(ip("::ffff:10.1.1.1"))
                && !net.contains(ip("11.0.0.1"))
        );
        let net: NetworkBlock = "2001:db8::/32".parse().unwrap();
        assert!(net.contains(ip("2001:db8:1::1")) && !net.contains(ip("2001:db9::")));
        assert!("0.0.0.0/0".parse::<NetworkBlock>().unwrap().contains(ip("255.1.1.1")));
        assert!("::/0".parse::<NetworkBlock>().unwrap().contains(ip("ff::")));
        for bad in ["", "10.0.0.0/33", "x", "1.2.3.4/-1"] {
            assert!(bad.parse::<NetworkBlock>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_block_has_its_limits_and_gets_them_back() {
        let mut guard = guard(2, 1, 3);
        let a = ip("198.51.100.1");
        assert_eq!(guard.enter(a, 0), Ok(()));
        assert_eq!(guard.enter(a, 0), Ok(()));
        assert_eq!(guard.enter(a, 0), Err(Refusal::Connections));
        guard.leave(a);
        assert_eq!(guard.enter(a, 0), Ok(()));
        guard.leave(a);
        assert_eq!(guard.enter(a, 10), Err(Refusal::Rate));
        assert_eq!(guard.enter(a, 1_100), Ok(()));
        assert_eq!(guard.enter(ip("198.51.100.2"), 0), Ok(()), "another address is another block");
        assert_eq!(guard.enter(ip("192.0.2.9"), 0), Err(Refusal::Denied));
        for _ in 0..100 {
            assert_eq!(guard.enter(ip("127.0.0.1"), 0), Ok(()));
        }
        guard.leave(a);
        guard.leave(a);
        guard.leave(ip("198.51.100.2"));
        guard.forget(1_000_000);
        assert!(guard.is_empty());
    }

    #[test]
    fn offences_fade_and_bans_grow_and_end() {
        let mut guard = Guard::new(GuardConfig { offences_max: 10, ..GuardConfig::default() });
        let a = ip("198.51.100.1");
        assert_eq!(guard.enter(a, 0), Ok(()));
        assert!((0..9).all(|_| !guard.offence(a, 0)));
        assert!((0..9).all(|_| !guard.offence(a, 600_000)), "ten minutes later all is forgotten");
        assert!(guard.offence(a, 600_000));
        assert_eq!(guard.enter(a, 659_999), Err(Refusal::Banned));
        assert_eq!(guard.bans(659_999), 1);
        assert_eq!(guard.enter(a, 660_000), Ok(()));
        assert!((0..10).any(|_| guard.offence(a, 660_000)));
        assert_eq!(guard.enter(a, 779_999), Err(Refusal::Banned), "twice as long");
        assert_eq!(guard.enter(a, 780_000), Ok(()));
        assert!((0..100).all(|_| !guard.offence(ip("127.0.0.1"), 0)));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut guard = guard(2, 1, 3);
        for n in 0..100_000u32 {
            let _ = guard.enter(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n)), 0);
        }
        assert!(guard.len() <= BLOCKS_MAX);
        assert_eq!(guard.enter(ip("198.51.100.1"), 0), Err(Refusal::Connections));
    }
}
