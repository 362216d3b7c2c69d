//! Calls: names to addresses, addresses to open connections, and the connections a user wants kept up.

use std::net::SocketAddr;
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

/// The address of `host:port`, or `host` with the coin's port.
pub(super) async fn resolve(name: &str, port: u16) -> Result<SocketAddr, TransportError> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let found = match bare.parse::<std::net::IpAddr>() {
        Ok(ip) => return Ok(SocketAddr::new(ip, port)),
        Err(_) if has_port(name) => timeout(LOOKUP_TIMEOUT, lookup_host(name)).await,
        Err(_) => {
            return match timeout(LOOKUP_TIMEOUT, lookup_host((name, port))).await {
                Ok(found) => first(found?, name),
                Err(_) => Err(TransportError::Timeout),
            };
        }
    };
    match found {
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

fn has_port(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
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
