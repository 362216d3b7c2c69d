//! Subsidies and retargets against vectors recorded from the reference implementation
//! (`crates/pow/tests/data/prime.json`, its source is named inside).

use lode_pow::ChainLength;
use lode_primitives::Amount;
use serde_json::Value;

fn rows(key: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../pow/tests/data/prime.json")).unwrap();
    file[key].as_array().unwrap().clone()
}

fn hex32(row: &Value, key: &str) -> u32 {
    u32::from_str_radix(row[key].as_str().unwrap(), 16).unwrap()
}

#[test]
fn retargets_and_subsidies_are_the_references() {
    let coin = lode_coins::find("primecoin", "main").unwrap();
    let rows = rows("retarget_and_subsidy");
    assert_eq!(rows.len(), 23);
    for row in rows {
        let bits = hex32(&row, "bits");
        let difficulty = ChainLength(bits).fraction_difficulty();
        assert_eq!(format!("{difficulty:016x}"), row["frac_difficulty"].as_str().unwrap());
        let elapsed = row["actual_spacing"].as_i64().unwrap();
        let min_length = u32::try_from(row["min_length"].as_u64().unwrap()).unwrap();
        let next = ChainLength(bits).retargeted(10_081 * 60, 10_079 * 60 + 2 * elapsed, min_length);
        assert_eq!(next.0, hex32(&row, "next_bits"), "{row}");
        assert_eq!(coin.subsidy(0, bits).to_sat(), row["subsidy"].as_i64().unwrap(), "{row}");
    }
}

#[test]
fn coinbases_of_the_main_network() {
    let coin = lode_coins::find("primecoin", "main").unwrap();
    let rows = rows("subsidy_real_mainnet");
    assert_eq!(rows.len(), 12);
    for row in rows {
        let paid = Amount::from_sat(row["coinbase_only_block_reward"].as_i64().unwrap());
        assert_eq!(coin.reward(0, hex32(&row, "bits"), Amount::ZERO, 200), Some(paid), "{row}");
    }
}

#[test]
fn a_long_coinbase_keeps_a_fee_back() {
    let coin = lode_coins::find("datacoin", "main").unwrap();
    let reward = |size| coin.reward(1, 0x0a00_0000, Amount::from_sat(7), size).unwrap().to_sat();
    assert_eq!(reward(999) - reward(1000), 5_000_000);
    assert_eq!(reward(999) - reward(2999), 10_000_000);
    let hash_coin = lode_coins::find("bitcoin", "main").unwrap();
    assert_eq!(hash_coin.reward(0, 0, Amount::from_sat(7), 90_000), Some(Amount::from_sat(5_000_000_007)));
}

#[test]
fn work_grows_with_length_and_fraction() {
    let coin = lode_coins::find("primecoin", "main").unwrap();
    let work = |bits| coin.block_work(bits).unwrap().to_f64();
    assert_eq!((work(0x0600_0000), work(0x0700_0000)), (256.0, 256.0 * 32.0));
    assert!(work(0x0680_0000) > 1.8 * work(0x0600_0000) && work(0x06ff_0000) < work(0x0700_0000));
    assert!(work(99 << 24 | 0xff_ffff).is_finite());
    for bits in [0x05ff_ffff, 100 << 24, 0, u32::MAX] {
        assert_eq!(coin.block_work(bits), None);
    }
}
