//! The network's thread: feeds the state machine and does what it says.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rand::SeedableRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::connection::{Common, Connection, FromPeer};
use super::dial::{Manual, ManualState, ask_seed, dial, resolve};
use super::transport::{OPEN_TIMEOUT, Opened, open_inbound};
use super::{Command, NetTotals, StartError};
use crate::message::{AddrEntry, Services};
use crate::{AddrBook, ConnectionKind, Event, Options, Output, PeerId, Peers, Time, View};

/// How often the state machine is told the time.
const TICK: Duration = Duration::from_millis(50);
/// Messages read and not yet handled, over all peers.
const MAX_INBOX: usize = 1_024;
/// Bytes of them.
const MAX_INBOX_BYTES: usize = 64 << 20;
/// Callers whose transport is being opened.
const MAX_OPENING: usize = 256;
/// Of one host: so that a single one cannot keep all others at the door.
const MAX_OPENING_PER_HOST: usize = 32;
/// Messages handled before outputs are looked at.
const BATCH: usize = 64;
/// How often the address book is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// How often DNS seeds are asked while the address book is empty.
const SEED_INTERVAL: Duration = Duration::from_secs(60);

/// What tasks other than connections tell the network's thread.
enum Report {
    /// A connection is open.
    Opened {
        address: SocketAddr,
        local: Option<SocketAddr>,
        kind: ConnectionKind,
        manual: Option<String>,
        opened: Box<Opened>,
    },
    /// The transport of a caller from there could not be opened.
    NotOpened(IpAddr),
    /// A call came to nothing.
    DialFailed { address: Option<SocketAddr>, manual: Option<String>, reason: String },
    /// Somebody calls.
    Accepted(TcpStream, SocketAddr),
    /// A DNS seed answered.
    Seeded(Vec<AddrEntry>),
}

/// Time since the epoch that never goes back.
struct Clock {
    started: Instant,
    epoch: Duration,
}

impl Clock {
    fn now(&self) -> Time {
        self.epoch + self.started.elapsed()
    }
}

struct Driver {
    options: Options,
    view: Arc<dyn View>,
    peers: Peers,
    clock: Clock,
    connections: HashMap<PeerId, Connection>,
    manual: Vec<Manual>,
    common: Common,
    reports: mpsc::Sender<Report>,
    events: mpsc::UnboundedSender<Event>,
    /// Callers whose transport is being opened, by host.
    opening: HashMap<IpAddr, usize>,
    totals: NetTotals,
    saved: Time,
    seeded: Time,
    /// Who asked to stop, and waits until that is done.
    stopping: Vec<oneshot::Sender<()>>,
    /// Where connections and calls run; the loop itself has a thread of its own.
    tasks: tokio::runtime::Handle,
}

