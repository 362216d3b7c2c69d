//! What there is to know about a coin on one of its networks.

use std::fmt;
use std::str::FromStr;

use lode_pow::{ChainLength, PowAlgorithm};
use lode_primitives::{Amount, Block, BlockHash, Form, Height, Target, U256, Work, sha256d};

use crate::{AddressFormat, COINS, Deployments, Genesis, Retarget, ScriptException, Subsidy, bitcoin};

/// Which of a coin's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Where the money is.
    Main,
    /// The public test network (for coins that have but one).
    Testnet,
    /// Bitcoin's fourth public test network (BIP94).
    Testnet4,
    /// Blocks signed by whoever holds the challenge's keys (BIP325).
    Signet,
    /// A private network on which a block takes no time at all.
    Regtest,
    /// Lode's own: low start difficulty, a block every ten seconds, no peers needed. `lode up` plays on it.
    Local,
}

impl Network {
    /// As written on the command line and in directories.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Testnet => "testnet",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
            Self::Local => "local",
        }
    }

    /// True where coins are worth nothing, so that a node may make blocks on request and without peers.
    pub const fn is_private(self) -> bool {
        matches!(self, Self::Regtest | Self::Local)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Main, Self::Testnet, Self::Testnet4, Self::Signet, Self::Regtest, Self::Local]
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or_else(|| {
                format!("no network {name:?}; there are main, testnet, testnet4, signet, regtest and local")
            })
    }
}

/// A coin on one network.
#[derive(Debug)]
pub struct Coin {
    /// The coin's name in lower case: `bitcoin`. For people and directories only, never to be tested for.
    pub name: &'static str,
    /// Its ticker: `BTC`.
    pub ticker: &'static str,
    /// The network.
    pub network: Network,
    /// The network's name where its reference node calls it otherwise (`chain` of `getblockchaininfo`).
    pub chain_name: &'static str,
    /// What work is proven with.
    pub pow: PowAlgorithm,
    /// What transactions and headers look like on the wire.
    pub form: Form,
    /// The easiest target there is; of no meaning for prime chains.
    pub pow_limit: Target,
    /// The least whole length that a prime chain's header may ask for; 0 where work is proven otherwise.
    pub min_chain_length: u32,
    /// How the target follows the hash rate.
    pub retarget: Retarget,
    /// A header's time must be after the median time past. Where this is not asked for, blocks are still made so.
    pub median_time_rule: bool,
    /// What a block's miner may make out of nothing.
    pub subsidy: Subsidy,
    /// No amount and no sum of amounts is greater.
    pub max_money: Amount,
    /// Blocks a coinbase must be buried under before it may be spent (it is spendable in the block at its height
    /// plus this).
    pub coinbase_maturity: Height,
    /// No output may hold less (consensus); zero where any amount will do.
    pub min_output: Amount,
    /// What a transaction must pay at least for each 1,000 bytes begun, one more at an exact multiple (consensus); zero where nothing need be
    /// paid. See [`Coin::least_fee`].
    pub min_fee: Amount,
    /// Bytes of a transaction's data field at most (consensus).
    pub max_data: usize,
    /// Weight units in a block at most (BIP141); where there are no witnesses four times the bytes.
    pub max_block_weight: usize,
    /// Weight units of a transaction that is relayed, at most.
    pub max_standard_weight: usize,
    /// Signature operations in a block at most, in BIP141's cost units (four to an operation outside witnesses).
    pub max_block_sigops_cost: usize,
    /// From which height which rules hold.
    pub deployments: Deployments,
    /// Blocks in which a duplicate of an unspent transaction is allowed for what happened once (BIP30).
    pub bip30_exceptions: &'static [(Height, &'static str)],
    /// Blocks whose scripts are checked by fewer rules, for what happened once.
    pub script_exceptions: &'static [(&'static str, ScriptException)],
    /// The script that every block must satisfy (BIP325), or none.
    pub signet_challenge: Option<&'static [u8]>,
    /// The first block.
    pub genesis: Genesis,
    /// First bytes of every message and of every record in block files.
    pub magic: [u8; 4],
    /// Default port of the peer protocol.
    pub p2p_port: u16,
    /// Default port of JSON-RPC.
    pub rpc_port: u16,
    /// Host names that answer with peers' addresses.
    pub dns_seeds: &'static [&'static str],
    /// How addresses are written.
    pub address: AddressFormat,
    /// The coin's registered number in key paths (SLIP-44), on its main network; see [`Coin::bip44_number`].
    pub slip44: u32,
    /// Chains with less work are not synced to, as 64 hex digits; empty for none.
    pub min_chain_work_hex: &'static str,
    /// Scripts of this block's ancestors are taken for valid, as a block id; empty for none.
    pub assume_valid: &'static str,
    /// Work, in smallest units per 1,000 virtual bytes, below which transactions are not relayed by default.
    pub min_relay_fee: Amount,
    /// Smallest units per 1,000 virtual bytes by which the coin's nodes call an output dust: it costs more than it holds
    /// to spend at this rate.
    pub dust_relay_fee: Amount,
}

