//! Litecoin: parameters as in Litecoin Core's `chainparams.cpp` (version 0.21). Its extension blocks (MWEB) are not
//! validated here; a pool on an external node passes them on as they come.

use lode_pow::PowAlgorithm;
use lode_primitives::{Amount, Form, Target, U256};

use crate::{AddressFormat, Coin, Deployments, Genesis, Network, Retarget, Subsidy, bitcoin};

const GENESIS: Genesis = Genesis {
    version: 1,
    script_start: bitcoin::FIRST_SCRIPT,
    text: "NY Times 05/Oct/2011 Steve Jobs, Apple’s Visionary, Dies at 56",
    output_key: &[
        0x04, 0x01, 0x84, 0x71, 0x0f, 0xa6, 0x89, 0xad, 0x50, 0x23, 0x69, 0x0c, 0x80, 0xf3, 0xa4, 0x9c, 0x8f,
        0x13, 0xf8, 0xd4, 0x5b, 0x8c, 0x85, 0x7f, 0xbc, 0xbc, 0x8b, 0xc4, 0xa8, 0xe4, 0xd3, 0xeb, 0x4b, 0x10,
        0xf4, 0xd4, 0x60, 0x4f, 0xa0, 0x8d, 0xce, 0x60, 0x1a, 0xaf, 0x0f, 0x47, 0x02, 0x16, 0xfe, 0x1b, 0x51,
        0x85, 0x0b, 0x4a, 0xcf, 0x21, 0xb1, 0x79, 0xc4, 0x50, 0x70, 0xac, 0x7b, 0x03, 0xa9,
    ],
    value: Amount::from_coins(50),
    time: 1_317_972_665,
    bits: 0x1e0f_fff0,
    nonce: 2_084_524_493,
    multiplier: 0,
};

const fn retarget(min_difficulty_blocks: bool, never: bool) -> Retarget {
    Retarget::Interval {
        timespan: 302_400, // three and a half days
        spacing: 150,
        whole_interval: true,
        min_difficulty_blocks,
        never,
        bip94: false,
    }
}

pub(crate) const MAIN: Coin = Coin {
    name: "litecoin",
    ticker: "LTC",
    network: Network::Main,
    chain_name: "main",
    pow: PowAlgorithm::Scrypt,
    form: Form { witness: true, data: false, multiplier: false },
    pow_limit: Target(U256::from_limbs([u64::MAX, u64::MAX, u64::MAX, 0x0000_0fff_ffff_ffff])),
    min_chain_length: 0,
    retarget: retarget(false, false),
    median_time_rule: true,
    subsidy: Subsidy::Halving { initial: Amount::from_coins(50), interval: 840_000 },
    max_money: Amount::from_coins(84_000_000),
    coinbase_maturity: 100,
    min_output: Amount::ZERO,
    min_fee: Amount::ZERO,
    max_data: 0,
    max_block_weight: 4_000_000,
    max_standard_weight: 400_000,
    max_block_sigops_cost: 80_000,
    deployments: Deployments {
        bip34: Some(710_000),
        bip34_hash: "fa09d204a83a768ed5a7c8d441fa62f2043abf420cff1226c7b4329aeb9d51cf",
        bip65: Some(918_684),
        bip66: Some(811_879),
        csv: Some(1_201_536),
        segwit: Some(1_201_536),
        taproot: Some(2_257_920),
    },
    bip30_exceptions: &[],
    script_exceptions: &[],
    signet_challenge: None,
    genesis: GENESIS,
    magic: [0xfb, 0xc0, 0xb6, 0xdb],
    p2p_port: 9333,
    rpc_port: 9332,
    dns_seeds: &["seed-a.litecoin.loshan.co.uk", "dnsseed.thrasher.io", "dnsseed.litecointools.com"],
    address: AddressFormat {
        p2pkh: 48,
        p2sh: &[50, 5],
        wif: 176,
        bech32_hrp: Some("ltc"),
        xpub: [0x04, 0x88, 0xb2, 0x1e],
        xprv: [0x04, 0x88, 0xad, 0xe4],
    },
    slip44: 2,
    min_chain_work_hex: "",
    assume_valid: "",
    min_relay_fee: Amount::from_sat(1000),
    dust_relay_fee: Amount::from_sat(30_000),
};

const TEST_ADDRESSES: AddressFormat = AddressFormat {
    p2pkh: 111,
    p2sh: &[58, 196],
    wif: 239,
    bech32_hrp: Some("tltc"),
    xpub: [0x04, 0x35, 0x87, 0xcf],
    xprv: [0x04, 0x35, 0x83, 0x94],
};

pub(crate) const TESTNET: Coin = Coin {
    network: Network::Testnet,
    chain_name: "test",
    retarget: retarget(true, false),
    deployments: Deployments {
        bip34: Some(76),
        bip34_hash: "8075c771ed8b495ffd943980a95f702ab34fce3c8c54e379548bda33cc8c0573",
        bip65: Some(76),
        bip66: Some(76),
        csv: Some(6048),
        segwit: Some(6048),
        taproot: Some(2_225_664),
    },
    genesis: Genesis { time: 1_486_949_366, nonce: 293_345, bits: 0x1e0f_fff0, ..GENESIS },
    magic: [0xfd, 0xd2, 0xc8, 0xf1],
    p2p_port: 19_335,
    rpc_port: 19_332,
    dns_seeds: &[
        "testnet-seed.litecointools.com",
        "seed-b.litecoin.loshan.co.uk",
        "dnsseed-testnet.thrasher.io",
    ],
    address: TEST_ADDRESSES,
    ..MAIN
};

pub(crate) const REGTEST: Coin = Coin {
    network: Network::Regtest,
    chain_name: "regtest",
    pow_limit: bitcoin::REGTEST.pow_limit,
    retarget: retarget(true, true),
    subsidy: Subsidy::Halving { initial: Amount::from_coins(50), interval: 150 },
    deployments: Deployments {
        bip34: Some(500),
        bip34_hash: "",
        bip65: Some(1351),
        bip66: Some(1251),
        csv: Some(432),
        segwit: Some(0),
        taproot: Some(432),
    },
    genesis: Genesis { time: 1_296_688_602, nonce: 0, bits: 0x207f_ffff, ..GENESIS },
    magic: [0xfa, 0xbf, 0xb5, 0xda],
    p2p_port: 19_444,
    rpc_port: 19_443,
    dns_seeds: &[],
    address: AddressFormat { bech32_hrp: Some("rltc"), ..TEST_ADDRESSES },
    ..MAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_blocks_are_the_known_ones() {
        for (coin, hash) in [
            (&MAIN, "12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2"),
            (&TESTNET, "4966625a4b2851d9fdee139e56211a0d88575f59ed816ff5e6a63deb4e3e29a0"),
            (&REGTEST, "530827f38f93b43ed12af0b3ad25a288dc02ed74d6d7857862df51fc56c416f9"),
        ] {
            let block = coin.genesis_block();
            assert_eq!(block.hash().to_string(), hash);
            assert_eq!(
                block.header.merkle_root.to_string(),
                "97ddfbbae6be97fd6cdf3e7ca13232a3afff2353e29badfab7f73011edd4ced9"
            );
        }
    }
}
