//! `version`: the first message each way.

use std::fmt;

use lode_primitives::{Decode, DecodeError, Encode, Form, Reader, encode_bytes};

use super::Endpoint;

/// Longest user agent read, in bytes (reference client's `MAX_SUBVERSION_LENGTH`).
const MAX_USER_AGENT: usize = 256;

/// Service bits: what a peer offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Services(pub u64);

impl Services {
    /// Serves all blocks.
    pub const NETWORK: Self = Self(1);
    /// Serves witnesses (BIP144).
    pub const WITNESS: Self = Self(1 << 3);
    /// Serves compact block filters (BIP157).
    pub const COMPACT_FILTERS: Self = Self(1 << 6);
    /// Serves the last 288 blocks (BIP159).
    pub const NETWORK_LIMITED: Self = Self(1 << 10);
    /// Speaks the encrypted transport (BIP324).
    pub const P2P_V2: Self = Self(1 << 11);

    /// All bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who a peer is and what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Protocol version.
    pub version: i32,
    /// What the sender offers.
    pub services: Services,
    /// The sender's clock, Unix seconds.
    pub time: i64,
    /// The receiver as the sender sees it, with the services it thinks it has.
    pub receiver: (Services, Endpoint),
    /// The sender as it sees itself; today all zero.
    pub sender: (Services, Endpoint),
    /// Random, to notice a connection to oneself.
    pub nonce: u64,
    /// What the sender calls itself (BIP14).
    pub user_agent: String,
    /// The sender's best height.
    pub start_height: i32,
    /// The sender wants transactions announced (BIP37).
    pub relay: bool,
}

impl Encode for Version {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.services.0.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        for (services, endpoint) in [&self.receiver, &self.sender] {
            out.extend_from_slice(&services.0.to_le_bytes());
            endpoint.encode(out);
        }
        out.extend_from_slice(&self.nonce.to_le_bytes());
        encode_bytes(self.user_agent.as_bytes(), out);
        out.extend_from_slice(&self.start_height.to_le_bytes());
        out.push(u8::from(self.relay));
    }
}

impl Decode for Version {
    /// As the reference client: what very old versions leave out at the end gets defaults.
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        let mut out = Self {
            version: reader.i32_le()?,
            services: Services(reader.u64_le()?),
            time: reader.i64_le()?,
            receiver: (Services(reader.u64_le()?), Endpoint::decode(reader, form)?),
            sender: (Services(0), Endpoint::UNSPECIFIED),
            nonce: 0,
            user_agent: String::new(),
            start_height: 0,
            relay: true,
        };
        if reader.remaining() > 0 {
            out.sender = (Services(reader.u64_le()?), Endpoint::decode(reader, form)?);
            out.nonce = reader.u64_le()?;
        }
        if reader.remaining() > 0 {
            let agent = reader.bytes("user agent", MAX_USER_AGENT)?;
            // Strangers' text goes to logs: printable ASCII only.
            out.user_agent = agent
                .iter()
                .map(|&byte| if byte == b' ' || byte.is_ascii_graphic() { byte as char } else { '?' })
                .collect();
        }
        if reader.remaining() > 0 {
            out.start_height = reader.i32_le()?;
        }
        if reader.remaining() > 0 {
            out.relay = reader.u8()? != 0;
        }
        Ok(out)
    }
}
