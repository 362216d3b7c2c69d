//! Networks in CIDR notation, and the address blocks that limits are counted by.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkBlock {
    address: IpAddr,
    prefix: u8,
}

impl NetworkBlock {
    /// A network; `prefix` is cut to the bits of the address.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix: prefix.min(most) }
    }

    /// The block that limits count an address by, what one customer of one provider gets: an IPv4 address by itself, an
    /// IPv6 address's /64.
    pub fn of(address: IpAddr) -> Self {
        Self::of_key(block_key(address))
    }

    /// The block of a number made by [`block_key`].
    pub(super) fn of_key(key: u128) -> Self {
        match Ipv6Addr::from_bits(key).to_canonical() {
            IpAddr::V4(address) => Self { address: address.into(), prefix: 32 },
            IpAddr::V6(address) => Self { address: address.into(), prefix: 64 },
        }
    }

    /// Its first address.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of the block, where this is a single block.
    pub(super) fn key(&self) -> Option<u128> {
        (Self::of(self.address) == *self).then(|| block_key(self.address))
    }

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

/// The block of an address as a number: IPv4 addresses in their IPv6 mapping, else the upper 64 bits.
pub(super) fn block_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() & !0 << 64,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
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
    fn an_address_belongs_to_one_block() {
        assert_eq!(NetworkBlock::of(ip("192.0.2.7")).to_string(), "192.0.2.7/32");
        assert_eq!(NetworkBlock::of(ip("::ffff:192.0.2.7")).to_string(), "192.0.2.7/32");
        assert_eq!(NetworkBlock::of(ip("2001:db8:1:2:3:4:5:6")).to_string(), "2001:db8:1:2::/64");
        assert_eq!("192.0.2.7".parse::<NetworkBlock>().unwrap().key(), Some(block_key(ip("192.0.2.7"))));
        assert_eq!("192.0.2.0/24".parse::<NetworkBlock>().unwrap().key(), None);
    }
}
