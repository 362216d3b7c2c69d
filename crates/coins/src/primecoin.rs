//! Primecoin: parameters of the reference implementations 0.1 and 0.16.3. Where those differ the older ones' are kept,
//! which what stands in the chain meets: a stricter soft fork of the newer one that the older does not know is no
//! reason to leave the longest chain.

use lode_pow::PowAlgorithm;
use lode_primitives::{Amount, Form, Target, U256};

use crate::{AddressFormat, Coin, Deployments, Genesis, Network, Retarget, Subsidy};

/// `OP_0`, then a push of 999.
pub(crate) const FIRST_SCRIPT: &[u8] = &[0, 2, 0xe7, 0x03];

const GENESIS: Genesis = Genesis {
    version: 2,
    script_start: FIRST_SCRIPT,
    text: "Sunny King - dedicated to Satoshi Nakamoto and all who have fought for the freedom of mankind",
    output_key: &[],
    value: Amount::from_coins(1),
    time: 1_373_064_429,
    bits: 0x0600_0000,
    nonce: 383,
    multiplier: 532_541 * 223_092_870,
};

/// One week's average, a block a minute.
pub(crate) const fn retarget(initial: u32) -> Retarget {
    Retarget::ChainLength { spacing: 60, window: 10_080, initial, elapsed_max: None }
}

/// Height in the coinbase from the first block on; no soft fork since has come into force.
pub(crate) const DEPLOYMENTS: Deployments = Deployments {
    bip34: Some(1),
    bip34_hash: "",
    bip65: None,
    bip66: None,
    csv: None,
    segwit: None,
    taproot: None,
};

pub(crate) const MAIN: Coin = Coin {
    name: "primecoin",
    ticker: "XPM",
    network: Network::Main,
    chain_name: "main",
    pow: PowAlgorithm::PrimeChain,
    form: Form { witness: false, data: false, multiplier: true },
    pow_limit: Target(U256::MAX),
    min_chain_length: 6,
    retarget: retarget(7),
    // The reference of 2020 does not check it, and nodes of both kinds follow chains that break it.
    median_time_rule: false,
    subsidy: Subsidy::InverseSquare { coins: Amount::from_coins(999), unit: Amount::from_sat(1_000_000) },
    max_money: Amount::from_coins(2_000_000_000),
    coinbase_maturity: 3000,
    min_output: Amount::from_sat(1_000_000),
    min_fee: Amount::from_sat(1_000_000),
    max_data: 0,
    max_block_weight: 4_000_000,
    max_standard_weight: 400_000,
    max_block_sigops_cost: 80_000,
    deployments: DEPLOYMENTS,
    bip30_exceptions: &[],
    script_exceptions: &[],
    signet_challenge: None,
    genesis: GENESIS,
    magic: [0xe4, 0xe7, 0xe5, 0xe7],
    p2p_port: 9911,
    rpc_port: 9912,
    dns_seeds: &[
        "seed.primecoin.info",
        "primeseed.muuttuja.org",
        "seed.primecoin.org",
        "xpm.dnsseed.coinsforall.io",
    ],
    address: AddressFormat {
        p2pkh: 23,
        p2sh: &[83],
        wif: 151,
        bech32_hrp: None,
        xpub: [0x04, 0x88, 0xb2, 0x1e],
        xprv: [0x04, 0x88, 0xad, 0xe4],
    },
    slip44: 24,
    min_chain_work_hex: "",
    assume_valid: "47519676a8175884cd87db091e42c3a9a66fa566a368d3ba1897cd2cab5a5e5f", // height 3685413
    min_relay_fee: Amount::from_sat(1_000_000),
    dust_relay_fee: Amount::ZERO,
};

pub(crate) const TEST_ADDRESSES: AddressFormat = AddressFormat {
    p2pkh: 111,
    p2sh: &[196],
    wif: 239,
    bech32_hrp: None,
    xpub: [0x04, 0x35, 0x87, 0xcf],
    xprv: [0x04, 0x35, 0x83, 0x94],
};

pub(crate) const TESTNET: Coin = Coin {
    network: Network::Testnet,
    chain_name: "test",
    min_chain_length: 2,
    retarget: retarget(5),
    genesis: Genesis { time: 1_373_063_882, nonce: 1513, multiplier: 585_641 * 223_092_870, ..GENESIS },
    magic: [0xfb, 0xfe, 0xcb, 0xc3],
    p2p_port: 9913,
    rpc_port: 9914,
    dns_seeds: &[
        "testseed.primecoin.info",
        "primeseedtn.muuttuja.org",
        "seed.testnet.primecoin.org",
        "xpmtestnet.dnsseed.coinsforall.io",
    ],
    address: TEST_ADDRESSES,
    assume_valid: "da3f7eb0c590bdbb806fc0f494d15e7d6f1f7d2385a1a63908fc3a9bbaa59ba2", // height 1442707
    ..MAIN
};

/// The reference has none that works: its first block fails the check. This one has a first block of its own that does
/// not, a length that takes no time, and coinbases that mature soon.
pub(crate) const REGTEST: Coin = Coin {
    network: Network::Regtest,
    chain_name: "regtest",
    min_chain_length: 2,
    retarget: retarget(2),
    coinbase_maturity: 10,
    genesis: Genesis { time: 1_373_063_882, bits: 0x0200_0000, nonce: 716, multiplier: 2464, ..GENESIS },
    magic: [0xfa, 0xbf, 0xb5, 0xda],
    p2p_port: 9915,
    rpc_port: 18_443,
    dns_seeds: &[],
    address: TEST_ADDRESSES,
    assume_valid: "",
    ..MAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_blocks_are_the_known_ones() {
        for (coin, hash) in [
            (&MAIN, "963d17ba4dc753138078a2f56afb3af9674e2546822badff26837db9a0152106"),
            (&TESTNET, "221156cf301bc3585e72de34fe1efdb6fbd703bc27cfc468faa1cdd889d0efa0"),
        ] {
            let block = coin.genesis_block();
            assert_eq!(block.hash().to_string(), hash);
            assert_eq!(
                block.header.merkle_root.to_string(),
                "aca30eb61dffbb9412d0ae743c3d74554f710853daec40ebd2514e830e05c9ff"
            );
        }
    }
}
