//! The check of prime chains against vectors recorded from the reference implementation (`data/prime.json`, its source
//! is named inside): blocks of the main and test networks, and what was made invalid of them.

use lode_pow::{ChainLength, Origin, PrimeChainError, check_prime_chain};
use lode_primitives::{Multiplier, sha256d};
use serde_json::Value;

/// What the reference puts in front of its reasons.
const PREFIX: &str = "CheckPrimeProofOfWork() : ";

struct Vector(Value);

impl Vector {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap()
    }

    fn length(&self, key: &str) -> ChainLength {
        ChainLength(u32::from_str_radix(self.text(key), 16).unwrap())
    }

    fn header(&self) -> [u8; 80] {
        hex::decode(self.text("header80")).unwrap().try_into().unwrap()
    }

    /// The multiplier without its length in front; `None` where it is negative.
    fn multiplier(&self) -> Option<Multiplier> {
        let encoded = hex::decode(self.text("multiplier_ser")).unwrap();
        Multiplier::from_signed_le(&encoded[1..]).ok()
    }
}

fn vectors() -> Vec<Vector> {
    let file: Value = serde_json::from_str(include_str!("data/prime.json")).unwrap();
    file["vectors"].as_array().unwrap().iter().cloned().map(Vector).collect()
}

#[test]
fn verdicts_and_reasons_are_the_references() {
    let mut checked = 0;
    for vector in vectors() {
        let note = vector.text("note");
        let Some(multiplier) = vector.multiplier() else {
            // Refused where it is read; the reference says so later.
            assert_eq!(vector.text("error"), format!("{PREFIX}prime too small"), "{note}");
            continue;
        };
        let min_length = u32::try_from(vector.0["min_length"].as_u64().unwrap()).unwrap();
        let verdict = check_prime_chain(&vector.header(), &multiplier, vector.length("bits"), min_length);
        match verdict {
            Ok(chain) => {
                assert!(vector.0["valid"].as_bool().unwrap(), "{note}");
                assert_eq!(chain.to_string(), vector.text("chain_name"), "{note}");
            }
            Err(error) => assert_eq!(format!("{PREFIX}{error}"), vector.text("error"), "{note}"),
        }
        checked += 1;
    }
    assert!(checked >= 38, "{checked}");
}

#[test]
fn lengths_are_the_references() {
    for vector in vectors() {
        let Some(Ok(origin)) = vector.multiplier().map(|m| Origin::new(&vector.header(), &m)) else {
            continue;
        };
        let lengths = origin.lengths();
        let found = [lengths.cunningham1, lengths.cunningham2, lengths.bi_twin];
        assert_eq!(
            found,
            ["len_cc1", "len_cc2", "len_twn"].map(|key| vector.length(key)),
            "{}",
            vector.text("note")
        );
    }
}

#[test]
fn block_ids_hash_the_multiplier_too() {
    for vector in vectors() {
        let bytes = [&vector.header()[..], &hex::decode(vector.text("multiplier_ser")).unwrap()].concat();
        let mut id = sha256d(&bytes);
        id.reverse();
        assert_eq!(hex::encode(id), vector.text("block_hash"), "{}", vector.text("note"));
    }
}

#[test]
fn a_multiplier_that_could_be_halved_is_refused() {
    let ten = vectors().into_iter().find(|vector| vector.text("chain_name") == "1CC0a.c64944").unwrap();
    // Twice the multiplier: the chain loses its first prime, and would be longer with half of it.
    let magnitude = ten.multiplier().unwrap().as_bytes().to_vec();
    let mut carry = 0;
    let doubled: Vec<u8> = magnitude
        .iter()
        .map(|&byte| {
            let out = byte << 1 | carry;
            carry = byte >> 7;
            out
        })
        .collect();
    let doubled = Multiplier::from_le_magnitude(&doubled);
    let target = ChainLength::whole(9);
    let error = check_prime_chain(&ten.header(), &doubled, target, 6).unwrap_err();
    assert!(
        matches!(error, PrimeChainError::NotNormalized { length: ChainLength(0x09c6_4944), .. }),
        "{error}"
    );
}
