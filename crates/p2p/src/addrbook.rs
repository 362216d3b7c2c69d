//! The address book: who might be called.
//!
//! As in the reference client there are two tables. "New" holds what was heard of, in a slot that depends on the
//! network groups of both the address and who told it; "tried" holds what has answered. The slots depend on a secret
//! key, so nobody can choose which entries to push out, and one teller can reach few slots only.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use bitcoin_hashes::siphash24;
use lode_primitives::{DecodeError, Encode, Reader, encode_bytes, encode_compact_size, sha256d};
use rand::Rng;
use rand::rngs::StdRng;

use crate::Time;
use crate::message::{AddrEntry, NetAddr, Services, decode_entry};

/// Slots for addresses heard of (Core: 1,024 buckets of 64).
const NEW_SLOTS: u64 = 1_024 * 64;
/// Slots for addresses that answered (Core: 256 buckets of 64).
const TRIED_SLOTS: u64 = 256 * 64;
/// Not seen for so many seconds: forgotten where its slot is wanted (Core: 30 days).
const HORIZON: u64 = 30 * 24 * 60 * 60;
/// An entry in "tried" that answered within so many seconds keeps its slot (Core: 4 hours).
const KEEP_TRIED: u64 = 4 * 60 * 60;
/// Tries without a success ever before an address is worthless (Core).
const MAX_RETRIES: u32 = 3;
/// Not called again within so many seconds.
const RETRY_AFTER: u64 = 10 * 60;

/// File format: its first bytes.
const FILE_MAGIC: &[u8; 8] = b"lodeadr1";

/// Why a file is no address book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Other first bytes.
    #[error("not an address book of this version")]
    Magic,
    /// Torn or altered.
    #[error("checksum does not match")]
    Checksum,
    /// Entries that cannot be read.
    #[error("damaged: {0}")]
    Decode(#[from] DecodeError),
}

type Key = (NetAddr, u16);

#[derive(Clone, Debug)]
struct Entry {
    services: Services,
    /// Last seen up, Unix seconds.
    time: u64,
    /// Network group of who told it.
    source: Vec<u8>,
    last_try: u64,
    last_success: u64,
    attempts: u32,
    tried: bool,
    slot: u64,
}

/// The book.
#[derive(Debug)]
pub struct AddrBook {
    secret: (u64, u64),
    entries: HashMap<Key, Entry>,
    new: BTreeMap<u64, Key>,
    tried: BTreeMap<u64, Key>,
}

impl AddrBook {
    /// An empty book; `secret` decides the slots.
    pub fn new(secret: (u64, u64)) -> Self {
        Self { secret, entries: HashMap::new(), new: BTreeMap::new(), tried: BTreeMap::new() }
    }

