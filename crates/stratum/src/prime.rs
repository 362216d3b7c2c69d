//! The dialect for prime chains: what differs from Stratum V1 as everybody speaks it. `docs/stratum-prime.md` is the page for
//! authors of miners; a test reads its example.
//!
//! Shares are judged by a chain's length. So `mining.set_target` with a length takes the place of `mining.set_difficulty`, and the
//! sixth parameter of `mining.submit` is the multiplier. All else is as for any coin.

use std::io::Write as _;

use lode_pow::ChainLength;
use lode_primitives::Multiplier;

use crate::client::begin_submit;
use crate::hex_field::{parse_hex_u32, push_hex, push_hex_u32};

/// Hex digits of a multiplier at most: 219 bytes and an odd zero in front. Longer ones make no valid chain.
const MULTIPLIER_DIGITS_MAX: usize = 440;

/// `mining.set_target`: the least length of shares, from the next job on.
pub fn write_set_target(length: ChainLength, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"");
    push_hex_u32(length.0, out);
    out.extend_from_slice(b"\"]}\n");
}

/// The answer to `mining.subscribe` on a prime chain: it names `mining.set_target`, by which a miner knows the dialect.
pub fn write_prime_subscribe_reply(id: &str, extranonce1: &[u8], extranonce2_size: usize, out: &mut Vec<u8>) {
    crate::response::write_subscription(id, "mining.set_target", extranonce1, extranonce2_size, out);
}

/// `mining.suggest_target` with the length of shares that the miner would like.
pub fn write_suggest_target(id: u64, length: ChainLength, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = writeln!(
        out,
        "{{\"id\":{id},\"method\":\"mining.suggest_target\",\"params\":[\"{:08x}\"]}}",
        length.0
    );
}

/// `mining.submit` with a multiplier.
#[allow(clippy::too_many_arguments, reason = "the method's own parameters, in their order on the wire")]
pub fn write_prime_submit(
    id: u64,
    user: &str,
    job_id: &str,
    extranonce2: &[u8],
    time: u32,
    nonce: u32,
    multiplier: &Multiplier,
    out: &mut Vec<u8>,
) {
    begin_submit(id, user, job_id, extranonce2, time, nonce, out);
    out.extend_from_slice(b"\",\"");
    let reversed: Vec<u8> = multiplier.as_bytes().iter().rev().copied().collect();
    push_hex(&reversed, out);
    out.extend_from_slice(b"\"]}\n");
}

/// A multiplier from its hex digits, most significant first; their number may be odd.
pub(crate) fn multiplier(text: &str) -> Option<Multiplier> {
    if text.is_empty() || text.len() > MULTIPLIER_DIGITS_MAX {
        return None;
    }
    let even = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    let mut bytes = hex::decode(even).ok()?;
    bytes.reverse();
    Some(Multiplier::from_le_magnitude(&bytes))
}

/// A length as it is in `mining.set_target`; `None` where that is no length a share could have.
pub(crate) fn length(text: &str) -> Option<ChainLength> {
    parse_hex_u32(text).map(ChainLength).filter(|length| (1..=99).contains(&length.primes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, ServerMessage, parse_request};
    use proptest::prelude::*;

    #[test]
    fn lengths_travel_as_eight_digits() {
        let mut out = Vec::new();
        write_set_target(ChainLength(0x0480_0000), &mut out);
        assert_eq!(out, b"{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"04800000\"]}\n");
        assert_eq!(
            ServerMessage::parse(&out[..out.len() - 1]),
            Ok(ServerMessage::SetTarget(ChainLength(0x0480_0000)))
        );
        for bad in ["", "00ffffff", "64000000", "0480000000", "x"] {
            assert_eq!(length(bad), None, "{bad}");
        }
        let mut out = Vec::new();
        write_prime_subscribe_reply("1", &[0xab, 0, 0, 1], 8, &mut out);
        let Ok(ServerMessage::Answer { result: Ok(result), .. }) =
            ServerMessage::parse(&out[..out.len() - 1])
        else {
            panic!()
        };
        assert!(ServerMessage::is_prime(&result));
        assert_eq!(ServerMessage::subscription(&result), Some((vec![0xab, 0, 0, 1], 8)));
    }

    #[test]
    fn multipliers_are_numbers_in_hex() {
        for text in ["ecaf3b", "00ecaf3b", "0ecaf3b"] {
            assert_eq!(multiplier(text).unwrap().as_bytes(), [0x3b, 0xaf, 0xec, 0]);
        }
        assert_eq!(multiplier("0").unwrap().as_bytes(), [0u8; 0]);
        for bad in ["", "-1", "0x12", "g", &"1".repeat(441)] {
            assert_eq!(multiplier(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_the_miner_submits_the_pool_reads(
            magnitude in prop::collection::vec(any::<u8>(), 1..219), en2 in prop::collection::vec(any::<u8>(), 0..9),
            time: u32, nonce: u32,
        ) {
            let sent = Multiplier::from_le_magnitude(&magnitude);
            prop_assume!(!sent.as_bytes().is_empty());
            let mut out = Vec::new();
            write_prime_submit(7, "a.b", "1f", &en2, time, nonce, &sent, &mut out);
            let request = parse_request(&out[..out.len() - 1]).unwrap();
            let Call::Submit(submit) = request.call else { panic!() };
            prop_assert_eq!(submit.multiplier(), Some(sent));
            prop_assert_eq!((submit.time, submit.nonce, &*submit.extranonce2), (time, nonce, &*hex::encode(&en2)));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,500}") {
            let _ = (multiplier(&text), length(&text));
        }
    }
}
