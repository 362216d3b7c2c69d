//! Network: peers, addresses, bans.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lode_p2p::{ConnectionKind, PeerId, PeerInfo};
use serde_json::{Map, Value, json};

use crate::lists::Subnet;
use crate::node::Node;
use crate::rpc::error::{RpcError, code};
use crate::rpc::json;
use crate::rpc::params::{Kind, Params, opt, req};
use crate::rpc::table::{Method, Run};

/// How long `setban` bans unless told otherwise, in seconds.
const BAN_SECONDS: i64 = 24 * 60 * 60;
/// Service bits and their names.
const SERVICES: [(u32, &str); 6] = [
    (0, "NETWORK"),
    (2, "BLOOM"),
    (3, "WITNESS"),
    (6, "COMPACT_FILTERS"),
    (10, "NETWORK_LIMITED"),
    (11, "P2P_V2"),
];

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "addnode",
        args: &[
            req("node", Kind::Text, "HOST:PORT, or HOST with the coin's port."),
            req(
                "command",
                Kind::Text,
                "\"add\" to keep a connection up, \"remove\" to stop that, \"onetry\" to try once.",
            ),
            opt(
                "v2transport",
                Kind::Bool,
                "Not used: encryption is tried first, plain connections are the fall-back.",
            ),
        ],
        about: "Adds a peer to call, removes it from the list, or calls it once.",
        run: Run::Work(add_node),
    },
    Method {
        name: "clearbanned",
        args: &[],
        about: "Lifts all bans.",
        run: Run::Work(|node, _| {
            node.bans.clear();
            Ok(Value::Null)
        }),
    },
    Method {
        name: "disconnectnode",
        args: &[
            opt("address", Kind::Text, "The peer's HOST:PORT."),
            opt("nodeid", Kind::Number, "The peer's id in getpeerinfo."),
        ],
        about: "Ends the connection with one peer, told by its address or its id.",
        run: Run::Wait(|node, params| Box::pin(async move { disconnect(&node, &params).await })),
    },
    Method {
        name: "getaddednodeinfo",
        args: &[opt("node", Kind::Text, "Only this one.")],
        about: "Tells of the peers given to addnode, and whether they are connected.",
        run: Run::Wait(|node, params| Box::pin(async move { added_nodes(&node, &params).await })),
    },
    Method {
        name: "getconnectioncount",
        args: &[],
        about: "Counts connections.",
        run: Run::Wait(|node, _| Box::pin(async move { Ok(node.peers().await.len().into()) })),
    },
    Method {
        name: "getnettotals",
        args: &[],
        about: "Tells how many bytes were sent and received.",
        run: Run::Wait(|node, _| {
            Box::pin(async move {
                let totals = match node.p2p() {
                    Some(p2p) => p2p.totals().await,
                    None => lode_p2p::NetTotals::default(),
                };
                Ok(json!({
                    "totalbytesrecv": totals.received,
                    "totalbytessent": totals.sent,
                    "timemillis": now().as_millis() as u64,
                    "uploadtarget": {
                        "timeframe": 86400, "target": 0, "target_reached": false, "serve_historical_blocks": true,
                        "bytes_left_in_cycle": 0, "time_left_in_cycle": 0,
                    },
                }))
            })
        }),
    },
    Method {
        name: "getnetworkinfo",
        args: &[],
        about: "Tells how this node takes part in the network.",
        run: Run::Wait(|node, _| Box::pin(async move { Ok(network_info(&node).await) })),
    },
    Method {
        name: "getnodeaddresses",
        args: &[
            opt("count", Kind::Number, "At most so many; 0 for all. Default 1."),
            opt("network", Kind::Text, "Only of this network: ipv4, ipv6."),
        ],
        about: "Gives known addresses of other nodes, picked at random.",
        run: Run::Wait(|node, params| Box::pin(async move { addresses(&node, &params).await })),
    },
    Method {
        name: "getpeerinfo",
        args: &[],
        about: "Tells of every connection.",
        run: Run::Wait(|node, _| {
            Box::pin(async move {
                let peers = node.peers().await;
                Ok(peers.iter().map(|peer| peer_info(&node, peer)).collect())
            })
        }),
    },
    Method {
        name: "listbanned",
        args: &[],
        about: "Lists the bans made with setban.",
        run: Run::Work(|node, _| {
            let now = now().as_secs() as i64;
            let bans = node.bans.list(now);
            Ok(bans
                .into_iter()
                .map(|(subnet, created, until)| {
                    json!({
                        "address": subnet.to_string(),
                        "ban_created": created,
                        "banned_until": until,
                        "ban_duration": until - created,
                        "time_remaining": until - now,
                    })
                })
                .collect())
        }),
    },
    Method {
        name: "ping",
        args: &[],
        about: "Pings every peer; getpeerinfo shows how long they take.",
        run: Run::Work(|node, _| {
            if let Some(p2p) = node.p2p() {
                p2p.ping_all();
            }
            Ok(Value::Null)
        }),
    },
    Method {
        name: "setban",
        args: &[
            req(
                "subnet",
                Kind::Text,
                "An IP address, or ADDRESS/BITS or ADDRESS/NETMASK for all that begin alike.",
            ),
            req("command", Kind::Text, "\"add\" or \"remove\"."),
            opt("bantime", Kind::Number, "Seconds to ban for; 0 or nothing for 24 hours."),
            opt("absolute", Kind::Bool, "bantime is a Unix time."),
        ],
        about: "Bans a host or a subnet, or lifts its ban. Bans outlast a restart.",
        run: Run::Wait(|node, params| Box::pin(async move { set_ban(&node, &params).await })),
    },
    Method {
        name: "setnetworkactive",
        args: &[req("state", Kind::Bool, "true to take part in the network.")],
        about: "Takes part in the network, or ends all connections and makes no new ones.",
        run: Run::Work(|node, params| {
            let state = params.bool(0).unwrap_or(true);
            if let Some(p2p) = node.p2p() {
                p2p.set_active(state);
            }
            node.network_active.store(state, std::sync::atomic::Ordering::Relaxed);
            Ok(state.into())
        }),
    },
];

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn no_network() -> RpcError {
    RpcError::new(code::CLIENT_NOT_CONNECTED, "This node takes no part in the network")
}

