//! The ports: sockets that listen before anything else of the pool is ready.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::FrontError;
use crate::config::PoolConfig;

/// Connections waiting to be accepted: when a pool comes back, everybody connects at once. The system may have a
/// lower bound (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;
/// Seconds of silence after which TCP asks whether the miner is still there.
const KEEPALIVE_SECONDS: u64 = 120;
/// Serving threads at most: beyond it the log's one writer is the limit.
const THREADS_MAX: usize = 8;

/// All ports, listening: once for each serving thread, so that the system shares connections out evenly among them. A miner
/// that connects is in at once, and is heard when the pool serves: what it says until then waits in its socket.
#[derive(Debug)]
pub struct Listeners {
    /// For each thread, a socket for each port.
    pub(super) of_threads: Vec<Vec<TcpListener>>,
    /// In the order of the settings, with the ports the system chose.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Listens on the ports of the settings.
    pub fn bind(config: &PoolConfig) -> Result<Self, FrontError> {
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX),
            threads => threads.min(64),
        };
        let mut of_threads: Vec<Vec<TcpListener>> = (0..threads).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for port in &config.ports {
            let mut address = port.bind;
            for (number, own) in of_threads.iter_mut().enumerate() {
                let listener =
                    listen(address, number == 0).map_err(|source| FrontError::Bind { address, source })?;
                address = listener.local_addr().unwrap_or(address);
                own.push(listener);
            }
            addresses.push(address);
        }
        Ok(Self { of_threads, addresses })
    }
}

/// A listening socket. `first`: fails where anyone listens there already; else shares the port with the first. What is set
/// here is inherited by every connection accepted (Linux), which saves system calls there.
fn listen(address: SocketAddr, first: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = Duration::from_secs(KEEPALIVE_SECONDS);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / 4))?;
    if !first {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    // Set before the bind, it would let another pool of the same user's share the port.
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortConfig;

    #[test]
    fn threads_share_a_port_and_two_pools_do_not() {
        let port = |bind| PortConfig { bind, ..PortConfig::default() };
        let any =
            PoolConfig { ports: vec![port(([127, 0, 0, 1], 0).into())], threads: 3, ..PoolConfig::default() };
        let first = Listeners::bind(&any).unwrap();
        assert_eq!(first.of_threads.len(), 3);
        for own in &first.of_threads {
            assert_eq!(own[0].local_addr().unwrap(), first.addresses[0]);
        }
        let same = PoolConfig { ports: vec![port(first.addresses[0])], ..any };
        let refused = Listeners::bind(&same).unwrap_err().to_string();
        assert!(refused.contains("is another pool running?"), "{refused}");
        drop(first);
        Listeners::bind(&same).unwrap();
    }
}
