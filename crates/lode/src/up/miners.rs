//! The two miners of `lode up`: each a wallet's worth of one key, kept in a file, and a CPU miner that connects to the
//! pool as any other does.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, bail};
use lode_coins::Coin;
use lode_miner::{Miner, MinerConfig, PoolUrl, Snapshot};
use lode_primitives::hash160;
use lode_script::build;
use secp256k1::SecretKey;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;
use crate::stack::Stack;

/// What they are called, unless their file says otherwise.
const NAMES: [&str; 2] = ["anna", "bert"];

/// One of the two.
pub(crate) struct Player {
    /// Its name.
    pub(crate) name: String,
    /// Where it is paid.
    pub(crate) address: String,
    miner: Option<Miner>,
}

/// Both.
pub(crate) struct Miners {
    pub(crate) players: Vec<Player>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    miners: Vec<KeyEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    address: String,
    /// Private key in wallet import format.
    key: String,
}

impl Miners {
    /// Reads their keys, made at the first start, and puts both to work on `threads` threads together; none for 0.
    pub(crate) fn start(settings: &Settings, stack: &Stack, threads: usize) -> anyhow::Result<Self> {
        let path = settings.directory()?.join("miners.toml");
        let entries = read_or_make(&path, stack.coin)?;
        let address = stack.pool.addresses().first().context("the pool listens nowhere")?;
        let url: PoolUrl = format!("stratum+tcp://{address}").parse()?;
        let count = entries.len();
        let players = entries.into_iter().enumerate().map(|(index, entry)| {
            let user = format!("{}.{}", entry.address, entry.name);
            let mut config = MinerConfig::new(url.clone(), user, stack.coin.pow);
            // Fewer threads than miners are shared: each gets its part of the time.
            (config.threads, config.cpu_percent) = match threads {
                0 => (0, 100),
                few if few < count => (1, (100 * few / count) as u8),
                many => (many / count + usize::from(index < many % count), 100),
            };
            let miner = if config.threads == 0 { None } else { Some(Miner::start(config)?) };
            Ok(Player { name: entry.name, address: entry.address, miner })
        });
        Ok(Self { players: players.collect::<anyhow::Result<_>>()? })
    }

    /// The name of the player paid at `address`; the address where it is neither's.
    pub(crate) fn name_of<'a>(&'a self, address: &'a str) -> &'a str {
        self.players.iter().find(|player| player.address == address).map_or(address, |player| &player.name)
    }

    /// Stops both.
    pub(crate) async fn stop(self) {
        for miner in self.players.into_iter().filter_map(|player| player.miner) {
            miner.stop().await;
        }
    }
}

impl Player {
    /// Its counters, while it mines.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.miner.as_ref().map(Miner::snapshot)
    }
}

fn read_or_make(path: &Path, coin: &'static Coin) -> anyhow::Result<Vec<KeyEntry>> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let file: KeyFile =
                toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
            for entry in &file.miners {
                let derived =
                    address_of(coin, &entry.key).with_context(|| format!("in {}", path.display()))?;
                if derived != entry.address {
                    bail!("in {} the key of {} is not that of {}", path.display(), entry.name, entry.address);
                }
            }
            if file.miners.is_empty() {
                bail!("{} names no miner; move it away to have two new ones made", path.display());
            }
            Ok(file.miners)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path, coin),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Two new keys, on disk before they are used. Only the owner can read the file.
fn make(path: &Path, coin: &'static Coin) -> anyhow::Result<Vec<KeyEntry>> {
    let entries = NAMES.map(|name| {
        let key = coin.encode_wif(&SecretKey::new(&mut secp256k1::rand::thread_rng()).secret_bytes());
        Ok(KeyEntry { name: name.to_owned(), address: address_of(coin, &key)?, key })
    });
    let file = KeyFile { miners: entries.into_iter().collect::<anyhow::Result<_>>()? };
    let text = format!(
        "# Keys of the miners of `lode up`, for the network local only: worth nothing elsewhere.\n{}",
        toml::to_string(&file)?
    );
    let beside = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.miners)
}

/// The address of a key: pay to witness public key hash.
fn address_of(coin: &Coin, wif: &str) -> anyhow::Result<String> {
    let key = SecretKey::from_slice(&coin.decode_wif(wif)?)?;
    let public = key.public_key(secp256k1::SECP256K1).serialize();
    coin.script_to_address(&build::p2wpkh(&hash160(&public))).context("the coin has no witness addresses")
}