fn add_node(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let address = params.required_text(0)?.to_string();
    let p2p = node.p2p().ok_or_else(no_network)?;
    match params.required_text(1)? {
        "onetry" => p2p.try_once(address),
        "add" => {
            if !node.added.insert(address.clone()) {
                return Err(RpcError::new(code::CLIENT_NODE_ALREADY_ADDED, "Error: Node already added"));
            }
            p2p.connect(address);
        }
        "remove" => {
            if !node.added.remove(&address) {
                return Err(RpcError::new(
                    code::CLIENT_NODE_NOT_ADDED,
                    "Error: Node could not be removed. It has not been added previously.",
                ));
            }
            p2p.forget(address);
        }
        other => {
            return Err(RpcError::misc(format!(
                "addnode knows \"add\", \"remove\" and \"onetry\", not \"{other}\""
            )));
        }
    }
    Ok(Value::Null)
}

async fn disconnect(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let p2p = node.p2p().ok_or_else(no_network)?;
    let peers = node.peers().await;
    let address = params.text(0).filter(|address| !address.is_empty());
    let found = match (address, params.int(1)?) {
        (Some(address), None) => peers.iter().find(|peer| peer.address.to_string() == address),
        (None, Some(id)) => peers.iter().find(|peer| i64::try_from(peer.id.0) == Ok(id)),
        _ => {
            return Err(RpcError::new(-32602, "Only one of address and nodeid should be provided."));
        }
    };
    match found {
        Some(peer) => {
            p2p.disconnect(peer.id);
            Ok(Value::Null)
        }
        None => Err(RpcError::new(code::CLIENT_NODE_NOT_CONNECTED, "Node not found in connected nodes")),
    }
}

