//! The PROXY protocol's header, versions 1 and 2: a load balancer says whom it speaks for. Read only from balancers named
//! in the settings. (Source: HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a connection's first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// The header is not complete yet.
    Partial,
    /// A header of so many bytes; the miner's address, where it is told.
    Complete {
        /// Bytes of the header.
        len: usize,
        /// The miner's address; `None` for the balancer's own health checks.
        source: Option<IpAddr>,
    },
    /// No header.
    Missing,
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, with its line end.
const V1_MAX: usize = 107;
/// Longest header of version 2 read: addresses and some extensions.
const V2_MAX: usize = 1_024;

/// Bytes a connection may hold back while its header is incomplete.
pub(crate) const HEADER_MAX: usize = V2_MAX;

/// Reads the header at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Header {
    let starts = |signature: &[u8]| bytes.iter().zip(signature).all(|(a, b)| a == b);
    if starts(SIGNATURE) {
        version2(bytes)
    } else if starts(b"PROXY ") {
        version1(bytes)
    } else {
        Header::Missing
    }
}

fn version1(bytes: &[u8]) -> Header {
    let Some(end) = bytes.iter().take(V1_MAX).position(|&byte| byte == b'\n') else {
        return if bytes.len() >= V1_MAX { Header::Missing } else { Header::Partial };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else { return Header::Missing };
    let mut words = line.trim_end_matches('\r').split(' ').skip(1);
    let source = match words.next() {
        Some("TCP4" | "TCP6") => match words.next().and_then(|source| source.parse().ok()) {
            Some(source) => Some(source),
            None => return Header::Missing,
        },
        Some("UNKNOWN") => None,
        _ => return Header::Missing,
    };
    Header::Complete { len: end + 1, source }
}

fn version2(bytes: &[u8]) -> Header {
    let Some((head, rest)) = bytes.split_at_checked(16) else { return Header::Partial };
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if head[12] >> 4 != 2 || 16 + len > V2_MAX {
        return Header::Missing;
    }
    let Some(body) = rest.get(..len) else { return Header::Partial };
    // The low nibble of byte 12: 0 is the balancer itself, 1 a miner. The high one of byte 13: IPv4, IPv6.
    let source = match (head[12] & 15, head[13] >> 4) {
        (1, 1) => body.first_chunk::<4>().map(|source| IpAddr::V4(Ipv4Addr::from(*source))),
        (1, 2) => body.first_chunk::<16>().map(|source| IpAddr::V6(Ipv6Addr::from(*source))),
        _ => None,
    };
    Header::Complete { len: 16 + len, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_versions_tell_the_miners_address() {
        let v1 = b"PROXY TCP4 198.51.100.7 192.0.2.1 5678 3333\r\n";
        let source = Some("198.51.100.7".parse().unwrap());
        assert_eq!(parse(&[v1, &b"{}"[..]].concat()), Header::Complete { len: v1.len(), source });
        let mut v2 = SIGNATURE.to_vec();
        v2.extend_from_slice(&[0x21, 0x11, 0, 12, 198, 51, 100, 7, 192, 0, 2, 1, 1, 2, 3, 4]);
        assert_eq!(parse(&v2), Header::Complete { len: 28, source });
        for cut in 0..v2.len() {
            assert_eq!(parse(&v2[..cut]), Header::Partial, "{cut}");
        }
        for cut in 0..v1.len() {
            assert_eq!(parse(&v1[..cut]), Header::Partial, "{cut}");
        }
        let check = b"PROXY UNKNOWN\r\n";
        assert_eq!(parse(check), Header::Complete { len: 15, source: None });
        assert_eq!(parse(b"{\"id\":1}\n"), Header::Missing);
        assert_eq!(parse(b"PROXY TCP4 nowhere\r\n"), Header::Missing);
        assert_eq!(parse(&[b'P'; 200]), Header::Missing);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(head in 0usize..13, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
            let _ = parse(&[&SIGNATURE[..head.min(12)], &bytes].concat());
        }
    }
}