/// Binds the listeners and starts the thread.
pub(super) async fn spawn(
    options: Options,
    view: Arc<dyn View>,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Vec<SocketAddr>, StartError> {
    let (reports, reported) = mpsc::channel(256);
    let mut listening = Vec::new();
    let mut listeners = Vec::new();
    for &address in &options.listen {
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        listening.push(listener.local_addr().map_err(listen)?);
        listeners.push(listener);
    }
    for listener in listeners {
        tokio::spawn(accept(listener, reports.clone()));
    }
    let clock = Clock {
        started: Instant::now(),
        epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
    };
    let now = clock.now();
    let (inbox, messages) = mpsc::channel(MAX_INBOX);
    let mut peers = Peers::new(options.clone(), rand::rng().random(), now);
    load_book(&options, &mut peers);
    let names = options.connect.iter().chain(&options.add_nodes);
    let driver = Driver {
        manual: names.map(|name| Manual::new(name.clone(), options.coin, now)).collect(),
        common: Common {
            view: Arc::clone(&view),
            form: options.coin.form,
            inbox,
            budget: Arc::new(Semaphore::new(MAX_INBOX_BYTES)),
        },
        options,
        view,
        peers,
        clock,
        connections: HashMap::new(),
        reports,
        events,
        opening: HashMap::new(),
        totals: NetTotals::default(),
        saved: now,
        seeded: now,
        stopping: Vec::new(),
        tasks: tokio::runtime::Handle::current(),
    };
    // Its own timer: the thread outlives the runtime it was started from by as long as it takes to see that all
    // handles are gone.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(StartError::Thread)?;
    std::thread::Builder::new()
        .name("network".into())
        .spawn(move || runtime.block_on(driver.run(commands, messages, reported)))
        .map_err(StartError::Thread)?;
    Ok(listening)
}

async fn accept(listener: TcpListener, reports: mpsc::Sender<Report>) {
    loop {
        tokio::select! {
            () = reports.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    if reports.send(Report::Accepted(stream, address)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others will be closed.
                    tracing::warn!(%error, "cannot take a peer's connection");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut messages: mpsc::Receiver<FromPeer>,
        mut reported: mpsc::Receiver<Report>,
    ) {
        self.ask_seeds();
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.stopping.is_empty() && !self.events.is_closed() {
            tokio::select! {
                biased;
                _ = ticker.tick() => self.tick(),
                command = commands.recv() => match command {
                    Some(command) => {
                        self.command(command);
                        for _ in 0..BATCH {
                            let Ok(command) = commands.try_recv() else { break };
                            self.command(command);
                        }
                    }
                    None => break,
                },
                Some(report) = reported.recv() => self.report(report),
                Some(message) = messages.recv() => {
                    self.message(message);
                    for _ in 0..BATCH {
                        let Ok(message) = messages.try_recv() else { break };
                        self.message(message);
                    }
                }
            }
            self.carry_out();
        }
        self.connections.clear();
        self.save_book();
        // Once the book is written, and not written again.
        for done in self.stopping {
            let _ = done.send(());
        }
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        for (&peer, connection) in &self.connections {
            let sent = connection.take_sent();
            if sent > 0 {
                self.totals.sent += sent;
                self.peers.sent(peer, sent, now);
            }
        }
        self.peers.tick(now, &*self.view);
        if now.saturating_sub(self.saved) >= SAVE_INTERVAL {
            self.saved = now;
            self.save_book();
        }
        if now.saturating_sub(self.seeded) >= SEED_INTERVAL {
            self.seeded = now;
            self.ask_seeds();
        }
        for place in 0..self.manual.len() {
            if matches!(self.manual[place].state, ManualState::Waiting(at) if at <= now)
                && self.peers.is_active()
            {
                self.manual[place].state = ManualState::Dialing;
                self.dial_manual(self.manual[place].name.clone());
            }
        }
    }

    fn message(&mut self, input: FromPeer) {
        let now = self.clock.now();
        match input {
            FromPeer::Message { peer, message, wire_bytes, _permit } => {
                self.totals.received += wire_bytes;
                self.peers.received(peer, message, wire_bytes, now, &*self.view);
            }
            FromPeer::Ended { peer, reason, malformed } => {
                if malformed {
                    self.peers.malformed(peer, &reason, now, &*self.view);
                } else {
                    self.peers.disconnected(peer, &reason, now, &*self.view);
                }
                self.close(peer);
            }
        }
    }

    fn report(&mut self, report: Report) {
        let now = self.clock.now();
        match report {
            Report::Accepted(stream, address) => self.accepted(stream, address, now),
            Report::NotOpened(host) => self.opened(host),
            Report::Opened { address, local, kind, manual, opened } => {
                if kind == ConnectionKind::Inbound {
                    self.opened(address.ip());
                }
                let id = self.peers.connected(address, local, kind, opened.session_id, now, &*self.view);
                if let Some(name) = manual
                    && let Some(manual) = self.manual.iter_mut().find(|manual| manual.name == name)
                {
                    match id {
                        Some(id) => manual.state = ManualState::Connected(id),
                        None => manual.failed(now),
                    }
                }
                if let Some(id) = id {
                    self.connections.insert(id, Connection::start(id, *opened, &self.common, &self.tasks));
                }
            }
            Report::DialFailed { address, manual, reason } => {
                if let Some(name) = manual {
                    let kept = self.manual.iter_mut().find(|manual| manual.name == name);
                    if kept.as_ref().is_none_or(|manual| manual.is_first_failure()) {
                        tracing::warn!(peer = name, reason, "cannot connect");
                    }
                    if let Some(manual) = kept {
                        manual.failed(now);
                    }
                } else if let Some(address) = address {
                    self.peers.dial_failed(address, now);
                }
            }
            Report::Seeded(entries) => {
                tracing::info!(count = entries.len(), "addresses from a DNS seed");
                for entry in entries {
                    // Each under its own group, as if told by itself: a seed is trusted with first addresses.
                    let source = match entry.address {
                        crate::message::NetAddr::Ip(ip) => ip,
                        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    };
                    self.peers.book_mut().add(&entry, &source, 0, now);
                }
            }
        }
    }

    /// A caller from there is at the door no longer.
    fn opened(&mut self, host: IpAddr) {
        if let Entry::Occupied(mut count) = self.opening.entry(host) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, address: SocketAddr, now: Time) {
        let host = address.ip();
        if self.opening.values().sum::<usize>() >= MAX_OPENING
            || self.opening.get(&host).is_some_and(|&count| count >= MAX_OPENING_PER_HOST)
        {
            tracing::debug!(%address, "caller turned away: too many are at the door");
            return;
        }
        if !self.peers.admits(&address, now) {
            tracing::debug!(%address, "caller turned away: misbehaved before, or the network is off");
            return;
        }
        *self.opening.entry(host).or_default() += 1;
        let (coin, encrypted, reports) = (self.options.coin, self.options.encrypted, self.reports.clone());
        let local = stream.local_addr().ok();
        self.tasks.spawn(async move {
            let report =
                match timeout(OPEN_TIMEOUT, open_inbound(stream, coin.magic, coin.form, encrypted)).await {
                    Ok(Ok(opened)) => Report::Opened {
                        address,
                        local,
                        kind: ConnectionKind::Inbound,
                        manual: None,
                        opened: Box::new(opened),
                    },
                    Ok(Err(error)) => {
                        tracing::debug!(%address, %error, "caller dropped");
                        Report::NotOpened(host)
                    }
                    Err(_) => {
                        tracing::debug!(%address, "caller dropped: took too long to say how it speaks");
                        Report::NotOpened(host)
                    }
                };
            let _ = reports.send(report).await; // the network has stopped: nobody to tell
        });
    }

    fn dial_manual(&self, name: String) {
        let (coin, encrypted, reports) = (self.options.coin, self.options.encrypted, self.reports.clone());
        self.tasks.spawn(async move {
            let result = match resolve(&name, coin.p2p_port).await {
                Ok(address) => dial(address, coin, encrypted).await.map(|opened| (address, opened)),
                Err(error) => Err(error),
            };
            let report = match result {
                Ok((address, (opened, local))) => Report::Opened {
                    address,
                    local,
                    kind: ConnectionKind::Manual,
                    manual: Some(name),
                    opened: Box::new(opened),
                },
                Err(error) => {
                    Report::DialFailed { address: None, manual: Some(name), reason: error.to_string() }
                }
            };
            let _ = reports.send(report).await; // the network has stopped: nobody to tell
        });
    }

    fn dial_address(&self, address: SocketAddr, kind: ConnectionKind, encrypted: bool) {
        let (coin, reports) = (self.options.coin, self.reports.clone());
        self.tasks.spawn(async move {
            let report = match dial(address, coin, encrypted).await {
                Ok((opened, local)) => {
                    Report::Opened { address, local, kind, manual: None, opened: Box::new(opened) }
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "call came to nothing");
                    Report::DialFailed { address: Some(address), manual: None, reason: error.to_string() }
                }
            };
            let _ = reports.send(report).await; // the network has stopped: nobody to tell
        });
    }

    fn command(&mut self, command: Command) {
        let (now, view) = (self.clock.now(), Arc::clone(&self.view));
        let view = &*view;
        match command {
            Command::HeadersVerdict(peer, verdict) => self.peers.headers_verdict(peer, verdict, now, view),
            Command::BlockVerdict(hash, verdict) => self.peers.block_verdict(hash, verdict, now, view),
            Command::TransactionVerdict(wtxid, verdict) => {
                self.peers.transaction_verdict(wtxid, verdict, now, view);
            }
            Command::TipChanged(block) => self.peers.tip_changed(block, now, view),
            Command::Relay { wtxid, txid, fee_rate } => self.peers.relay_transaction(wtxid, txid, fee_rate),
            Command::Connect(name) => {
                if !self.manual.iter().any(|manual| manual.name == name) {
                    self.manual.push(Manual::new(name, self.options.coin, now));
                }
            }
            Command::TryOnce(name) => self.dial_manual(name),
            Command::Forget(name) => self.manual.retain(|manual| manual.name != name),
            Command::Ask(peer, question) => self.peers.ask(peer, question, now, view),
            Command::Push(transaction) => self.peers.push_transaction(&transaction),
            Command::Punish(peer, reason) => self.peers.punish_peer(peer, &reason, now, view),
            Command::Disconnect(peer) => self.peers.disconnect(peer, now, view),
            Command::Discourage(host) => self.peers.discourage(host, now, view),
            Command::SetActive(active) => self.peers.set_active(active, now, view),
            Command::PingAll => self.peers.ping_all(now),
            // Below, who asked may have gone: that is all right.
            Command::Peers(answer) => {
                self.tick();
                let _ = answer.send(self.peers.infos(now, view));
            }
            Command::Totals(answer) => {
                let _ = answer.send(self.totals);
            }
            Command::Addresses(max, answer) => {
                let mut rng = rand::rngs::StdRng::from_rng(&mut rand::rng());
                let _ = answer.send(self.peers.book().sample(max, &mut rng, now));
            }
            Command::Stop(done) => self.stopping.push(done),
        }
    }

    /// Does what the state machine wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.peers.poll() {
            let (peer, keeps_up) = match output {
                Output::Send(peer, message) => {
                    (peer, self.connections.get(&peer).is_none_or(|connection| connection.send(message)))
                }
                Output::SendBlock { peer, hash, witness } => {
                    let connection = self.connections.get(&peer);
                    (peer, connection.is_none_or(|connection| connection.send_block(hash, witness)))
                }
                Output::SendFilters { peer, request } => {
                    let connection = self.connections.get(&peer);
                    (peer, connection.is_none_or(|connection| connection.send_filters(request)))
                }
                Output::Forget(peer) => {
                    let connected = ManualState::Connected(peer);
                    self.manual.retain(|manual| manual.state != connected);
                    continue;
                }
                Output::Dial { address, kind, encrypted } => {
                    self.dial_address(address, kind, encrypted);
                    continue;
                }
                Output::Disconnect { peer, .. } => {
                    self.close(peer);
                    continue;
                }
                Output::Established(peer) => {
                    let connected = ManualState::Connected(peer);
                    if let Some(manual) = self.manual.iter_mut().find(|manual| manual.state == connected) {
                        manual.established();
                    }
                    continue;
                }
                Output::Event(event) => {
                    let _ = self.events.send(event); // the loop sees that the node has gone
                    continue;
                }
            };
            if !keeps_up {
                tracing::info!(%peer, "peer does not read what it is sent: dropped");
                let now = self.clock.now();
                self.peers.disconnected(peer, "does not read what it is sent", now, &*self.view);
                self.close(peer);
            }
        }
    }

    fn close(&mut self, peer: PeerId) {
        if let Some(connection) = self.connections.remove(&peer) {
            self.totals.sent += connection.take_sent();
        }
        let now = self.clock.now();
        let connected = ManualState::Connected(peer);
        if let Some(manual) = self.manual.iter_mut().find(|manual| manual.state == connected) {
            manual.failed(now);
        }
    }

    fn ask_seeds(&self) {
        if !self.options.connect.is_empty() || !self.peers.book().is_empty() {
            return;
        }
        let coin = self.options.coin;
        let mut services = Services::NETWORK;
        if coin.form.witness {
            services = services.with(Services::WITNESS);
        }
        if self.options.light {
            services = services.with(Services::COMPACT_FILTERS);
        }
        for seed in self.options.seeds.clone() {
            // Seeds that filter by services have them in hex before their name; others do not answer to it.
            let seed = if self.options.light { format!("x{:x}.{seed}", services.0) } else { seed };
            let (reports, now) = (self.reports.clone(), self.clock.now());
            self.tasks.spawn(async move {
                let entries = ask_seed(seed, coin.p2p_port, services, now).await;
                let _ = reports.send(Report::Seeded(entries)).await; // the network has stopped
            });
        }
    }

    fn save_book(&self) {
        let Some(path) = &self.options.address_book else { return };
        if !self.options.connect.is_empty() {
            return;
        }
        if let Err(error) = write_atomically(path, &self.peers.book().to_bytes()) {
            tracing::warn!(path = %path.display(), %error, "cannot write the address book");
        }
    }
}

fn load_book(options: &Options, peers: &mut Peers) {
    let Some(path) = &options.address_book else { return };
    match std::fs::read(path) {
        Ok(bytes) => match AddrBook::from_bytes(&bytes) {
            Ok(book) => *peers.book_mut() = book,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "address book unusable: a new one is begun");
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot read the address book"),
    }
}

/// A reader sees the old file or the new one, never a piece.
fn write_atomically(path: &PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