async fn added_nodes(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let peers = node.peers().await;
    let mut list = node.added.list();
    if let Some(only) = params.text(0) {
        list.retain(|address| address == only);
        if list.is_empty() {
            return Err(RpcError::new(code::CLIENT_NODE_NOT_ADDED, "Error: Node has not been added."));
        }
    }
    Ok(list
        .into_iter()
        .map(|address| {
            let connected = peers.iter().find(|peer| peer.address.to_string() == address);
            let addresses: Vec<Value> = connected
                .map(|peer| json!({"address": peer.address.to_string(), "connected": direction(peer)}))
                .into_iter()
                .collect();
            json!({"addednode": address, "connected": connected.is_some(), "addresses": addresses})
        })
        .collect())
}

const fn direction(peer: &PeerInfo) -> &'static str {
    if matches!(peer.kind, ConnectionKind::Inbound) { "inbound" } else { "outbound" }
}

fn network_of(host: &IpAddr) -> &'static str {
    if host.is_ipv4() { "ipv4" } else { "ipv6" }
}

fn service_names(services: u64) -> Vec<String> {
    (0..64)
        .filter(|bit| services >> bit & 1 == 1)
        .map(|bit| {
            SERVICES
                .iter()
                .find(|(known, _)| *known == bit)
                .map_or_else(|| format!("UNKNOWN[2^{bit}]"), |(_, name)| (*name).to_string())
        })
        .collect()
}

async fn network_info(node: &Arc<Node>) -> Value {
    let peers = node.peers().await;
    let inbound = peers.iter().filter(|peer| matches!(peer.kind, ConnectionKind::Inbound)).count();
    let services = node.services();
    let networks: Vec<Value> = ["ipv4", "ipv6", "onion", "i2p", "cjdns"]
        .iter()
        .map(|name| {
            let reachable = name.starts_with("ipv");
            json!({
                "name": name, "limited": !reachable, "reachable": reachable, "proxy": "",
                "proxy_randomize_credentials": false,
            })
        })
        .collect();
    json!({
        "version": crate::VERSION_NUMBER,
        "subversion": crate::user_agent(),
        "protocolversion": 70016,
        "localservices": format!("{services:016x}"),
        "localservicesnames": service_names(services),
        "localrelay": true,
        "timeoffset": 0,
        "networkactive": node.network_active.load(std::sync::atomic::Ordering::Relaxed),
        "connections": peers.len(),
        "connections_in": inbound,
        "connections_out": peers.len() - inbound,
        "networks": networks,
        "relayfee": json::amount(node.coin.min_relay_fee),
        "incrementalfee": json::amount(node.coin.min_relay_fee),
        "localaddresses": [],
        "warnings": node.warnings(),
    })
}

fn peer_info(node: &Node, peer: &PeerInfo) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.into(), value);
    };
    put("id", peer.id.0.into());
    put("addr", peer.address.to_string().into());
    if let Some(local) = peer.local_address {
        put("addrbind", local.to_string().into());
    }
    put(
        "network",
        if peer.address.ip().is_loopback() {
            "not_publicly_routable"
        } else {
            network_of(&peer.address.ip())
        }
        .into(),
    );
    put("services", format!("{:016x}", peer.services).into());
    put("servicesnames", service_names(peer.services).into());
    put("relaytxes", peer.relay_transactions.into());
    put("last_inv_sequence", 0.into());
    put("inv_to_send", 0.into());
    put("lastsend", peer.last_send.into());
    put("lastrecv", peer.last_receive.into());
    put("last_transaction", peer.last_transaction.into());
    put("last_block", peer.last_block.into());
    put("bytessent", peer.bytes_sent.into());
    put("bytesrecv", peer.bytes_received.into());
    put("conntime", peer.connected_at.into());
    put("timeoffset", peer.time_offset.into());
    for (key, time) in [("pingtime", peer.ping), ("minping", peer.min_ping), ("pingwait", peer.ping_wait)] {
        if let Some(time) = time {
            put(key, time.as_secs_f64().into());
        }
    }
    put("version", peer.version.into());
    put("subver", peer.user_agent.clone().into());
    put("inbound", matches!(peer.kind, ConnectionKind::Inbound).into());
    put("bip152_hb_to", peer.high_bandwidth_to.into());
    put("bip152_hb_from", peer.high_bandwidth_from.into());
    put("presynced_headers", (-1).into());
    put("synced_headers", peer.synced_headers.map_or(Value::from(-1), Value::from));
    put("synced_blocks", peer.synced_blocks.map_or(Value::from(-1), Value::from));
    put("inflight", node.heights_of(&peer.in_flight).into());
    put(
        "addr_relay_enabled",
        (!matches!(peer.kind, ConnectionKind::BlockRelay | ConnectionKind::Feeler)).into(),
    );
    put("addr_processed", 0.into());
    put("addr_rate_limited", 0.into());
    put("permissions", Value::Array(Vec::new()));
    put("minfeefilter", json::feerate(peer.fee_filter));
    put("bytessent_per_msg", json!({}));
    put("bytesrecv_per_msg", json!({}));
    let kind = match peer.kind {
        ConnectionKind::Inbound => "inbound",
        ConnectionKind::Manual => "manual",
        ConnectionKind::Outbound => "outbound-full-relay",
        ConnectionKind::BlockRelay => "block-relay-only",
        ConnectionKind::Feeler => "feeler",
    };
    put("connection_type", kind.into());
    let transport = match (peer.established, peer.encrypted) {
        (false, false) => "detecting",
        (_, true) => "v2",
        (true, false) => "v1",
    };
    put("transport_protocol_type", transport.into());
    put("session_id", peer.session_id.map_or_else(String::new, hex::encode).into());
    out.into()
}