    /// How many addresses it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes in what `source` tells. `penalty`: seconds by which its "last seen" is not believed.
    pub fn add(&mut self, told: &AddrEntry, source: &IpAddr, penalty: u64, now: Time) {
        if !is_routable(&told.address) || told.port == 0 {
            return;
        }
        let now = now.as_secs();
        // A time from the future or from before the money is worth nothing.
        let time = match u64::from(told.time) {
            time if time <= 100_000_000 || time > now + 600 => now.saturating_sub(5 * 24 * 60 * 60),
            time => time.saturating_sub(penalty),
        };
        let key = (told.address.clone(), told.port);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.services = entry.services.with(told.services);
            entry.time = entry.time.max(time);
            return;
        }
        let source = net_group(source);
        let slot = self.slot(&[&group_of(&key.0), &source], NEW_SLOTS);
        if let Some(holder) = self.new.get(&slot) {
            let worthless = self.entries.get(holder).is_none_or(|entry| is_worthless(entry, now));
            if !worthless {
                return;
            }
            let holder = holder.clone();
            self.remove(&holder);
        }
        self.new.insert(slot, key.clone());
        self.entries.insert(
            key,
            Entry {
                services: told.services,
                time,
                source,
                last_try: 0,
                last_success: 0,
                attempts: 0,
                tried: false,
                slot,
            },
        );
    }

    /// An address was called.
    pub(crate) fn tried_now(&mut self, address: &SocketAddr, now: Time) {
        if let Some(entry) = self.entries.get_mut(&key_of(address)) {
            entry.last_try = now.as_secs();
        }
    }

    /// A call came to nothing.
    pub(crate) fn failed(&mut self, address: &SocketAddr, now: Time) {
        if let Some(entry) = self.entries.get_mut(&key_of(address)) {
            entry.last_try = now.as_secs();
            entry.attempts = entry.attempts.saturating_add(1);
        }
    }

    /// Somebody answered there and told what it offers.
    pub(crate) fn connected(&mut self, address: &SocketAddr, services: Services, now: Time) {
        if let Some(entry) = self.entries.get_mut(&key_of(address)) {
            entry.services = services;
            entry.time = now.as_secs();
        }
    }

    /// The handshake was done: the address moves to "tried".
    pub(crate) fn succeeded(&mut self, address: &SocketAddr, now: Time) {
        let key = key_of(address);
        let (now, tried_slot) =
            (now.as_secs(), self.slot(&[&group_of(&key.0), &key_bytes(&key)], TRIED_SLOTS));
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.last_success = now;
        entry.last_try = now;
        entry.time = now;
        entry.attempts = 0;
        if entry.tried {
            return;
        }
        let new_slot = entry.slot;
        if let Some(holder) = self.tried.get(&tried_slot).cloned() {
            let fresh = self
                .entries
                .get(&holder)
                .is_some_and(|entry| now.saturating_sub(entry.last_success) < KEEP_TRIED);
            if fresh {
                return;
            }
            // Its holder goes back to "new", into the slot that becomes free.
            self.tried.remove(&tried_slot);
            if let Some(entry) = self.entries.get_mut(&holder) {
                entry.tried = false;
                entry.slot = new_slot;
            }
            self.new.insert(new_slot, holder);
        } else {
            self.new.remove(&new_slot);
        }
        self.tried.insert(tried_slot, key.clone());
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.tried = true;
            entry.slot = tried_slot;
        }
    }

    /// An address worth calling, or `None` where a few random picks find none. `untried`: only what never answered.
    pub(crate) fn select(
        &self,
        untried: bool,
        rng: &mut StdRng,
        now: Time,
    ) -> Option<(SocketAddr, Services)> {
        let now = now.as_secs();
        for round in 0..50u32 {
            let tried = !untried && !self.tried.is_empty() && (self.new.is_empty() || rng.random_bool(0.5));
            let (table, slots) = if tried { (&self.tried, TRIED_SLOTS) } else { (&self.new, NEW_SLOTS) };
            let at = rng.random_range(0..slots);
            let Some((_, key)) = table.range(at..).next().or_else(|| table.iter().next()) else { continue };
            let (Some(entry), NetAddr::Ip(ip)) = (self.entries.get(key), &key.0) else { continue };
            if now.saturating_sub(entry.last_try) < RETRY_AFTER || is_worthless(entry, now) {
                continue;
            }
            // Less likely the more often it failed; more likely the longer nothing was found.
            let chance = 0.66f64.powi(entry.attempts.min(8) as i32) * 1.2f64.powi(round as i32);
            if rng.random_bool(chance.min(1.0)) {
                return Some((SocketAddr::new(*ip, key.1), entry.services));
            }
        }
        None
    }

    /// Services an address is said to offer.
    pub(crate) fn services(&self, address: &SocketAddr) -> Option<Services> {
        self.entries.get(&key_of(address)).map(|entry| entry.services)
    }

    /// Up to `max` addresses picked at random, worthless ones left out.
    pub fn sample(&self, max: usize, rng: &mut StdRng, now: Time) -> Vec<AddrEntry> {
        let mut keys: Vec<&Key> = self.new.values().chain(self.tried.values()).collect();
        let mut out = Vec::new();
        while out.len() < max && !keys.is_empty() {
            let key = keys.swap_remove(rng.random_range(0..keys.len()));
            if let Some(entry) = self.entries.get(key)
                && !is_worthless(entry, now.as_secs())
            {
                out.push(to_told(key, entry));
            }
        }
        out
    }

    /// The book as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = FILE_MAGIC.to_vec();
        out.extend_from_slice(&self.secret.0.to_le_bytes());
        out.extend_from_slice(&self.secret.1.to_le_bytes());
        encode_compact_size(self.entries.len() as u64, &mut out);
        for (key, entry) in &self.entries {
            to_told(key, entry).encode(&mut out);
            encode_bytes(&entry.source, &mut out);
            out.extend_from_slice(&entry.last_try.to_le_bytes());
            out.extend_from_slice(&entry.last_success.to_le_bytes());
            out.extend_from_slice(&entry.attempts.to_le_bytes());
            out.push(u8::from(entry.tried));
            out.extend_from_slice(&entry.slot.to_le_bytes());
        }
        let checksum = sha256d(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BookError> {
        let (body, checksum) = bytes.split_last_chunk::<32>().ok_or(BookError::Magic)?;
        if !body.starts_with(FILE_MAGIC) {
            return Err(BookError::Magic);
        }
        if sha256d(body) != *checksum {
            return Err(BookError::Checksum);
        }
        let mut reader = Reader::new(&body[FILE_MAGIC.len()..]);
        let mut book = Self::new((reader.u64_le()?, reader.u64_le()?));
        for _ in 0..reader.count(40)? {
            let told = decode_entry(&mut reader)?;
            let source = reader.bytes("group", 64)?.to_vec();
            let (last_try, last_success) = (reader.u64_le()?, reader.u64_le()?);
            let (attempts, tried, slot) = (reader.u32_le()?, reader.u8()? == 1, reader.u64_le()?);
            let Some(told) = told else { continue };
            let key = (told.address, told.port);
            let (table, slots) =
                if tried { (&mut book.tried, TRIED_SLOTS) } else { (&mut book.new, NEW_SLOTS) };
            if slot >= slots || table.insert(slot, key.clone()).is_some() {
                return Err(BookError::Decode(DecodeError::Malformed("address slot")));
            }
            let (services, time) = (told.services, u64::from(told.time));
            book.entries
                .insert(key, Entry { services, time, source, last_try, last_success, attempts, tried, slot });
        }
        reader.finish()?;
        Ok(book)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            let table = if entry.tried { &mut self.tried } else { &mut self.new };
            table.remove(&entry.slot);
        }
    }

    fn slot(&self, parts: &[&[u8]], slots: u64) -> u64 {
        let mut bytes = Vec::new();
        for part in parts {
            encode_bytes(part, &mut bytes);
        }
        siphash24::Hash::hash_to_u64_with_keys(self.secret.0, self.secret.1, &bytes) % slots
    }
}

