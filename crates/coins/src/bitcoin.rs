//! Bitcoin: parameters as in Bitcoin Core's `kernel/chainparams.cpp` (version 31).

use lode_pow::PowAlgorithm;
use lode_primitives::{Amount, Form, Target, U256};

use crate::{AddressFormat, Coin, Deployments, Genesis, Network, Retarget, ScriptException, Subsidy};

const GENESIS_KEY: &[u8] = &[
    0x04, 0x67, 0x8a, 0xfd, 0xb0, 0xfe, 0x55, 0x48, 0x27, 0x19, 0x67, 0xf1, 0xa6, 0x71, 0x30, 0xb7, 0x10,
    0x5c, 0xd6, 0xa8, 0x28, 0xe0, 0x39, 0x09, 0xa6, 0x79, 0x62, 0xe0, 0xea, 0x1f, 0x61, 0xde, 0xb6, 0x49,
    0xf6, 0xbc, 0x3f, 0x4c, 0xef, 0x38, 0xc4, 0xf3, 0x55, 0x04, 0xe5, 0x1e, 0xc1, 0x12, 0xde, 0x5c, 0x38,
    0x4d, 0xf7, 0xba, 0x0b, 0x8d, 0x57, 0x8a, 0x4c, 0x70, 0x2b, 0x6b, 0xf1, 0x1d, 0x5f,
];

/// Pushes of 0x1d00ffff and 4, as the first block of all had.
pub(crate) const FIRST_SCRIPT: &[u8] = &[4, 0xff, 0xff, 0x00, 0x1d, 1, 4];

const GENESIS: Genesis = Genesis {
    version: 1,
    script_start: FIRST_SCRIPT,
    text: "The Times 03/Jan/2009 Chancellor on brink of second bailout for banks",
    output_key: GENESIS_KEY,
    value: Amount::from_coins(50),
    time: 1_231_006_505,
    bits: 0x1d00_ffff,
    nonce: 2_083_236_893,
    multiplier: 0,
};

const TWO_WEEKS: Retarget = Retarget::Interval {
    timespan: 14 * 24 * 60 * 60,
    spacing: 600,
    whole_interval: false,
    min_difficulty_blocks: false,
    never: false,
    bip94: false,
};

/// All rules from the first block on.
pub(crate) const FROM_THE_START: Deployments = Deployments {
    bip34: Some(1),
    bip34_hash: "",
    bip65: Some(1),
    bip66: Some(1),
    csv: Some(1),
    segwit: Some(1),
    taproot: Some(0),
};

const TEST_ADDRESSES: AddressFormat = AddressFormat {
    p2pkh: 111,
    p2sh: &[196],
    wif: 239,
    bech32_hrp: Some("tb"),
    xpub: [0x04, 0x35, 0x87, 0xcf],
    xprv: [0x04, 0x35, 0x83, 0x94],
};

pub(crate) const MAIN: Coin = Coin {
    name: "bitcoin",
    ticker: "BTC",
    network: Network::Main,
    chain_name: "main",
    pow: PowAlgorithm::Sha256d,
    form: Form { witness: true, data: false, multiplier: false },
    pow_limit: Target(U256::from_limbs([u64::MAX, u64::MAX, u64::MAX, 0x0000_0000_ffff_ffff])),
    min_chain_length: 0,
    retarget: TWO_WEEKS,
    median_time_rule: true,
    subsidy: Subsidy::Halving { initial: Amount::from_coins(50), interval: 210_000 },
    max_money: Amount::from_coins(21_000_000),
    coinbase_maturity: 100,
    min_output: Amount::ZERO,
    min_fee: Amount::ZERO,
    max_data: 0,
    max_block_weight: 4_000_000,
    max_standard_weight: 400_000,
    max_block_sigops_cost: 80_000,
    deployments: Deployments {
        bip34: Some(227_931),
        bip34_hash: "000000000000024b89b42a942fe0d9fea3bb44ab7bd1b19115dd6a759c0808b8",
        bip65: Some(388_381),
        bip66: Some(363_725),
        csv: Some(419_328),
        segwit: Some(481_824),
        taproot: Some(0),
    },
    bip30_exceptions: &[
        (91_842, "00000000000a4d0a398161ffc163c503763b1f4360639393e0e4c8e300e0caec"),
        (91_880, "00000000000743f190a18c5577a3c2d2a1f610ae9601ac046a38084ccb7cd721"),
    ],
    script_exceptions: &[
        ("00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22", ScriptException::NoP2sh),
        ("0000000000000000000f14c35b2d841e986ab5441de8c585d5ffe55ea1e395ad", ScriptException::NoTaproot),
    ],
    signet_challenge: None,
    genesis: GENESIS,
    magic: [0xf9, 0xbe, 0xb4, 0xd9],
    p2p_port: 8333,
    rpc_port: 8332,
    dns_seeds: &[
        "dnsseed.bluematt.me",
        "seed.bitcoin.jonasschnelli.ch",
        "seed.btc.petertodd.net",
        "seed.bitcoin.sprovoost.nl",
        "dnsseed.emzy.de",
        "seed.bitcoin.wiz.biz",
        "seed.mainnet.achownodes.xyz",
    ],
    address: AddressFormat {
        p2pkh: 0,
        p2sh: &[5],
        wif: 128,
        bech32_hrp: Some("bc"),
        xpub: [0x04, 0x88, 0xb2, 0x1e],
        xprv: [0x04, 0x88, 0xad, 0xe4],
    },
    slip44: 0,
    min_chain_work_hex: "0000000000000000000000000000000000000001128750f82f4c366153a3a030",
    assume_valid: "00000000000000000000ccebd6d74d9194d8dcdc1d177c478e094bfad51ba5ac",
    min_relay_fee: Amount::from_sat(100),
    dust_relay_fee: Amount::from_sat(3000),
};