async fn addresses(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let count = params.int(0)?.unwrap_or(1);
    let count = usize::try_from(count).map_err(|_| RpcError::parameter("Address count out of range"))?;
    let network = params.text(1);
    if let Some(name) = network
        && !["ipv4", "ipv6", "onion", "i2p", "cjdns"].contains(&name)
    {
        return Err(RpcError::parameter(format!("Network not recognized: {name}")));
    }
    let p2p = node.p2p().ok_or_else(no_network)?;
    let count = if count == 0 { usize::MAX } else { count };
    let known = p2p.addresses(count).await;
    Ok(known.iter().filter_map(|entry| address_json(entry, network)).collect())
}

fn address_json(entry: &lode_p2p::message::AddrEntry, network: Option<&str>) -> Option<Value> {
    let lode_p2p::message::NetAddr::Ip(host) = &entry.address else { return None };
    let name = network_of(host);
    if network.is_some_and(|wanted| wanted != name) {
        return None;
    }
    Some(json!({
        "time": entry.time,
        "services": entry.services.0,
        "address": host.to_string(),
        "port": entry.port,
        "network": name,
    }))
}

async fn set_ban(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let text = params.required_text(0)?;
    let subnet: Subnet = text
        .parse()
        .map_err(|()| RpcError::new(code::CLIENT_INVALID_IP_OR_SUBNET, "Error: Invalid IP/Subnet"))?;
    match params.required_text(1)? {
        "add" => {
            let now = now().as_secs() as i64;
            let until = match (params.int(2)?.unwrap_or(0), params.bool(3).unwrap_or(false)) {
                (0, _) => now + BAN_SECONDS,
                (time, true) => time,
                (seconds, false) => now.saturating_add(seconds),
            };
            if until <= now {
                return Err(RpcError::parameter("Error: Absolute timestamp is in the past"));
            }
            if !node.bans.add(subnet, now, until) {
                return Err(RpcError::new(
                    code::CLIENT_NODE_ALREADY_ADDED,
                    "Error: IP/Subnet already banned",
                ));
            }
            if let Some(p2p) = node.p2p() {
                let ids: Vec<PeerId> = node
                    .peers()
                    .await
                    .iter()
                    .filter(|peer| subnet.contains(peer.address.ip()))
                    .map(|peer| peer.id)
                    .collect();
                for id in ids {
                    p2p.disconnect(id);
                }
            }
        }
        "remove" => {
            if !node.bans.remove(&subnet) {
                return Err(RpcError::new(
                    code::CLIENT_INVALID_IP_OR_SUBNET,
                    "Error: Unban failed. Requested address/subnet was not previously manually banned.",
                ));
            }
        }
        other => return Err(RpcError::misc(format!("setban knows \"add\" and \"remove\", not \"{other}\""))),
    }
    Ok(Value::Null)
}