impl Coin {
    /// The first block, whole.
    pub fn genesis_block(&self) -> Block {
        self.genesis.block(self.form)
    }

    /// What the block at `height` with compact target `bits` may make out of nothing.
    pub fn subsidy(&self, height: Height, bits: u32) -> Amount {
        self.subsidy.at(height, bits)
    }

    /// The coin's number in key paths (BIP44): its registered one where its money is, 1 on every test network.
    pub const fn bip44_number(&self) -> u32 {
        if matches!(self.network, Network::Main) { self.slip44 } else { 1 }
    }

    /// What a transaction of `size` bytes must pay at least to be valid: [`Coin::min_fee`] times `1 + size / 1000`, the
    /// division rounded down (Primecoin's `GetMinFee`).
    pub const fn least_fee(&self, size: usize) -> Amount {
        Amount::from_sat(self.min_fee.to_sat().saturating_mul(1 + (size / 1000) as i64))
    }

    /// What the coinbase, of `size` bytes, of the block at `height` with compact target `bits` may pay out where the
    /// other transactions pay `fees`; `None` where the sum is no amount. Where transactions must pay a fee a coinbase of
    /// 1,000 bytes and more must too, but for the first: so many coins are never made (Primecoin 0.1 and
    /// Datacoin 0.8, `ConnectBlock`).
    pub fn reward(&self, height: Height, bits: u32, fees: Amount, size: usize) -> Option<Amount> {
        let kept_back = self.least_fee(size).checked_sub(self.min_fee)?;
        self.subsidy(height, bits).checked_sub(kept_back)?.checked_add(fees)
    }

    /// The work that a block with these `bits` stands for; `None` where no block can have them: they are no target, an
    /// easier one than the limit, or no length of a prime chain.
    pub fn block_work(&self, bits: u32) -> Option<Work> {
        match self.pow {
            PowAlgorithm::PrimeChain => ChainLength(bits).work(self.min_chain_length),
            _ => Target::from_compact(bits).ok().filter(|target| *target <= self.pow_limit).map(Target::work),
        }
    }

    /// Seconds between blocks that the retarget aims at.
    pub const fn spacing(&self) -> u32 {
        self.retarget.spacing()
    }

    /// A directory of its own for this coin and network: `bitcoin/regtest`.
    pub fn directory(&self) -> std::path::PathBuf {
        std::path::Path::new(self.name).join(self.network.name())
    }

    /// The block whose ancestors' scripts are taken for valid, if there is one.
    pub fn assume_valid(&self) -> Option<BlockHash> {
        self.assume_valid.parse().ok()
    }

    /// Least work of a chain worth syncing to.
    pub fn min_chain_work(&self) -> Work {
        let mut bytes = [0; 32];
        match hex_to(self.min_chain_work_hex, &mut bytes) {
            true => Work(U256::from_be_bytes(bytes)),
            false => Work::ZERO,
        }
    }

    /// The script rules that `block` is excused from, if it is one of the few.
    pub fn script_exception(&self, block: &BlockHash) -> Option<ScriptException> {
        let shown = block.to_string();
        self.script_exceptions.iter().find(|(hash, _)| *hash == shown).map(|(_, exception)| *exception)
    }
}

impl fmt::Display for Coin {
    /// `bitcoin regtest`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.network)
    }
}

fn hex_to(hex: &str, out: &mut [u8; 32]) -> bool {
    hex.parse::<BlockHash>().is_ok_and(|hash| {
        *out = hash.0;
        out.reverse();
        true
    })
}

