//! From a socket to messages and back: opening a connection plain (v1) or encrypted (BIP324), reading messages
//! within bounds, wrapping what is to be sent.

use std::io;
use std::time::Duration;

use bip324::{
    CipherSession, GarbageResult, Handshake, InboundCipher, Initialized, OutboundCipher, PacketType,
    ReceivedKey, Role, VersionResult,
};
use lode_primitives::{DecodeError, Form};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::Message;
use crate::frame::{self, FrameError, FrameHeader, HEADER_LEN};
use crate::message::MAX_PAYLOAD;

/// A transport is opened by then or never.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// A started message must go on to come within this, or its sender is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest payload before the protocol's handshake is done: strangers get no more memory.
const MAX_EARLY_PAYLOAD: usize = 64 * 1024;
/// Bytes of a long message read from the socket at once.
const CHUNK: usize = 64 * 1024;
/// Bytes read ahead of what is being looked at: what a quiet connection costs.
const AHEAD: usize = 8 * 1024;
/// Longest garbage with its terminator (BIP324).
const MAX_GARBAGE: usize = 4095 + 16;
/// Most random bytes we put before our own terminator.
const OWN_GARBAGE: usize = 256;
/// An encrypted packet's bytes beside its contents: header and tag, the length not counted.
const PACKET_EXTRA: usize = 1 + 16;
/// Decoys read before the version packet.
const MAX_HANDSHAKE_DECOYS: usize = 16;

/// Why a connection cannot be opened or read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("took too long")]
    Timeout,
    #[error("does not speak the encrypted transport")]
    Plain,
    #[error("encrypted transport: {0}")]
    Cipher(String),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0:?} message with a wrong checksum")]
    Checksum(String),
    #[error("{command:?} message: {source}")]
    Decode { command: String, source: DecodeError },
    #[error("message of {0} bytes before the handshake is done")]
    Early(usize),
}

impl TransportError {
    /// The bytes themselves are at fault, not the line.
    pub(super) const fn is_malformed(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Closed | Self::Timeout | Self::Plain)
    }
}

impl From<bip324::Error> for TransportError {
    fn from(error: bip324::Error) -> Self {
        match error {
            bip324::Error::V1Protocol => Self::Plain,
            other => Self::Cipher(other.to_string()),
        }
    }
}

/// Bytes from a socket with a look ahead.
struct Incoming {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    at: usize,
}

impl Incoming {
    fn available(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads until at least `count` bytes are there.
    async fn fill(&mut self, count: usize) -> Result<(), TransportError> {
        while self.available().len() < count {
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.reserve(AHEAD);
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err(TransportError::Closed);
            }
        }
        Ok(())
    }

    async fn array<const N: usize>(&mut self) -> Result<[u8; N], TransportError> {
        self.fill(N).await?;
        let out = std::array::from_fn(|i| self.buffer[self.at + i]);
        self.at += N;
        Ok(out)
    }

    /// The next `len` bytes. Room is made as they come, not as they are promised.
    async fn bytes(&mut self, len: usize) -> Result<Vec<u8>, TransportError> {
        let here = self.available().len().min(len);
        let mut out = Vec::with_capacity(len.min(here.max(CHUNK)));
        out.extend_from_slice(&self.available()[..here]);
        self.at += here;
        while out.len() < len {
            let missing = (len - out.len()) as u64;
            out.reserve(missing.min(CHUNK as u64) as usize);
            let mut limited = (&mut self.half).take(missing);
            match tokio::time::timeout(READ_TIMEOUT, limited.read_buf(&mut out)).await {
                Err(_) => return Err(TransportError::Timeout),
                Ok(Ok(0)) => return Err(TransportError::Closed),
                Ok(result) => result?,
            };
        }
        Ok(out)
    }
}

/// The reading side of an open connection.
pub(super) struct Reading {
    incoming: Incoming,
    cipher: Option<InboundCipher>,
    magic: [u8; 4],
    form: Form,
}

