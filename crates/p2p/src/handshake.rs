//! The first messages each way: `version`, what is agreed before `verack`, and what is said first after it.

use lode_primitives::Height;

use crate::limits::{MIN_PEER_VERSION, PROTOCOL_VERSION};
use crate::message::{Endpoint, Services, Version};
use crate::peer::Stage;
use crate::peers::{Output, Peers, Step};
use crate::{ConnectionKind, Event, Message, Options, PeerId, View};

impl Peers {
    /// What we offer.
    pub(crate) fn services(&self, view: &dyn View) -> Services {
        if self.options.light {
            return if self.options.encrypted { Services::P2P_V2 } else { Services(0) };
        }
        let mut services = Services::NETWORK_LIMITED;
        if view.offers_filters() {
            services = services.with(Services::COMPACT_FILTERS);
        }
        if !self.options.pruned {
            services = services.with(Services::NETWORK);
        }
        if self.options.coin.form.witness {
            services = services.with(Services::WITNESS);
        }
        if self.options.encrypted {
            services = services.with(Services::P2P_V2);
        }
        services
    }

    pub(crate) fn send_version(&mut self, id: PeerId, step: &Step<'_>) {
        let services = self.services(step.view);
        let Some(peer) = self.peers.get(&id) else { return };
        let relay = self.options.relay_transactions
            && !matches!(peer.kind, ConnectionKind::BlockRelay | ConnectionKind::Feeler);
        let version = Version {
            version: PROTOCOL_VERSION,
            services,
            time: step.now.as_secs() as i64,
            receiver: (peer.services(), Endpoint::from(peer.address)),
            sender: (services, Endpoint::UNSPECIFIED),
            nonce: peer.nonce,
            user_agent: self.options.user_agent.clone(),
            start_height: i32::try_from(step.view.tip().height).unwrap_or(i32::MAX),
            relay,
        };
        self.send(id, Message::Version(version));
    }

    pub(crate) fn on_handshake(&mut self, id: PeerId, message: Message, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match (peer.stage, message) {
            (Stage::AwaitVersion, Message::Version(version)) => self.on_version(id, version, step),
            (Stage::AwaitVerack, Message::WtxidRelay) => peer.relay.wtxid = true,
            (Stage::AwaitVerack, Message::SendAddrV2) => peer.addresses.v2 = true,
            (Stage::AwaitVerack, Message::Verack) => self.on_verack(id, step),
            // Some peers say these before they may.
            (Stage::AwaitVerack, Message::SendHeaders) => peer.send_headers = true,
            (Stage::AwaitVerack, Message::SendCmpct { high_bandwidth, version: 2 }) => {
                peer.compact.supported = true;
                peer.compact.wants_at_once = high_bandwidth;
            }
            (_, message) => {
                tracing::debug!(peer = %id, command = message.command(), "before the handshake is done: ignored");
            }
        }
    }

    fn on_version(&mut self, id: PeerId, version: Version, step: &Step<'_>) {
        let ours = self.peers.values().any(|peer| !peer.is_inbound() && peer.nonce == version.nonce);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.is_inbound() && ours {
            return self.drop_peer(id, "connection to ourselves", step);
        }
        if version.version < MIN_PEER_VERSION {
            let reason = format!("protocol version {} is too old", version.version);
            return self.drop_peer(id, &reason, step);
        }
        if let Some(lack) = lacking(peer.kind, version.services, &self.options) {
            return self.drop_peer(id, lack, step);
        }
        let (kind, address, services) = (peer.kind, peer.address, version.services);
        let speaks_wtxid = version.version >= PROTOCOL_VERSION;
        peer.relay.wanted = version.relay && self.options.relay_transactions;
        peer.addresses.enabled = kind != ConnectionKind::BlockRelay && kind != ConnectionKind::Feeler;
        peer.stage = Stage::AwaitVerack;
        peer.version = Some(version);
        if kind == ConnectionKind::Inbound {
            self.send_version(id, step);
        } else {
            self.book.connected(&address, services, step.now);
        }
        if speaks_wtxid {
            self.send(id, Message::WtxidRelay);
            self.send(id, Message::SendAddrV2);
        }
        self.send(id, Message::Verack);
        if kind == ConnectionKind::Feeler {
            self.book.succeeded(&address, step.now);
            self.drop_peer(id, "feeler: it answers", step);
        }
    }

    fn on_verack(&mut self, id: PeerId, step: &Step<'_>) {
        let uses_book = self.uses_book();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.stage = Stage::Ready;
        let (kind, address) = (peer.kind, peer.address);
        let services = peer.services();
        let (agent, height) =
            peer.version.as_ref().map_or((String::new(), 0), |v| (v.user_agent.clone(), v.start_height));
        let ask_addresses = uses_book && kind == ConnectionKind::Outbound;
        if ask_addresses {
            peer.expect_addresses();
        }
        if !peer.is_inbound() {
            self.book.succeeded(&address, step.now);
        }
        tracing::info!(
            peer = %id, %address, kind = ?kind, agent, height,
            height_ours = step.view.tip().height as Height, "peer connected"
        );
        self.out.push_back(Output::Established(id));
        self.out.push_back(Output::Event(Event::Connected {
            peer: id,
            address,
            inbound: kind == ConnectionKind::Inbound,
            services,
        }));
        self.send(id, Message::SendCmpct { high_bandwidth: false, version: 2 });
        self.send(id, Message::SendHeaders);
        if ask_addresses {
            self.send(id, Message::GetAddr);
        }
        self.send_ping(id, step.now);
        self.start_headers_if_due(id, step);
    }
}

/// What a peer we called must offer, or we had better call another. The user's own choice is always taken.
fn lacking(kind: ConnectionKind, services: Services, options: &Options) -> Option<&'static str> {
    if matches!(kind, ConnectionKind::Inbound | ConnectionKind::Manual | ConnectionKind::Feeler) {
        return None;
    }
    if !services.has(Services::NETWORK) && !services.has(Services::NETWORK_LIMITED) {
        return Some("serves no blocks");
    }
    if options.light && !services.has(Services::COMPACT_FILTERS) {
        return Some("serves no compact filters");
    }
    if options.coin.form.witness && !services.has(Services::WITNESS) {
        return Some("serves no witnesses");
    }
    None
}
