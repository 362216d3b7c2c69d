//! Output descriptors, as far as an RPC shows them: `addr(...)`, `raw(...)`, `pk(...)`, `rawtr(...)` with their
//! checksum. Source: BIP380 to BIP386 and the reference implementation's `InferDescriptor` without keys.

use lode_coins::Coin;
use lode_script::{ScriptKind, classify};

/// Characters a descriptor may have, in the order the checksum numbers them (BIP380).
const CHARACTERS: &[u8] =
    b"0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";
/// The checksum's own alphabet.
const CHECKSUM_CHARACTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Length of a checksum.
const CHECKSUM_LEN: usize = 8;
/// Generator of the checksum's code (BIP380).
const GENERATOR: [u64; 5] = [0xf5_dee5_1989, 0xa9_fdca_3312, 0x1b_ab10_e32d, 0x37_06b1_677a, 0x64_4d62_6ffd];

fn step(state: u64, value: u64) -> u64 {
    let top = state >> 35;
    let mut next = ((state & 0x7_ffff_ffff) << 5) ^ value;
    for (bit, word) in GENERATOR.iter().enumerate() {
        if top >> bit & 1 == 1 {
            next ^= word;
        }
    }
    next
}

/// The eight characters behind `#`; `None` if the descriptor has a character it may not have.
pub(crate) fn checksum(descriptor: &str) -> Option<String> {
    let mut state = 1;
    let (mut group, mut count) = (0, 0);
    for byte in descriptor.bytes() {
        let position = CHARACTERS.iter().position(|c| *c == byte)? as u64;
        state = step(state, position & 31);
        group = group * 3 + (position >> 5);
        count += 1;
        if count == 3 {
            state = step(state, group);
            (group, count) = (0, 0);
        }
    }
    if count > 0 {
        state = step(state, group);
    }
    for _ in 0..CHECKSUM_LEN {
        state = step(state, 0);
    }
    state ^= 1;
    let character = |i: usize| char::from(CHECKSUM_CHARACTERS[(state >> (5 * (7 - i)) & 31) as usize]);
    Some((0..CHECKSUM_LEN).map(character).collect())
}

/// `descriptor` with its checksum.
fn sealed(descriptor: String) -> String {
    match checksum(&descriptor) {
        Some(sum) => format!("{descriptor}#{sum}"),
        None => descriptor,
    }
}

/// The descriptor of an output script whose keys are not known.
pub(crate) fn infer(coin: &Coin, script: &[u8]) -> String {
    sealed(match classify(script) {
        ScriptKind::PubKey(key) => format!("pk({})", hex::encode(key)),
        ScriptKind::WitnessV1Taproot(key) => format!("rawtr({})", hex::encode(key)),
        ScriptKind::Multisig { required, keys } => {
            let keys: Vec<String> = keys.iter().map(hex::encode).collect();
            format!("multi({required},{})", keys.join(","))
        }
        _ => match coin.script_to_address(script) {
            Some(address) => format!("addr({address})"),
            None => format!("raw({})", hex::encode(script)),
        },
    })
}

/// What a `getnewaddress`-like caller may give where an output is wanted: an address, `addr(ADDRESS)` or `raw(HEX)`,
/// the two with or without checksum.
pub(crate) fn to_script(coin: &Coin, text: &str) -> Option<Vec<u8>> {
    let body = match text.split_once('#') {
        Some((body, sum)) => {
            if checksum(body).as_deref() != Some(sum) {
                return None;
            }
            body
        }
        None => text,
    };
    let inner = |name: &str| body.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(address) = inner("addr") {
        return coin.address_to_script(address).ok();
    }
    if let Some(raw) = inner("raw") {
        return hex::decode(raw).ok();
    }
    coin.address_to_script(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_bip380() {
        assert_eq!(checksum("raw(deadbeef)").as_deref(), Some("89f8spxm"));
        assert_eq!(checksum("raw(\u{dc})"), None);
    }
}
