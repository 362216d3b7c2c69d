//! What goes around a payload: 24 bytes of header with a checksum on a plain connection (v1), and one byte of short
//! id, or a name, inside an encrypted packet (v2, BIP324).

use lode_primitives::{Form, sha256d};

use crate::message::{MAX_PAYLOAD, Message, max_payload};

/// Bytes of a v1 header: magic, name, length, checksum.
pub const HEADER_LEN: usize = 24;
/// Bytes of a message's name on the wire, zero padded.
pub const COMMAND_LEN: usize = 12;

/// Why a frame is refused. The connection has to end then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first four bytes are of another network, or it is no frame at all.
    #[error("message starts with {0:02x?}, which is not this network's magic")]
    Magic([u8; 4]),
    /// The name is not printable ASCII padded with zeros.
    #[error("message name {0:02x?} is not a name")]
    Command([u8; COMMAND_LEN]),
    /// The payload is longer than its message allows.
    #[error("{command:?} message of {len} bytes, at most {max} are taken")]
    TooLong {
        /// The message's name.
        command: String,
        /// Its announced length.
        len: usize,
        /// The most taken.
        max: usize,
    },
    /// A packet without content where a message was expected.
    #[error("empty packet")]
    Empty,
}

/// A v1 frame's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The message's name.
    pub command: String,
    /// Bytes of payload that follow; within the bound of that message.
    pub len: usize,
    /// First four bytes of the payload's SHA-256d.
    pub checksum: [u8; 4],
}

impl FrameHeader {
    /// Reads a header, refusing another network's magic, names that are none, and payloads over their bound.
    pub fn parse(bytes: &[u8; HEADER_LEN], magic: [u8; 4]) -> Result<Self, FrameError> {
        let part = |at: usize| -> [u8; 4] { std::array::from_fn(|i| bytes[at + i]) };
        if part(0) != magic {
            return Err(FrameError::Magic(part(0)));
        }
        let command = command_from_bytes(&std::array::from_fn(|i| bytes[4 + i]))?;
        let len = check_len(&command, u32::from_le_bytes(part(16)) as usize)?;
        Ok(Self { command, len, checksum: part(20) })
    }
}

/// The payload's checksum in a v1 frame.
pub fn checksum(payload: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256d(payload);
    [a, b, c, d]
}

/// A whole v1 frame around raw payload.
pub fn encode_v1_raw(command: &str, payload: &[u8], magic: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
    out.extend_from_slice(&magic);
    out.extend_from_slice(&command_to_bytes(command));
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(payload));
    out.extend_from_slice(payload);
    out
}

/// A whole v1 frame.
pub fn encode_v1(message: &Message, magic: [u8; 4]) -> Vec<u8> {
    let mut payload = Vec::new();
    message.encode_payload(&mut payload);
    encode_v1_raw(message.command(), &payload, magic)
}

/// The contents of a v2 packet around raw payload.
pub fn encode_v2_raw(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 13);
    match SHORT_IDS.iter().position(|&name| name == command) {
        Some(place) => out.push(place as u8 + 1),
        None => {
            out.push(0);
            out.extend_from_slice(&command_to_bytes(command));
        }
    }
    out.extend_from_slice(payload);
    out
}

/// The contents of a v2 packet.
pub fn encode_v2(message: &Message) -> Vec<u8> {
    let mut payload = Vec::new();
    message.encode_payload(&mut payload);
    encode_v2_raw(message.command(), &payload)
}

/// Name and payload of a v2 packet's contents. Short ids not known here give an unknown message.
pub fn split_v2(contents: &[u8]) -> Result<(String, &[u8]), FrameError> {
    let (&id, rest) = contents.split_first().ok_or(FrameError::Empty)?;
    let (command, payload) = match id {
        0 => {
            let (name, payload) = rest.split_first_chunk::<COMMAND_LEN>().ok_or(FrameError::Empty)?;
            (command_from_bytes(name)?, payload)
        }
        _ => match SHORT_IDS.get(usize::from(id) - 1) {
            Some(&name) => (name.to_owned(), rest),
            None => (format!("shortid{id}"), rest),
        },
    };
    check_len(&command, payload.len())?;
    Ok((command, payload))
}

/// Reads a whole v1 frame's payload, for tests and fuzzing: `None` where the bytes are no good.
pub fn decode_v1(bytes: &[u8], magic: [u8; 4], form: Form) -> Option<Message> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let header = FrameHeader::parse(header, magic).ok()?;
    if payload.len() != header.len || checksum(payload) != header.checksum {
        return None;
    }
    Message::decode(&header.command, payload, form).ok()
}

fn check_len(command: &str, len: usize) -> Result<usize, FrameError> {
    let max = max_payload(command).min(MAX_PAYLOAD);
    if len > max {
        return Err(FrameError::TooLong { command: command.to_owned(), len, max });
    }
    Ok(len)
}

fn command_to_bytes(command: &str) -> [u8; COMMAND_LEN] {
    let mut out = [0; COMMAND_LEN];
    for (to, from) in out.iter_mut().zip(command.bytes()) {
        *to = from;
    }
    out
}

fn command_from_bytes(bytes: &[u8; COMMAND_LEN]) -> Result<String, FrameError> {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(COMMAND_LEN);
    let (name, padding) = bytes.split_at(len);
    let printable = name.iter().all(|byte| (0x20..0x7f).contains(byte));
    if !printable || padding.iter().any(|&byte| byte != 0) {
        return Err(FrameError::Command(*bytes));
    }
    Ok(name.iter().map(|&byte| char::from(byte)).collect())
}

/// BIP324's one-byte message ids, from 1.
const SHORT_IDS: [&str; 28] = [
    "addr",
    "block",
    "blocktxn",
    "cmpctblock",
    "feefilter",
    "filteradd",
    "filterclear",
    "filterload",
    "getblocks",
    "getblocktxn",
    "getdata",
    "getheaders",
    "headers",
    "inv",
    "mempool",
    "merkleblock",
    "notfound",
    "ping",
    "pong",
    "sendcmpct",
    "tx",
    "getcfilters",
    "cfilter",
    "getcfheaders",
    "cfheaders",
    "getcfcheckpt",
    "cfcheckpt",
    "addrv2",
];
