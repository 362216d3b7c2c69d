//! Datacoin: Primecoin with a data field in every transaction. Parameters of the reference implementations 0.8.6-hp and
//! 0.16.3; see [`crate::primecoin`] for where they differ.

use lode_primitives::{Amount, Form};

use crate::{AddressFormat, Coin, Deployments, Genesis, Network, primecoin};

const GENESIS: Genesis = Genesis {
    version: 2,
    script_start: primecoin::FIRST_SCRIPT,
    text: "https://bitcointalk.org/index.php?topic=325735.0",
    output_key: &[],
    value: Amount::from_coins(1),
    time: 1_384_627_170,
    bits: 0x0600_0000,
    nonce: 49_030_125,
    multiplier: 5_651_310,
};

pub(crate) const MAIN: Coin = Coin {
    name: "datacoin",
    ticker: "DTC",
    form: Form { witness: false, data: true, multiplier: true },
    min_output: Amount::from_sat(5_000_000),
    min_fee: Amount::from_sat(5_000_000),
    max_data: 131_072,
    max_block_weight: 4 * 1_048_576,
    max_standard_weight: 4 * (131_072 + 104_857),
    max_block_sigops_cost: 4 * 20_971,
    deployments: Deployments { bip34: Some(950), ..primecoin::DEPLOYMENTS },
    genesis: GENESIS,
    magic: [0xda, 0xdc, 0xdd, 0xed],
    p2p_port: 4777,
    rpc_port: 11_777,
    dns_seeds: &[],
    address: AddressFormat { p2pkh: 30, p2sh: &[90], wif: 158, ..primecoin::MAIN.address },
    // slip44: none is registered; the parent coin's serves.
    assume_valid: "b7183015dc5e4f2e1be353329e7fd9c0eb32efef412e0a0c5c970a9aacde8d8d", // height 3128684
    min_relay_fee: Amount::from_sat(5_000_000),
    ..primecoin::MAIN
};

const TEST_ADDRESSES: AddressFormat =
    AddressFormat { p2pkh: 70, p2sh: &[132], wif: 198, ..primecoin::TEST_ADDRESSES };

pub(crate) const TESTNET: Coin = Coin {
    network: Network::Testnet,
    chain_name: "test",
    min_chain_length: 2,
    retarget: primecoin::retarget(4),
    deployments: Deployments { bip34: Some(750), ..primecoin::DEPLOYMENTS },
    genesis: Genesis {
        time: 1_385_686_192,
        bits: 0x0400_0000,
        nonce: 46_032,
        multiplier: 211_890,
        ..GENESIS
    },
    magic: [0xdb, 0xde, 0xdb, 0xd3],
    p2p_port: 4776,
    rpc_port: 11_776,
    address: TEST_ADDRESSES,
    assume_valid: "e0fd3ea6ef46adabd8f4a58d8b957e9909cd1006eaf23712761f8e72d595c676", // height 442608
    ..MAIN
};

pub(crate) const REGTEST: Coin = Coin {
    network: Network::Regtest,
    chain_name: "regtest",
    min_chain_length: 1,
    retarget: primecoin::retarget(1),
    coinbase_maturity: 10,
    deployments: primecoin::DEPLOYMENTS,
    genesis: Genesis { bits: 0x0100_0000, ..TESTNET.genesis },
    magic: [0xfa, 0xbf, 0xb5, 0xda],
    p2p_port: 18_444,
    rpc_port: 18_443,
    dns_seeds: &[],
    assume_valid: "",
    ..TESTNET
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_blocks_are_the_known_ones() {
        for (coin, hash) in [
            (&MAIN, "1d724e874ee9ea571563239bde095911f128db47c7612fb1968c08c9f95cabe8"),
            (&TESTNET, "26ee5563233ed8cbdd8af5f16bc55b73d9d8cc727392d507292ca959fd08c03f"),
            (&REGTEST, "3864a16a5e7c9f79f2ab2ebc41e943f342f6737b83649844f6b41334eb7e5ba8"),
        ] {
            let block = coin.genesis_block();
            assert_eq!(block.hash().to_string(), hash);
            assert_eq!(
                block.header.merkle_root.to_string(),
                "fe5d7082c24c53362f6b82211913d536677aaffafde0dcec6ff7b348ff6265f8"
            );
        }
    }
}
