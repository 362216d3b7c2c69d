//! The networks `lode up` plays on: a coin's rules with a first block, magic and ports of their own, a difficulty
//! that two cores meet within seconds and that then follows them, and coinbases that mature after ten blocks.

use lode_primitives::{Amount, Target, U256};

use crate::bitcoin::{self, FROM_THE_START};
use crate::{AddressFormat, Coin, Deployments, Genesis, Network, Retarget, litecoin};

const EACH_BLOCK: Retarget = Retarget::EachBlock { spacing: 10, window: 12 };

const GENESIS: Genesis = Genesis {
    text: "Lode: a pool that never holds its miners' money",
    output_key: &[0; 33], // no key: the first coins are nobody's
    value: Amount::from_coins(50),
    time: 1_763_596_800,
    bits: 0,
    nonce: 0,
};

/// Starts at 2^26 hashes a block (a few seconds on two cores) and is never easier than 2^18.
pub(crate) const BITCOIN: Coin = Coin {
    network: Network::Local,
    chain_name: "local",
    pow_limit: Target(U256::from_limbs([u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 18])),
    retarget: EACH_BLOCK,
    coinbase_maturity: 10,
    deployments: Deployments { segwit: Some(0), ..FROM_THE_START },
    bip30_exceptions: &[],
    script_exceptions: &[],
    genesis: Genesis { bits: 0x1d3f_ffff, nonce: 94_098_499, ..GENESIS },
    magic: *b"lobt",
    p2p_port: 28_444,
    rpc_port: 28_443,
    dns_seeds: &[],
    address: AddressFormat { bech32_hrp: Some("lobt"), ..bitcoin::REGTEST.address },
    min_chain_work_hex: "",
    assume_valid: "",
    ..bitcoin::MAIN
};

/// Starts at 2^17 scrypt hashes a block and is never easier than 2^10.
pub(crate) const LITECOIN: Coin = Coin {
    network: Network::Local,
    chain_name: "local",
    pow_limit: Target(U256::from_limbs([u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 10])),
    retarget: EACH_BLOCK,
    coinbase_maturity: 10,
    deployments: Deployments { segwit: Some(0), ..FROM_THE_START },
    genesis: Genesis { bits: 0x1e7f_ffff, nonce: 102_574, time: 1_763_596_801, ..GENESIS },
    magic: *b"lolt",
    p2p_port: 29_444,
    rpc_port: 29_443,
    dns_seeds: &[],
    address: AddressFormat { bech32_hrp: Some("lolt"), ..litecoin::REGTEST.address },
    ..litecoin::MAIN
};