/// There is no such coin, or not on that network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCoin {
    /// No coin of this name.
    #[error("no coin {0:?}; there are {1}")]
    Coin(String, String),
    /// The coin has no such network.
    #[error("{coin} has no network {network:?}; it has {known}")]
    Network {
        /// The coin.
        coin: String,
        /// The network asked for.
        network: String,
        /// The networks it has.
        known: String,
    },
}

/// Finds a coin by its name and its network's (`"bitcoin"`, `"regtest"`).
pub fn find(name: &str, network: &str) -> Result<&'static Coin, UnknownCoin> {
    let of_name: Vec<&'static Coin> = COINS.iter().copied().filter(|coin| coin.name == name).collect();
    if of_name.is_empty() {
        let mut names: Vec<&str> = COINS.iter().map(|coin| coin.name).collect();
        names.dedup();
        return Err(UnknownCoin::Coin(name.to_owned(), names.join(", ")));
    }
    of_name.iter().copied().find(|coin| coin.network.name() == network).ok_or_else(|| UnknownCoin::Network {
        coin: name.to_owned(),
        network: network.to_owned(),
        known: of_name.iter().map(|coin| coin.network.name()).collect::<Vec<_>>().join(", "),
    })
}

/// A signet of one's own (BIP325): Bitcoin's, with another `challenge` script and so another magic, no seeds and no
/// least work. The coin lives as long as the process; a process makes few.
pub fn custom_signet(challenge: &[u8]) -> &'static Coin {
    let challenge: &'static [u8] = Box::leak(challenge.to_vec().into_boxed_slice());
    let mut pushed = Vec::new();
    lode_primitives::encode_bytes(challenge, &mut pushed);
    let hash = sha256d(&pushed);
    Box::leak(Box::new(Coin {
        signet_challenge: Some(challenge),
        magic: [hash[0], hash[1], hash[2], hash[3]],
        dns_seeds: &[],
        min_chain_work_hex: "",
        assume_valid: "",
        ..bitcoin::SIGNET
    }))
}

#[cfg(test)]
mod tests {
    use lode_pow::check_prime_chain;

    use super::*;

    #[test]
    fn found_by_name_and_refused_plainly() {
        assert_eq!(find("bitcoin", "regtest").unwrap().p2p_port, 18444);
        assert!(
            find("bitcion", "main")
                .unwrap_err()
                .to_string()
                .contains("there are bitcoin, litecoin, primecoin, datacoin")
        );
        assert!(
            find("litecoin", "signet")
                .unwrap_err()
                .to_string()
                .contains("it has main, testnet, regtest, local")
        );
    }

    #[test]
    fn no_two_networks_can_be_mistaken() {
        for (i, a) in COINS.iter().enumerate() {
            for b in &COINS[i + 1..] {
                assert_ne!(a.directory(), b.directory());
                assert_ne!(a.genesis_block().hash(), b.genesis_block().hash(), "{a} and {b}");
            }
        }
    }

    #[test]
    fn signet_magic_is_the_challenge_hashed() {
        let default = find("bitcoin", "signet").unwrap();
        assert_eq!(custom_signet(default.signet_challenge.unwrap()).magic, default.magic);
        assert_ne!(custom_signet(&[0x51]).magic, default.magic);
    }

    #[test]
    fn genesis_proves_its_work() {
        for coin in COINS {
            let header = coin.genesis_block().header;
            assert!(coin.block_work(header.bits).is_some(), "{coin}");
            match coin.pow.hash(&header.pow_bytes()) {
                Some(hash) => {
                    let target = Target::from_compact(header.bits).unwrap();
                    assert!(target.is_met_by(&hash), "{coin}: {}", header.hash());
                }
                None => {
                    let (multiplier, length) =
                        (header.multiplier.as_ref().unwrap(), ChainLength(header.bits));
                    let verdict =
                        check_prime_chain(&header.pow_bytes(), multiplier, length, coin.min_chain_length);
                    assert!(verdict.is_ok(), "{coin}: {verdict:?}");
                }
            }
        }
    }

    #[test]
    fn every_constant_parses() {
        for coin in COINS {
            assert!(coin.assume_valid.is_empty() || coin.assume_valid().is_some(), "{coin}");
            assert_eq!(coin.min_chain_work_hex.is_empty(), coin.min_chain_work() == Work::ZERO);
            for (hash, _) in coin.script_exceptions {
                assert!(hash.parse::<BlockHash>().is_ok());
            }
        }
    }
}