fn to_told(key: &Key, entry: &Entry) -> AddrEntry {
    AddrEntry {
        time: u32::try_from(entry.time).unwrap_or(u32::MAX),
        services: entry.services,
        address: key.0.clone(),
        port: key.1,
    }
}

fn key_of(address: &SocketAddr) -> Key {
    (NetAddr::Ip(address.ip().to_canonical()), address.port())
}

fn key_bytes(key: &Key) -> Vec<u8> {
    AddrEntry { time: 0, services: Services(0), address: key.0.clone(), port: key.1 }.to_bytes()
}

fn is_worthless(entry: &Entry, now: u64) -> bool {
    if now.saturating_sub(entry.last_try) < 60 {
        return false;
    }
    now.saturating_sub(entry.time) > HORIZON || (entry.last_success == 0 && entry.attempts >= MAX_RETRIES)
}

/// The part of a network an address belongs to, of which one party may well own all: /16 of IPv4, /32 of IPv6.
pub(crate) fn net_group(ip: &IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => [&[4], &ip.octets()[..2]].concat(),
        IpAddr::V6(ip) => [&[6], &ip.octets()[..4]].concat(),
    }
}

fn group_of(address: &NetAddr) -> Vec<u8> {
    match address {
        NetAddr::Ip(ip) => net_group(ip),
        NetAddr::TorV3(key) => vec![0x10, key[0] >> 4],
        NetAddr::I2p(hash) => vec![0x11, hash[0] >> 4],
        NetAddr::Cjdns(ip) => vec![0x12, ip.octets()[1] >> 4],
        NetAddr::Unknown { network, .. } => vec![0x20, *network],
    }
}