pub(crate) const TESTNET4: Coin = Coin {
    network: Network::Testnet4,
    chain_name: "testnet4",
    retarget: Retarget::Interval {
        timespan: 14 * 24 * 60 * 60,
        spacing: 600,
        whole_interval: false,
        min_difficulty_blocks: true,
        never: false,
        bip94: true,
    },
    deployments: FROM_THE_START,
    bip30_exceptions: &[],
    script_exceptions: &[],
    genesis: Genesis {
        text: "03/May/2024 000000000000000000001ebd58c244970b3aa9d783bb001011fbe8ea8e98e00e",
        output_key: &[0; 33],
        time: 1_714_777_860,
        nonce: 393_743_547,
        ..GENESIS
    },
    magic: [0x1c, 0x16, 0x3f, 0x28],
    p2p_port: 48_333,
    rpc_port: 48_332,
    dns_seeds: &["seed.testnet4.bitcoin.sprovoost.nl", "seed.testnet4.wiz.biz"],
    address: TEST_ADDRESSES,
    min_chain_work_hex: "0000000000000000000000000000000000000000000009a0fe15d0177d086304",
    assume_valid: "0000000002368b1e4ee27e2e85676ae6f9f9e69579b29093e9a82c170bf7cf8a",
    ..MAIN
};

pub(crate) const SIGNET: Coin = Coin {
    network: Network::Signet,
    chain_name: "signet",
    pow_limit: Target(U256::from_limbs([0, 0, 0, 0x0000_0377_ae00_0000])),
    deployments: FROM_THE_START,
    bip30_exceptions: &[],
    script_exceptions: &[],
    signet_challenge: Some(&[
        0x51, 0x21, 0x03, 0xad, 0x5e, 0x0e, 0xda, 0xd1, 0x8c, 0xb1, 0xf0, 0xfc, 0x0d, 0x28, 0xa3, 0xd4, 0xf1,
        0xf3, 0xe4, 0x45, 0x64, 0x03, 0x37, 0x48, 0x9a, 0xbb, 0x10, 0x40, 0x4f, 0x2d, 0x1e, 0x08, 0x6b, 0xe4,
        0x30, 0x21, 0x03, 0x59, 0xef, 0x50, 0x21, 0x96, 0x4f, 0xe2, 0x2d, 0x6f, 0x8e, 0x05, 0xb2, 0x46, 0x3c,
        0x95, 0x40, 0xce, 0x96, 0x88, 0x3f, 0xe3, 0xb2, 0x78, 0x76, 0x0f, 0x04, 0x8f, 0x51, 0x89, 0xf2, 0xe6,
        0xc4, 0x52, 0xae,
    ]),
    genesis: Genesis { time: 1_598_918_400, nonce: 52_613_770, bits: 0x1e03_77ae, ..GENESIS },
    magic: [0x0a, 0x03, 0xcf, 0x40],
    p2p_port: 38_333,
    rpc_port: 38_332,
    dns_seeds: &["seed.signet.bitcoin.sprovoost.nl", "seed.signet.achownodes.xyz"],
    address: TEST_ADDRESSES,
    min_chain_work_hex: "00000000000000000000000000000000000000000000000000000b463ea0a4b8",
    assume_valid: "00000008414aab61092ef93f1aacc54cf9e9f16af29ddad493b908a01ff5c329",
    ..MAIN
};

pub(crate) const REGTEST: Coin = Coin {
    network: Network::Regtest,
    chain_name: "regtest",
    pow_limit: Target(U256::from_limbs([u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 1])),
    retarget: Retarget::Interval {
        timespan: 24 * 60 * 60,
        spacing: 600,
        whole_interval: false,
        min_difficulty_blocks: true,
        never: true,
        bip94: false,
    },
    subsidy: Subsidy::Halving { initial: Amount::from_coins(50), interval: 150 },
    deployments: Deployments { segwit: Some(0), ..FROM_THE_START },
    bip30_exceptions: &[],
    script_exceptions: &[],
    genesis: Genesis { time: 1_296_688_602, nonce: 2, bits: 0x207f_ffff, ..GENESIS },
    magic: [0xfa, 0xbf, 0xb5, 0xda],
    p2p_port: 18_444,
    rpc_port: 18_443,
    dns_seeds: &[],
    address: AddressFormat { bech32_hrp: Some("bcrt"), ..TEST_ADDRESSES },
    min_chain_work_hex: "",
    assume_valid: "",
    ..MAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_blocks_are_the_known_ones() {
        for (coin, hash, merkle_root) in [
            (
                &MAIN,
                "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
                "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            ),
            (
                &TESTNET4,
                "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
                "7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e",
            ),
            (
                &SIGNET,
                "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
                "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            ),
            (
                &REGTEST,
                "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
                "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            ),
        ] {
            let block = coin.genesis_block();
            assert_eq!(block.hash().to_string(), hash);
            assert_eq!(block.header.merkle_root.to_string(), merkle_root);
        }
    }
}
