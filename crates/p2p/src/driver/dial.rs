//! Calls: names to addresses, addresses to open connections, and the connections a user wants kept up.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use lode_coins::Coin;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::transport::{OPEN_TIMEOUT, Opened, TransportError, open_outbound};
use crate::message::{AddrEntry, NetAddr, Services};
use crate::{PeerId, Time};

/// A TCP connection stands by then or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A name is looked up by then or never.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait before a broken connection is made anew, doubled up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// See [`FIRST_WAIT`].
const MAX_WAIT: Duration = Duration::from_secs(60);
/// On private networks, where nobody is burdened.
const MAX_PRIVATE_WAIT: Duration = Duration::from_secs(2);
/// Addresses taken from one seed.
const MAX_SEEDED: usize = 256;

/// Calls an address: encrypted first where that is wanted, plain if the other side does not know it.
pub(super) async fn dial(
    address: SocketAddr,
    coin: &'static Coin,
    encrypted: bool,
) -> Result<(Opened, Option<SocketAddr>), TransportError> {
    match call(address, coin, encrypted).await {
        Err(TransportError::Plain) => call(address, coin, false).await,
        other => other,
    }
}

async fn call(
    address: SocketAddr,
    coin: &'static Coin,
    encrypted: bool,
) -> Result<(Opened, Option<SocketAddr>), TransportError> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| TransportError::Timeout)??;
    let local = stream.local_addr().ok();
    let opened = timeout(OPEN_TIMEOUT, open_outbound(stream, coin.magic, coin.form, encrypted))
        .await
        .map_err(|_| TransportError::Timeout)??;
    Ok((opened, local))
}

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} names no peer: {reason}; write HOST, HOST:PORT or [IPV6]:PORT")]
pub struct NameError {
    /// The text.
    name: String,
    /// What is wrong with it.
    reason: &'static str,
}

/// Host and port of a peer as people name it: `host`, `host:port`, `[ipv6]:port`, or an IPv6 address by itself. Whether
/// there is such a host is not asked.
///
/// # Errors
/// What is wrong with the name.
pub fn parse_name(name: &str) -> Result<(&str, Option<u16>), NameError> {
    let wrong = |reason| NameError { name: name.to_owned(), reason };
    let (host, port) = match name.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong("what is in brackets is no IPv6 address"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(wrong("behind the bracket only :PORT may follow")),
            }
        }
        None if name.parse::<Ipv6Addr>().is_ok() => (name, None),
        None => name.split_once(':').map_or((name, None), |(host, port)| (host, Some(port))),
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err(wrong("a port is a number from 1 to 65535")),
    };
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(of_a_name) {
        return Err(wrong("the host is neither a name nor an IP address"));
    }
    Ok((host, port))
}

/// The address of a peer named `name`, at the coin's `port` unless it says another.
pub(super) async fn resolve(name: &str, port: u16) -> Result<SocketAddr, TransportError> {
    let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
    let (host, own_port) = parse_name(name).map_err(invalid)?;
    let port = own_port.unwrap_or(port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    match timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await {
        Ok(found) => first(found?, name),
        Err(_) => Err(TransportError::Timeout),
    }
}

fn first(mut found: impl Iterator<Item = SocketAddr>, name: &str) -> Result<SocketAddr, TransportError> {
    found.next().ok_or_else(|| {
        let what = format!("no address for {name:?}");
        TransportError::Io(std::io::Error::new(std::io::ErrorKind::NotFound, what))
    })
}

/// The addresses a DNS seed answers with, as if told a few days ago.
pub(super) async fn ask_seed(seed: String, port: u16, services: Services, now: Time) -> Vec<AddrEntry> {
    match timeout(LOOKUP_TIMEOUT, lookup_host((seed.as_str(), port))).await {
        Ok(Ok(found)) => found
            .take(MAX_SEEDED)
            .map(|address| AddrEntry {
                time: u32::try_from(now.as_secs().saturating_sub(4 * 24 * 60 * 60)).unwrap_or(u32::MAX),
                services,
                address: NetAddr::Ip(address.ip()),
                port,
            })
            .collect(),
        Ok(Err(error)) => {
            tracing::warn!(seed, %error, "DNS seed does not answer");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(seed, "DNS seed does not answer in time");
            Vec::new()
        }
    }
}

/// Where a kept-up connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ManualState {
    /// To be called at this time.
    Waiting(Time),
    /// Being called.
    Dialing,
    /// Up.
    Connected(PeerId),
}

/// A connection the user wants.
#[derive(Clone, Debug)]
pub(super) struct Manual {
    pub(super) name: String,
    pub(super) state: ManualState,
    wait: Duration,
    private: bool,
}

impl Manual {
    pub(super) fn new(name: String, coin: &Coin, now: Time) -> Self {
        Self { name, state: ManualState::Waiting(now), wait: FIRST_WAIT, private: coin.network.is_private() }
    }

    /// It has not failed since it last stood: worth a word.
    pub(super) fn is_first_failure(&self) -> bool {
        self.wait == FIRST_WAIT
    }

    /// It broke or never stood: called again after a wait.
    pub(super) fn failed(&mut self, now: Time) {
        self.state = ManualState::Waiting(now + self.wait);
        let max = if self.private { MAX_PRIVATE_WAIT } else { MAX_WAIT };
        self.wait = (self.wait * 2).min(max);
    }

    /// Its handshake is done.
    pub(super) fn established(&mut self) {
        self.wait = FIRST_WAIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peers() {
        for (name, host, port) in [
            ("node.example", "node.example", None),
            ("node.example:18444", "node.example", Some(18444)),
            ("10.0.0.1", "10.0.0.1", None),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[2001:db8::1]:8333", "2001:db8::1", Some(8333)),
        ] {
            assert_eq!(parse_name(name), Ok((host, port)), "{name}");
        }
        for name in [
            "",
            ":8333",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "a b",
            "[::1",
            "[host]:1",
            "[::1]1",
            "a/b",
        ] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }
}
