//! Every message's wire form: what is written reads back, and no bytes whatever make the reader panic.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use lode_p2p::Message;
use lode_p2p::frame::{FrameError, FrameHeader, HEADER_LEN, decode_v1, encode_v1, encode_v2, split_v2};
use lode_p2p::message::*;
use lode_primitives::merkle::PartialTree;
use lode_primitives::{
    Block, BlockHash, DecodeError, Form, Hash256, Header, MerkleNode, Multiplier, Transaction, Txid,
};
use proptest::collection::vec;
use proptest::prelude::*;

const BITCOIN: Form = Form { witness: true, data: false, multiplier: false };
const PRIME: Form = Form { witness: false, data: true, multiplier: true };

fn round_trip(message: &Message, form: Form) {
    let mut payload = Vec::new();
    message.encode_payload(&mut payload);
    assert_eq!(&Message::decode(message.command(), &payload, form).unwrap(), message);
    let framed = encode_v1(message, [1, 2, 3, 4]);
    assert_eq!(&decode_v1(&framed, [1, 2, 3, 4], form).unwrap(), message);
    assert!(decode_v1(&framed, [1, 2, 3, 5], form).is_none());
    let packet = encode_v2(message);
    let (command, rest) = split_v2(&packet).unwrap();
    assert_eq!((command.as_str(), rest), (message.command(), &payload[..]));
}

fn hash() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn header(form: Form) -> impl Strategy<Value = Header> {
    let multiplier = vec(any::<u8>(), 0..40);
    (any::<i32>(), hash(), hash(), any::<u32>(), any::<u32>(), any::<u32>(), multiplier).prop_map(
        move |(version, prev, root, time, bits, nonce, multiplier)| Header {
            version,
            prev: BlockHash(prev),
            merkle_root: MerkleNode(root),
            time,
            bits,
            nonce,
            multiplier: form.multiplier.then(|| Multiplier::from_le_magnitude(&multiplier)),
        },
    )
}

fn transaction(form: Form) -> impl Strategy<Value = Transaction> {
    (any::<u32>(), vec(hash(), 0..3), vec(any::<u8>(), 0..20)).prop_map(move |(seed, parents, data)| {
        let parents: Vec<Txid> = parents.into_iter().map(Txid).collect();
        let mut transaction = common::transaction(seed, &parents);
        if !form.witness {
            transaction.inputs.iter_mut().for_each(|input| input.witness.0.clear());
        }
        transaction.data = form.data.then_some(data);
        transaction
    })
}

fn net_addr() -> impl Strategy<Value = NetAddr> {
    prop_oneof![
        any::<u32>().prop_map(|ip| NetAddr::Ip(IpAddr::V4(Ipv4Addr::from(ip)))),
        any::<u128>().prop_map(|ip| NetAddr::Ip(IpAddr::V6(Ipv6Addr::from(ip | 1 << 125)))),
        hash().prop_map(NetAddr::TorV3),
        hash().prop_map(NetAddr::I2p),
        any::<u128>().prop_map(|ip| NetAddr::Cjdns(Ipv6Addr::from(ip >> 8 | 0xfc << 120))),
        (7u8.., vec(any::<u8>(), 0..512)).prop_map(|(network, bytes)| NetAddr::Unknown { network, bytes }),
    ]
}

fn entry(address: impl Strategy<Value = NetAddr>) -> impl Strategy<Value = AddrEntry> {
    (any::<u32>(), any::<u64>(), address, any::<u16>()).prop_map(|(time, services, address, port)| {
        AddrEntry { time, services: Services(services), address, port }
    })
}

fn items() -> impl Strategy<Value = Vec<InvItem>> {
    let item = (any::<u32>(), hash())
        .prop_map(|(kind, hash)| InvItem { kind: InvKind::from_u32(kind), hash: Hash256(hash) });
    vec(item, 0..50)
}

fn hashes() -> impl Strategy<Value = Vec<Hash256>> {
    vec(hash().prop_map(Hash256), 0..30)
}

fn locator() -> impl Strategy<Value = Locator> {
    (any::<u32>(), vec(hash().prop_map(BlockHash), 0..=MAX_LOCATOR), hash())
        .prop_map(|(version, hashes, stop)| Locator { version, hashes, stop: BlockHash(stop) })
}

fn version() -> impl Strategy<Value = Version> {
    let endpoint = || {
        (any::<u64>(), any::<u128>(), any::<u16>())
            .prop_map(|(services, ip, port)| (Services(services), Endpoint { ip: ip.into(), port }))
    };
    (
        any::<i32>(),
        any::<u64>(),
        any::<i64>(),
        endpoint(),
        endpoint(),
        any::<u64>(),
        "[ -~]{0,256}",
        any::<i32>(),
        any::<bool>(),
    )
        .prop_map(
            |(version, services, time, receiver, sender, nonce, user_agent, start_height, relay)| Version {
                version,
                services: Services(services),
                time,
                receiver,
                sender,
                nonce,
                user_agent,
                start_height,
                relay,
            },
        )
}