/// The writing side of an open connection.
pub(super) struct Writing {
    pub(super) half: OwnedWriteHalf,
    cipher: Option<OutboundCipher>,
    magic: [u8; 4],
}

/// An open connection.
pub(super) struct Opened {
    pub(super) reading: Reading,
    pub(super) writing: Writing,
    pub(super) session_id: Option<[u8; 32]>,
}

/// Opens a connection that we made.
pub(super) async fn open_outbound(
    stream: TcpStream,
    magic: [u8; 4],
    form: Form,
    encrypted: bool,
) -> Result<Opened, TransportError> {
    let (mut incoming, mut half) = split(stream);
    let session =
        if encrypted { Some(encrypt(&mut incoming, &mut half, magic, Role::Initiator).await?) } else { None };
    Ok(opened(incoming, half, session, magic, form))
}

/// Opens a connection that was made to us: plain where it starts as a plain one does.
pub(super) async fn open_inbound(
    stream: TcpStream,
    magic: [u8; 4],
    form: Form,
    encrypted: bool,
) -> Result<Opened, TransportError> {
    let (mut incoming, mut half) = split(stream);
    let mut start = [0; 16];
    start[..4].copy_from_slice(&magic);
    start[4..11].copy_from_slice(b"version");
    incoming.fill(start.len()).await?;
    let first = &incoming.available()[..start.len()];
    let other_network = first[4..] == start[4..] && first[..4] != magic;
    if other_network {
        return Err(FrameError::Magic(std::array::from_fn(|i| first[i])).into());
    }
    let session = if encrypted && first != start {
        Some(encrypt(&mut incoming, &mut half, magic, Role::Responder).await?)
    } else {
        None
    };
    Ok(opened(incoming, half, session, magic, form))
}

fn split(stream: TcpStream) -> (Incoming, OwnedWriteHalf) {
    let _ = stream.set_nodelay(true); // a wish, not a need
    let (read, write) = stream.into_split();
    (Incoming { half: read, buffer: Vec::new(), at: 0 }, write)
}

fn opened(
    incoming: Incoming,
    half: OwnedWriteHalf,
    session: Option<CipherSession>,
    magic: [u8; 4],
    form: Form,
) -> Opened {
    let session_id = session.as_ref().map(|session| *session.id());
    let (inbound, outbound) = session.map(CipherSession::into_split).unzip();
    Opened {
        reading: Reading { incoming, cipher: inbound, magic, form },
        writing: Writing { half, cipher: outbound, magic },
        session_id,
    }
}

