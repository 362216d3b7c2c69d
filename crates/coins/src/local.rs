//! The networks `lode up` plays on: a coin's rules with a first block, magic and ports of their own, a difficulty
//! that two cores meet within seconds and that then follows them, and coinbases that mature after ten blocks.

use lode_primitives::{Amount, Target, U256};

use crate::bitcoin::{self, FROM_THE_START};
use crate::{AddressFormat, Coin, Deployments, Genesis, Network, Retarget, datacoin, litecoin, primecoin};

const EACH_BLOCK: Retarget = Retarget::EachBlock { spacing: 10, window: 12 };

const GENESIS: Genesis = Genesis {
    version: 1,
    script_start: bitcoin::FIRST_SCRIPT,
    text: "Lode: a pool that never holds its miners' money",
    output_key: &[0; 33], // no key: the first coins are nobody's
    value: Amount::from_coins(50),
    time: 1_763_596_800,
    bits: 0,
    nonce: 0,
    multiplier: 0,
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

/// Starts at chains of [`PRIMES`] primes, and is never easier than two.
pub(crate) const PRIMECOIN: Coin = Coin {
    network: Network::Local,
    chain_name: "local",
    min_chain_length: 2,
    retarget: Retarget::ChainLength { spacing: 10, window: 12, initial: PRIMES, elapsed_max: Some(60) },
    coinbase_maturity: 10,
    genesis: Genesis {
        version: 2,
        bits: PRIMES << 24,
        nonce: 26_996,
        multiplier: 70_479_552,
        time: 1_763_596_802,
        ..GENESIS
    },
    magic: *b"loxp",
    p2p_port: 30_444,
    rpc_port: 30_443,
    dns_seeds: &[],
    address: primecoin::TEST_ADDRESSES,
    assume_valid: "",
    ..primecoin::MAIN
};

/// As [`PRIMECOIN`].
pub(crate) const DATACOIN: Coin = Coin {
    network: Network::Local,
    chain_name: "local",
    min_chain_length: 2,
    retarget: PRIMECOIN.retarget,
    coinbase_maturity: 10,
    deployments: primecoin::DEPLOYMENTS,
    genesis: Genesis { nonce: 80_330, multiplier: 124_000_448, time: 1_763_596_803, ..PRIMECOIN.genesis },
    magic: *b"lodt",
    p2p_port: 31_444,
    rpc_port: 31_443,
    dns_seeds: &[],
    address: datacoin::TESTNET.address,
    assume_valid: "",
    ..datacoin::MAIN
};

/// Primes in a chain at first: two cores find one within seconds.
const PRIMES: u32 = 5;
