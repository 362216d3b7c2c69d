//! Addresses: in `version`, `addr` and, for networks beyond IP, `addrv2` (BIP155).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lode_primitives::{Decode, DecodeError, Encode, Form, Reader, encode_bytes, encode_compact_size};

use super::Services;

/// Most addresses in a message (reference client's `MAX_ADDR_TO_SEND`, BIP155).
pub const MAX_ADDRESSES: usize = 1_000;

/// Longest address of a network not known here, in bytes (BIP155).
const MAX_UNKNOWN_ADDRESS: usize = 512;

/// IPv6 prefix that carries an Onion v2 address (OnionCat), no longer in use: dropped.
const ONION_CAT: [u8; 6] = [0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43];

/// A host on some network.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NetAddr {
    /// IPv4 or IPv6.
    Ip(IpAddr),
    /// Tor v3: the 32-byte public key.
    TorV3([u8; 32]),
    /// I2P: SHA-256 of the destination.
    I2p([u8; 32]),
    /// CJDNS: an address in fc00::/8.
    Cjdns(Ipv6Addr),
    /// A network with a number not known here; kept only to be passed on.
    Unknown {
        /// BIP155 network number.
        network: u8,
        /// The address, at most 512 bytes.
        bytes: Vec<u8>,
    },
}

impl fmt::Debug for NetAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::TorV3(key) => write!(f, "tor:{}", hex::encode(key)),
            Self::I2p(hash) => write!(f, "i2p:{}", hex::encode(hash)),
            Self::Cjdns(ip) => write!(f, "cjdns:{ip}"),
            Self::Unknown { network, bytes } => write!(f, "network{network}:{}", hex::encode(bytes)),
        }
    }
}

impl NetAddr {
    /// BIP155's network number and address bytes.
    fn to_parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Ip(IpAddr::V4(ip)) => (1, ip.octets().to_vec()),
            Self::Ip(IpAddr::V6(ip)) => (2, ip.octets().to_vec()),
            Self::TorV3(key) => (4, key.to_vec()),
            Self::I2p(hash) => (5, hash.to_vec()),
            Self::Cjdns(ip) => (6, ip.octets().to_vec()),
            Self::Unknown { network, bytes } => (*network, bytes.clone()),
        }
    }

    /// From BIP155's parts. `None`: a known network whose address means nothing (to be skipped). An address of the
    /// wrong length on a known network spoils the whole message.
    fn from_parts(network: u8, bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        const WRONG: DecodeError =
            DecodeError::Malformed("addrv2: address has the wrong length for its network");
        let key = || <[u8; 32]>::try_from(bytes).map_err(|_| WRONG);
        let v6 = || <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from).map_err(|_| WRONG);
        Ok(match network {
            1 => Some(Self::Ip(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).map_err(|_| WRONG)?).into())),
            2 => {
                // IPv4 and Tor in IPv6's clothes are not allowed here.
                let ip = v6()?;
                let disguised = ip.to_ipv4_mapped().is_some() || ip.octets().starts_with(&ONION_CAT);
                (!disguised).then_some(Self::Ip(ip.into()))
            }
            3 if bytes.len() == 10 => None,
            3 => return Err(WRONG),
            4 => Some(Self::TorV3(key()?)),
            5 => Some(Self::I2p(key()?)),
            6 => Some(v6()?).filter(|ip| ip.octets()[0] == 0xfc).map(Self::Cjdns),
            _ => Some(Self::Unknown { network, bytes: bytes.to_vec() }),
        })
    }
}

/// A host and its port, in the 18-byte form of the old messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IPv6 address; IPv4 is mapped into it.
    pub ip: Ipv6Addr,
    /// Port; big-endian on the wire.
    pub port: u16,
}

impl Endpoint {
    /// No address.
    pub const UNSPECIFIED: Self = Self { ip: Ipv6Addr::UNSPECIFIED, port: 0 };
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip, port: address.port() }
    }
}

impl Encode for Endpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ip.octets());
        out.extend_from_slice(&self.port.to_be_bytes());
    }
}

impl Decode for Endpoint {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self { ip: Ipv6Addr::from(reader.array::<16>()?), port: u16::from_be_bytes(reader.array()?) })
    }
}

/// An address somebody has heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrEntry {
    /// When it was last seen up, Unix seconds.
    pub time: u32,
    /// What it is said to offer.
    pub services: Services,
    /// The host.
    pub address: NetAddr,
    /// Its port.
    pub port: u16,
}

/// `addr` carries IP addresses only: others are left out.
pub(super) fn encode_addr(entries: &[AddrEntry], out: &mut Vec<u8>) {
    let ips: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.address {
            NetAddr::Ip(ip) => Some((entry, Endpoint::from(SocketAddr::new(ip, entry.port)))),
            _ => None,
        })
        .collect();
    encode_compact_size(ips.len() as u64, out);
    for (entry, endpoint) in ips {
        out.extend_from_slice(&entry.time.to_le_bytes());
        out.extend_from_slice(&entry.services.0.to_le_bytes());
        endpoint.encode(out);
    }
}

pub(super) fn decode_addr(reader: &mut Reader<'_>) -> Result<Vec<AddrEntry>, DecodeError> {
    let count = super::bounded_count(reader, "addresses", 30, MAX_ADDRESSES)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (time, services) = (reader.u32_le()?, Services(reader.u64_le()?));
        let Endpoint { ip, port } = Endpoint::decode(reader, Form::default())?;
        if !ip.octets().starts_with(&ONION_CAT) {
            let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
            entries.push(AddrEntry { time, services, address: NetAddr::Ip(ip), port });
        }
    }
    Ok(entries)
}

pub(super) fn encode_addrv2(entries: &[AddrEntry], out: &mut Vec<u8>) {
    encode_compact_size(entries.len() as u64, out);
    for entry in entries {
        entry.encode(out);
    }
}

pub(super) fn decode_addrv2(reader: &mut Reader<'_>) -> Result<Vec<AddrEntry>, DecodeError> {
    let count = super::bounded_count(reader, "addresses", 9, MAX_ADDRESSES)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.extend(decode_entry(reader)?);
    }
    Ok(entries)
}

/// One entry in `addrv2` form; `None` where its address is to be skipped.
pub(crate) fn decode_entry(reader: &mut Reader<'_>) -> Result<Option<AddrEntry>, DecodeError> {
    let time = reader.u32_le()?;
    let services = Services(reader.compact_size()?);
    let network = reader.u8()?;
    let address = NetAddr::from_parts(network, reader.bytes("address", MAX_UNKNOWN_ADDRESS)?)?;
    let port = u16::from_be_bytes(reader.array()?);
    Ok(address.map(|address| AddrEntry { time, services, address, port }))
}

impl Encode for AddrEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        let (network, bytes) = self.address.to_parts();
        out.extend_from_slice(&self.time.to_le_bytes());
        encode_compact_size(self.services.0, out);
        out.push(network);
        encode_bytes(&bytes, out);
        out.extend_from_slice(&self.port.to_be_bytes());
    }
}