fn indexes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::btree_set(0usize..16_000, 0..40).prop_map(|set| set.into_iter().collect())
}

fn compact(form: Form) -> impl Strategy<Value = CompactBlock> {
    (header(form), any::<u64>(), vec(0u64..1 << 48, 0..40), vec(transaction(form), 1..5), any::<u64>())
        .prop_map(|(header, nonce, short_ids, whole, spread)| {
            let total = short_ids.len() + whole.len();
            // Ascending places within the block, some next to one another.
            let mut free: Vec<usize> = (0..total).collect();
            while free.len() > whole.len() {
                free.remove((spread as usize) % free.len());
            }
            let prefilled = free
                .into_iter()
                .zip(whole)
                .map(|(index, transaction)| PrefilledTx { index, transaction })
                .collect();
            CompactBlock { header, nonce, short_ids, prefilled }
        })
}

fn small() -> impl Strategy<Value = Message> {
    prop_oneof![
        version().prop_map(Message::Version),
        Just(Message::Verack),
        Just(Message::WtxidRelay),
        Just(Message::SendAddrV2),
        Just(Message::SendHeaders),
        Just(Message::GetAddr),
        Just(Message::Mempool),
        (any::<bool>(), any::<u64>())
            .prop_map(|(high_bandwidth, version)| Message::SendCmpct { high_bandwidth, version }),
        any::<i64>().prop_map(Message::FeeFilter),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
        vec(entry(any::<u32>().prop_map(|ip| NetAddr::Ip(Ipv4Addr::from(ip).into()))), 0..20)
            .prop_map(Message::Addr),
        vec(entry(net_addr()), 0..20).prop_map(Message::AddrV2),
        items().prop_map(Message::Inv),
        items().prop_map(Message::GetData),
        items().prop_map(Message::NotFound),
        locator().prop_map(Message::GetHeaders),
        locator().prop_map(Message::GetBlocks),
        (hash(), indexes()).prop_map(|(hash, indexes)| Message::GetBlockTxn(GetBlockTxn {
            block: BlockHash(hash),
            indexes
        })),
    ]
}

fn filters() -> impl Strategy<Value = Message> {
    let start = || (any::<u8>(), any::<u32>(), hash());
    prop_oneof![
        start().prop_map(|(filter_type, start_height, stop)| Message::GetCFilters(GetCFilters {
            filter_type,
            start_height,
            stop: BlockHash(stop)
        })),
        start().prop_map(|(filter_type, start_height, stop)| Message::GetCFHeaders(GetCFHeaders {
            filter_type,
            start_height,
            stop: BlockHash(stop)
        })),
        start().prop_map(|(filter_type, _, stop)| Message::GetCFCheckpt(GetCFCheckpt {
            filter_type,
            stop: BlockHash(stop)
        })),
        (any::<u8>(), hash(), vec(any::<u8>(), 0..300)).prop_map(|(filter_type, block, filter)| {
            Message::CFilter(CFilter { filter_type, block: BlockHash(block), filter })
        }),
        (any::<u8>(), hash(), hash(), hashes()).prop_map(|(filter_type, stop, previous, filter_hashes)| {
            Message::CFHeaders(CFHeaders {
                filter_type,
                stop: BlockHash(stop),
                previous: Hash256(previous),
                filter_hashes,
            })
        }),
        (any::<u8>(), hash(), hashes()).prop_map(|(filter_type, stop, headers)| {
            Message::CFCheckpt(CFCheckpt { filter_type, stop: BlockHash(stop), headers })
        }),
    ]
}

fn chain_data(form: Form) -> impl Strategy<Value = Message> {
    let transactions = move || vec(transaction(form), 1..6);
    prop_oneof![
        vec(header(form), 0..20).prop_map(Message::Headers),
        (header(form), transactions())
            .prop_map(|(header, transactions)| Message::Block(Arc::new(Block { header, transactions }))),
        transaction(form).prop_map(|transaction| Message::Tx(Arc::new(transaction))),
        compact(form).prop_map(|compact| Message::CmpctBlock(Arc::new(compact))),
        (hash(), transactions()).prop_map(|(hash, transactions)| {
            Message::BlockTxn(BlockTxn { block: BlockHash(hash), transactions })
        }),
        (header(form), vec(any::<bool>(), 1..40)).prop_map(|(header, matches)| {
            let txids: Vec<Txid> =
                (0..matches.len()).map(|i| Txid(lode_primitives::sha256d(&[i as u8]))).collect();
            // As it reads back: flag bits come in whole bytes.
            let tree = PartialTree::new(&txids, &matches);
            let tree = lode_primitives::Decode::from_bytes(
                &lode_primitives::Encode::to_bytes(&tree),
                Form::default(),
            );
            Message::MerkleBlock { header, tree: tree.unwrap() }
        }),
    ]
}

