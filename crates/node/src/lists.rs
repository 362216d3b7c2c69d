//! Small shared lists: bans, peers added by RPC, calls under way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Bans and added peers at most: lists made by hand.
const LIST_MAX: usize = 1_000;

/// A host, or all whose addresses begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet {
    first: IpAddr,
    bits: u8,
}

/// An address as a number, its bits at the top.
fn top_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The number's first `bits` bits.
const fn masked(number: u128, bits: u8) -> u128 {
    if bits == 0 { 0 } else { number & u128::MAX << (128 - bits) }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Subnet {
    /// True for a single host.
    pub(crate) const fn is_host(&self) -> bool {
        self.bits == width(self.first)
    }

    /// True where the host is in it.
    pub(crate) fn contains(&self, host: IpAddr) -> bool {
        let host = host.to_canonical();
        host.is_ipv4() == self.first.is_ipv4() && masked(top_bits(host), self.bits) == top_bits(self.first)
    }
}

impl std::str::FromStr for Subnet {
    type Err = ();

    /// `address`, `address/bits`, or `address/netmask`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, mask) =
            text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
        let address = address.parse::<IpAddr>().map_err(|_| ())?.to_canonical();
        let width = width(address);
        let bits = match mask {
            None => width,
            Some(mask) if mask.bytes().all(|digit| digit.is_ascii_digit()) => mask.parse().map_err(|_| ())?,
            Some(mask) => {
                let mask: IpAddr = mask.parse().map_err(|_| ())?;
                let bits = top_bits(mask).leading_ones() as u8;
                if mask.is_ipv4() != address.is_ipv4() || top_bits(mask) != masked(u128::MAX, bits) {
                    return Err(());
                }
                bits
            }
        };
        if bits > width {
            return Err(());
        }
        let first = masked(top_bits(address), bits);
        let first = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits((first >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        Ok(Self { first, bits })
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// Since when and until when, Unix seconds.
type Span = (i64, i64);

/// Who was banned by `setban`. Kept in a file, so that bans outlast the process.
#[derive(Debug)]
pub(crate) struct Bans {
    path: PathBuf,
    bans: Mutex<BTreeMap<Subnet, Span>>,
}

impl Bans {
    /// Those kept in the node's directory. A file that cannot be read is left out with a word.
    pub(crate) fn load(directory: &Path) -> Self {
        let path = directory.join("bans.json");
        let bans = match std::fs::read(&path)
            .map(|bytes| serde_json::from_slice::<Vec<(String, i64, i64)>>(&bytes))
        {
            Ok(Ok(kept)) => {
                let read =
                    |(subnet, since, until): (String, i64, i64)| Some((subnet.parse().ok()?, (since, until)));
                kept.into_iter().take(LIST_MAX).filter_map(read).collect()
            }
            Ok(Err(error)) => {
                tracing::warn!(path = %path.display(), %error, "bans cannot be read and are left out");
                BTreeMap::new()
            }
            // There are none yet.
            Err(_) => BTreeMap::new(),
        };
        Self { path, bans: Mutex::new(bans) }
    }

    /// Changes the list, and the file with it where `change` says so.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<Subnet, Span>) -> bool) -> bool {
        let mut bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut bans);
        if changed {
            let kept: Vec<_> =
                bans.iter().map(|(subnet, (since, until))| (subnet.to_string(), since, until)).collect();
            let temporary = self.path.with_extension("tmp");
            let written = serde_json::to_vec(&kept)
                .map_err(std::io::Error::from)
                .and_then(|bytes| std::fs::write(&temporary, bytes))
                .and_then(|()| std::fs::rename(&temporary, &self.path));
            if let Err(error) = written {
                tracing::warn!(path = %self.path.display(), %error, "bans not saved; they hold until the node stops");
            }
        }
        changed
    }

    /// Bans `subnet`; false if it is banned already or the list is full.
    pub(crate) fn add(&self, subnet: Subnet, now: i64, until: i64) -> bool {
        self.change(|bans| {
            bans.retain(|_, (_, until)| *until > now);
            let known = subnet.is_host() && bans.keys().any(|ban| ban.contains(subnet.first));
            !known && bans.len() < LIST_MAX && bans.insert(subnet, (now, until)).is_none()
        })
    }

    /// Lifts the ban; false if there was none.
    pub(crate) fn remove(&self, subnet: &Subnet) -> bool {
        self.change(|bans| bans.remove(subnet).is_some())
    }

    /// Lifts all bans.
    pub(crate) fn clear(&self) {
        self.change(|bans| {
            bans.clear();
            true
        });
    }

    /// True where `host` is banned now.
    pub(crate) fn has(&self, host: IpAddr, now: i64) -> bool {
        let bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        bans.iter().any(|(subnet, (_, until))| *until > now && subnet.contains(host))
    }

    /// Every ban in force: who, since when, until when.
    pub(crate) fn list(&self, now: i64) -> Vec<(Subnet, i64, i64)> {
        let bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        let in_force = bans.iter().filter(|(_, (_, until))| *until > now);
        in_force.map(|(subnet, (since, until))| (*subnet, *since, *until)).collect()
    }
}

/// Peers given to `addnode add`.
#[derive(Debug, Default)]
pub(crate) struct Added(Mutex<BTreeSet<String>>);

impl Added {
    /// Adds a peer; false if it is there or the list is full.
    pub(crate) fn insert(&self, address: String) -> bool {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.len() < LIST_MAX && list.insert(address)
    }

    /// Removes a peer; false if it was not there.
    pub(crate) fn remove(&self, address: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(address)
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// RPC calls under way. As many as the server takes at one time.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<UnderWay>);

/// The last number given, and the calls under way by their numbers.
#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    calls: BTreeMap<u64, (&'static str, Instant)>,
}

/// A call under way; ends when dropped.
pub(crate) struct CallGuard<'a> {
    calls: &'a Calls,
    id: u64,
}

impl Calls {
    /// Notes that a call has begun.
    pub(crate) fn begin(&self, method: &'static str) -> CallGuard<'_> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.last += 1;
        let id = under_way.last;
        under_way.calls.insert(id, (method, Instant::now()));
        CallGuard { calls: self, id }
    }

    /// Method and microseconds of each call.
    pub(crate) fn under_way(&self) -> Vec<(&'static str, u64)> {
        let under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way
            .calls
            .values()
            .map(|(method, since)| (*method, since.elapsed().as_micros() as u64))
            .collect()
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_as_people_write_them() {
        for (text, shown) in [
            ("1.2.3.4", "1.2.3.4/32"),
            ("1.2.3.4/16", "1.2.0.0/16"),
            ("1.2.3.4/255.255.255.0", "1.2.3.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:1.2.3.4", "1.2.3.4/32"),
            ("2001:db8::1/32", "2001:db8::/32"),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), shown, "{text}");
        }
        for text in
            ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/255.0.255.0", "::1/129", "1.2.3.4/ffff::", "x/8"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        let net: Subnet = "10.1.0.0/16".parse().unwrap();
        assert!(
            net.contains("10.1.255.1".parse().unwrap()) && net.contains("::ffff:10.1.0.1".parse().unwrap())
        );
        assert!(!net.contains("10.2.0.1".parse().unwrap()) && !net.contains("a01::".parse().unwrap()));
    }

    #[test]
    fn bans_outlast_the_process_and_end_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let bans = Bans::load(dir.path());
        assert!(bans.add("10.0.0.0/8".parse().unwrap(), 100, 200));
        assert!(!bans.add("10.1.2.3".parse().unwrap(), 100, 200), "it is banned with its subnet");
        assert!(bans.add("1.2.3.4".parse().unwrap(), 100, 150));
        let bans = Bans::load(dir.path());
        let host = "10.200.0.1".parse().unwrap();
        assert!(bans.has(host, 199) && !bans.has(host, 200));
        assert_eq!(bans.list(160).len(), 1);
        assert!(bans.remove(&"10.0.0.0/8".parse().unwrap()) && !Bans::load(dir.path()).has(host, 100));
        bans.clear();
        assert_eq!(Bans::load(dir.path()).list(0).len(), 0);
    }
}