/// BIP324's handshake. A peer that closes the connection without a word is taken for one that does not know it.
async fn encrypt(
    incoming: &mut Incoming,
    half: &mut OwnedWriteHalf,
    magic: [u8; 4],
    role: Role,
) -> Result<CipherSession, TransportError> {
    let mut garbage = vec![0; rand::rng().random_range(0..OWN_GARBAGE)];
    rand::rng().fill(&mut garbage[..]);
    let handshake = Handshake::<Initialized>::new(magic, role)?;
    let mut out = vec![0; Handshake::<Initialized>::send_key_len(Some(&garbage))];
    let handshake = handshake.send_key(Some(&garbage), &mut out)?;
    half.write_all(&out).await?;
    let key = match incoming.array::<64>().await {
        Ok(key) => key,
        Err(TransportError::Closed | TransportError::Io(_)) if role == Role::Initiator => {
            return Err(TransportError::Plain);
        }
        Err(error) => return Err(error),
    };
    let handshake = handshake.receive_key(key)?;
    let mut out = vec![0; Handshake::<ReceivedKey<'_>>::send_version_len(None)];
    let mut handshake = handshake.send_version(&mut out, None)?;
    half.write_all(&out).await?;

    let mut seen = Vec::new();
    let (mut handshake, used) = loop {
        incoming.fill(1).await?;
        let take = incoming.available().len().min(MAX_GARBAGE.saturating_sub(seen.len()).max(1));
        seen.extend_from_slice(&incoming.available()[..take]);
        incoming.at += take;
        match handshake.receive_garbage(&seen)? {
            GarbageResult::FoundGarbage { handshake, consumed_bytes } => break (handshake, consumed_bytes),
            GarbageResult::NeedMoreData(same) => handshake = same,
        }
    };
    // What was read beyond the terminator goes back.
    incoming.at -= seen.len() - used;
    for _ in 0..MAX_HANDSHAKE_DECOYS {
        let len = handshake.decrypt_packet_len(incoming.array().await?)?;
        if len > MAX_EARLY_PAYLOAD {
            return Err(TransportError::Early(len));
        }
        let mut packet = incoming.bytes(len).await?;
        match handshake.receive_version(&mut packet)? {
            VersionResult::Complete { cipher } => return Ok(cipher),
            VersionResult::Decoy(same) => handshake = same,
        }
    }
    Err(TransportError::Cipher("too many decoys".into()))
}

impl Reading {
    /// The next message and the bytes it took on the wire. `early`: the handshake is not done. There is no limit on
    /// how long a message may take to begin: pings see to that.
    pub(super) async fn next(&mut self, early: bool) -> Result<(Message, u64), TransportError> {
        loop {
            let packet = match self.cipher {
                None => Some(self.next_plain(early).await?),
                Some(_) => self.next_encrypted(early).await?,
            };
            if let Some(packet) = packet {
                return Ok(packet);
            }
        }
    }

    async fn next_plain(&mut self, early: bool) -> Result<(Message, u64), TransportError> {
        let header = FrameHeader::parse(&self.incoming.array::<HEADER_LEN>().await?, self.magic)?;
        if header.len > MAX_EARLY_PAYLOAD && early {
            return Err(TransportError::Early(header.len));
        }
        let payload = self.incoming.bytes(header.len).await?;
        if frame::checksum(&payload) != header.checksum {
            return Err(TransportError::Checksum(header.command));
        }
        let message = self.decode(header.command, &payload)?;
        Ok((message, (HEADER_LEN + payload.len()) as u64))
    }

    async fn next_encrypted(&mut self, early: bool) -> Result<Option<(Message, u64)>, TransportError> {
        let length = self.incoming.array::<3>().await?;
        let Some(cipher) = &mut self.cipher else { return Ok(None) };
        let len = cipher.decrypt_packet_len(length);
        if len > MAX_PAYLOAD + frame::COMMAND_LEN + 1 + PACKET_EXTRA || (len > MAX_EARLY_PAYLOAD && early) {
            return Err(TransportError::Early(len));
        }
        let mut packet = self.incoming.bytes(len).await?;
        let Some(cipher) = &mut self.cipher else { return Ok(None) };
        let (kind, contents) = cipher.decrypt_in_place(&mut packet, None)?;
        if kind == PacketType::Decoy {
            return Ok(None);
        }
        let (command, payload) = frame::split_v2(contents.get(1..).unwrap_or_default())?;
        let message = self.decode(command, payload)?;
        Ok(Some((message, (len + length.len()) as u64)))
    }

    fn decode(&self, command: String, payload: &[u8]) -> Result<Message, TransportError> {
        Message::decode(&command, payload, self.form)
            .map_err(|source| TransportError::Decode { command, source })
    }
}

impl Writing {
    /// The bytes to send for a message.
    pub(super) fn wrap(&mut self, message: &Message) -> Vec<u8> {
        let mut payload = Vec::new();
        message.encode_payload(&mut payload);
        self.wrap_raw(message.command(), &payload)
    }

    /// The bytes to send for a payload at hand.
    pub(super) fn wrap_raw(&mut self, command: &str, payload: &[u8]) -> Vec<u8> {
        match &mut self.cipher {
            None => frame::encode_v1_raw(command, payload, self.magic),
            Some(cipher) => {
                cipher.encrypt_to_vec(&frame::encode_v2_raw(command, payload), PacketType::Genuine, None)
            }
        }
    }
}