proptest! {
    #[test]
    fn small_messages_read_back(message in small()) {
        round_trip(&message, BITCOIN);
    }

    #[test]
    fn filter_messages_read_back(message in filters()) {
        round_trip(&message, BITCOIN);
    }

    #[test]
    fn chain_data_reads_back(message in chain_data(BITCOIN)) {
        round_trip(&message, BITCOIN);
    }

    #[test]
    fn chain_data_of_prime_chains_reads_back(message in chain_data(PRIME)) {
        round_trip(&message, PRIME);
    }

    #[test]
    fn strangers_bytes_do_not_panic(which in 0..=COMMANDS.len(), bytes in vec(any::<u8>(), 0..600)) {
        for form in [BITCOIN, PRIME] {
            let _ = Message::decode(COMMANDS.get(which).copied().unwrap_or("nonsense"), &bytes, form);
        }
        let _ = split_v2(&bytes);
        if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
            let _ = FrameHeader::parse(header, [bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }

    /// Nearer to the truth: a real message with one byte changed or its end cut off.
    #[test]
    fn damaged_messages_do_not_panic(
        message in prop_oneof![small(), filters(), chain_data(BITCOIN)],
        at: prop::sample::Index,
        byte: u8,
        cut: prop::sample::Index,
    ) {
        let mut payload = vec![];
        message.encode_payload(&mut payload);
        if !payload.is_empty() {
            let place = at.index(payload.len());
            payload[place] = byte;
            if let Ok(message) = Message::decode(message.command(), &payload, BITCOIN) {
                let mut again = Vec::new();
                message.encode_payload(&mut again);
            }
            let _ = Message::decode(message.command(), &payload[..cut.index(payload.len())], BITCOIN);
        }
    }
}

#[test]
fn every_name_in_the_list_is_a_messages() {
    for command in COMMANDS {
        assert!(
            !matches!(Message::decode(command, &[0; 600], BITCOIN), Ok(Message::Unknown(_))),
            "{command}"
        );
    }
}

#[test]
fn promises_of_more_than_there_is_allocate_nothing() {
    // Four billion headers, and three bytes.
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    for command in ["headers", "inv", "addr", "addrv2", "cmpctblock", "blocktxn", "getblocktxn", "cfheaders"]
    {
        assert!(Message::decode(command, &huge, BITCOIN).is_err(), "{command}");
    }
    let mut locator = vec![0; 4];
    locator.push(102);
    locator.extend_from_slice(&[0; 32 * 103]);
    assert!(matches!(
        Message::decode("getheaders", &locator, BITCOIN),
        Err(DecodeError::TooLarge { max: 101, .. })
    ));
}

#[test]
fn frames_of_other_networks_and_over_their_bound_are_refused() {
    let frame = encode_v1(&Message::Ping(1), [1, 2, 3, 4]);
    let mut header: [u8; HEADER_LEN] = *frame.first_chunk().unwrap();
    assert_eq!(FrameHeader::parse(&header, [9; 4]), Err(FrameError::Magic([1, 2, 3, 4])));
    header[16..20].copy_from_slice(&5_000u32.to_le_bytes());
    assert!(matches!(FrameHeader::parse(&header, [1, 2, 3, 4]), Err(FrameError::TooLong { len: 5_000, .. })));
    header[4..16].copy_from_slice(b"pi\0ng\0\0\0\0\0\0\0");
    assert!(matches!(FrameHeader::parse(&header, [1, 2, 3, 4]), Err(FrameError::Command(_))));
}

#[test]
fn unknown_networks_are_kept_and_addresses_in_disguise_are_skipped() {
    // BIP155: Tor v2 (10 bytes) is no longer used; IPv4 inside IPv6 is not allowed; network 77 may come one day.
    let mut payload = vec![3];
    for (network, bytes) in
        [(3u8, vec![1u8; 10]), (2, [vec![0; 10], vec![0xff; 2], vec![1, 2, 3, 4]].concat()), (77, vec![5; 9])]
    {
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(&[1, network, bytes.len() as u8]);
        payload.extend_from_slice(&bytes);
        payload.extend_from_slice(&[0x20, 0x8d]);
    }
    let Message::AddrV2(entries) = Message::decode("addrv2", &payload, BITCOIN).unwrap() else { panic!() };
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].address, NetAddr::Unknown { network: 77, bytes: vec![5; 9] });
    assert_eq!(entries[0].port, 8333);
    // A known network with the wrong length spoils the message.
    let short = [&[1u8, 0, 0, 0, 0, 1, 1, 3][..], &[1, 2, 3, 0, 1]].concat();
    assert!(Message::decode("addrv2", &short, BITCOIN).is_err());
}

#[test]
fn a_user_agent_cannot_play_tricks_on_a_terminal() {
    let version = Version {
        version: 70_016,
        services: Services(9),
        time: 0,
        receiver: (Services(0), Endpoint::UNSPECIFIED),
        sender: (Services(0), Endpoint::UNSPECIFIED),
        nonce: 1,
        user_agent: "/evil\u{1b}[2J\n/".into(),
        start_height: 0,
        relay: true,
    };
    let mut payload = Vec::new();
    Message::Version(version).encode_payload(&mut payload);
    let Message::Version(read) = Message::decode("version", &payload, BITCOIN).unwrap() else { panic!() };
    assert_eq!(read.user_agent, "/evil?[2J?/");
}