/// Could be called from anywhere. Networks we cannot call are kept to be told to others; unknown ones are not.
fn is_routable(address: &NetAddr) -> bool {
    match address {
        NetAddr::Ip(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b)))
        }
        NetAddr::Ip(IpAddr::V6(ip)) => {
            let first = ip.segments()[0];
            // Global unicast, without the documentation prefix.
            first & 0xe000 == 0x2000 && !(first == 0x2001 && ip.segments()[1] == 0x0db8)
        }
        NetAddr::TorV3(_) | NetAddr::I2p(_) | NetAddr::Cjdns(_) => true,
        NetAddr::Unknown { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const NOW: Time = Time::from_secs(1_700_000_000);

    fn told(a: u8, b: u8, c: u8) -> AddrEntry {
        AddrEntry {
            time: 1_699_999_000,
            services: Services(9),
            address: NetAddr::Ip(IpAddr::from([a, b, c, 7])),
            port: 8333,
        }
    }

    fn book_of(count: u8) -> AddrBook {
        let mut book = AddrBook::new((1, 2));
        for i in 0..count {
            book.add(&told(20 + i / 16, i, i), &IpAddr::from([i, 1, 1, 1]), 0, NOW);
        }
        book
    }

    #[test]
    fn survives_its_file_and_damage_is_seen() {
        let mut book = book_of(100);
        book.succeeded(&"20.3.3.7:8333".parse().unwrap(), NOW);
        assert_eq!(book.tried.len(), 1);
        let bytes = book.to_bytes();
        let read = AddrBook::from_bytes(&bytes).unwrap();
        assert_eq!((read.len(), read.tried.len()), (book.len(), 1));
        assert_eq!(read.new, book.new);
        let mut torn = bytes.clone();
        torn[40] ^= 1;
        assert_eq!(AddrBook::from_bytes(&torn).unwrap_err(), BookError::Checksum);
        assert_eq!(AddrBook::from_bytes(&bytes[..10]).unwrap_err(), BookError::Magic);
    }

    #[test]
    fn one_teller_cannot_fill_the_book() {
        let mut book = AddrBook::new((1, 2));
        for i in 0..=255u8 {
            for j in 0..=255u8 {
                book.add(&told(20, i, j), &IpAddr::from([9, 9, 9, 9]), 0, NOW);
            }
        }
        // 65,536 addresses in 256 groups told by one group: one slot each.
        assert!(book.len() <= 256, "{}", book.len());
    }

    #[test]
    fn selection_leaves_alone_what_was_just_called_or_never_answers() {
        let mut book = AddrBook::new((1, 2));
        let mut rng = StdRng::seed_from_u64(1);
        book.add(&told(20, 1, 1), &IpAddr::from([9, 9, 9, 9]), 0, NOW);
        let address: SocketAddr = "20.1.1.7:8333".parse().unwrap();
        assert_eq!(book.select(false, &mut rng, NOW).unwrap().0, address);
        book.tried_now(&address, NOW);
        assert!(book.select(false, &mut rng, NOW).is_none());
        for _ in 0..3 {
            book.failed(&address, NOW);
        }
        assert!(book.select(false, &mut rng, NOW + Time::from_secs(3_600)).is_none());
    }

    #[test]
    fn private_addresses_are_not_taken() {
        let mut book = AddrBook::new((1, 2));
        for ip in
            ["127.0.0.1", "10.1.1.1", "192.168.1.1", "100.64.0.1", "::1", "fe80::1", "fc00::1", "2001:db8::1"]
        {
            let entry = AddrEntry { address: NetAddr::Ip(ip.parse().unwrap()), ..told(1, 1, 1) };
            book.add(&entry, &IpAddr::from([9, 9, 9, 9]), 0, NOW);
        }
        assert!(book.is_empty());
    }
}
