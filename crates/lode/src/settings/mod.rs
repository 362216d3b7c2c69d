//! `lode.toml`: every setting of the pool, its default and its meaning.
//!
//! The doc comment of each field is the one place where its meaning is written: `lode config` prints it above the
//! key, `lode pool --help` beside the flag. Keys are TOML's; each is a flag as well (`pool.tag` is `--pool.tag`,
//! underscores are dashes there) which wins over the file. Secrets are never flags: they come from files or the
//! environment.

mod flags;
mod keys;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lode_coins::Coin;
use lode_pool::PoolConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use flags::Overrides;

use crate::node::default_data_dir;

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The coin: bitcoin or litecoin.
    pub(crate) coin: String,
    /// Its network: main, testnet4, testnet, signet, regtest or local.
    pub(crate) network: String,
    /// Where everything is kept, in a directory of its own for each coin and network.
    pub(crate) data_dir: PathBuf,
    /// Where block templates come from and found blocks go.
    pub(crate) node: NodeSettings,
    /// How miners are paid.
    pub(crate) payout: PayoutSettings,
    /// The record of accepted shares.
    pub(crate) log: LogSettings,
    /// Miners' connections and jobs.
    pub(crate) pool: PoolConfig,
    /// The dashboard.
    pub(crate) web: WebSettings,
}

/// Where block templates come from and found blocks go.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodeSettings {
    /// Nodes of your own, first choice first; with none the embedded node runs.
    pub(crate) external: Vec<ExternalNode>,
    /// Embedded node: where it takes peers.
    pub(crate) p2p_bind: Option<SocketAddr>,
    /// Embedded node: where it takes JSON-RPC.
    pub(crate) rpc_bind: Option<SocketAddr>,
    /// Embedded node: the only peers to talk to; with none it finds its own.
    pub(crate) connect: Vec<SocketAddr>,
    /// Embedded node: MiB of block files to keep, 0 for all.
    pub(crate) prune_mib: u64,
    /// Embedded node: make compact filters of all blocks (BIP158) and serve them to light clients; not with prune_mib.
    pub(crate) filters: bool,
    /// The script that blocks of a signet of your own must satisfy (BIP325), in hex.
    pub(crate) signet_challenge: Option<String>,
}

/// A node of your own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExternalNode {
    /// Its JSON-RPC, as http://HOST:PORT.
    pub(crate) url: String,
    /// Its cookie file; or a user and a password file.
    pub(crate) cookie_file: Option<PathBuf>,
    /// JSON-RPC user.
    pub(crate) user: Option<String>,
    /// A file that holds nothing but the password; without one the environment's LODE_NODE_PASSWORD is taken.
    pub(crate) password_file: Option<PathBuf>,
    /// Where it announces blocks over ZMQ, as tcp://HOST:PORT; without one the node is asked, and long poll is used as well.
    pub(crate) zmq: Option<String>,
}

/// How miners are paid.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PayoutSettings {
    /// Whose work a block pays for: time (that of the last while), work (the last blocks' worth) or solo (the finder's).
    pub(crate) window: WindowName,
    /// With the window by time: its length in seconds.
    pub(crate) window_seconds: u32,
    /// With the window by work: how many blocks' worth of it.
    pub(crate) window_blocks: u32,
    /// The pool's fee in basis points (hundredths of a percent).
    pub(crate) fee_basis_points: u16,
    /// Where the fee is paid; needed with a fee.
    pub(crate) fee_address: Option<String>,
    /// Least payout in satoshi; what is less is carried to a later block.
    pub(crate) minimum_sat: i64,
    /// Days without work after which what a miner owes, or is owed below the least payout, is written off and shared by all.
    pub(crate) forget_days: u32,
}

/// The record of accepted shares.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSettings {
    /// MiB of one file of the log, 1 to 2047; the next is begun then. 64 MiB hold about three million shares.
    pub(crate) segment_mib: u64,
    /// Hours to keep shares that have left the payout window; 0 keeps all, for audits.
    pub(crate) keep_hours: u64,
}

/// The payout window's kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WindowName {
    Time,
    Work,
    Solo,
}

/// The dashboard.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebSettings {
    /// Where the dashboard, its API and the metrics are served.
    pub(crate) bind: SocketAddr,
    /// The host name that miners are told to connect to; without one, the address the pool listens on.
    pub(crate) stratum_host: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            coin: "bitcoin".to_owned(),
            network: "main".to_owned(),
            data_dir: default_data_dir().unwrap_or_else(|_| PathBuf::from(".lode")),
            node: NodeSettings::default(),
            payout: PayoutSettings::default(),
            log: LogSettings::default(),
            pool: PoolConfig::default(),
            web: WebSettings::default(),
        }
    }
}

impl Default for PayoutSettings {
    fn default() -> Self {
        Self {
            window: WindowName::Time,
            window_seconds: 3600,
            window_blocks: 2,
            fee_basis_points: 0,
            fee_address: None,
            minimum_sat: 1000,
            forget_days: 30,
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { segment_mib: 64, keep_hours: 0 }
    }
}

impl Default for WebSettings {
    fn default() -> Self {
        Self { bind: SocketAddr::from(([127, 0, 0, 1], 8080)), stratum_host: None }
    }
}

impl Settings {
    /// Reads `file`, if one is named, and lets `overrides` win over it.
    pub(crate) fn load(file: Option<&Path>, overrides: &Overrides) -> anyhow::Result<Self> {
        let mut table = match file {
            None => toml::Table::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let table: toml::Table =
                    text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
                keys::refuse_unknown(&table).with_context(|| format!("in {}", path.display()))?;
                table
            }
        };
        overrides.apply(&mut table);
        toml::Value::Table(table).try_into::<Self>().context(match file {
            Some(path) => format!("the settings in {} and the flags do not fit", path.display()),
            None => "the flags do not fit".to_owned(),
        })
    }

    /// The coin these settings name.
    pub(crate) fn coin(&self) -> anyhow::Result<&'static Coin> {
        let coin = lode_coins::find(&self.coin, &self.network)?;
        match &self.node.signet_challenge {
            None => Ok(coin),
            Some(_) if coin.signet_challenge.is_none() => {
                bail!("node.signet_challenge is set, but {coin} is no signet: set network = \"signet\"")
            }
            Some(challenge) => {
                let challenge = hex::decode(challenge).context("node.signet_challenge is not hex")?;
                Ok(lode_coins::custom_signet(&challenge))
            }
        }
    }

    /// The directory of this coin and network.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        Ok(self.data_dir.join(self.coin()?.directory()))
    }

    /// Where the pool keeps its share log, its books and its found blocks.
    pub(crate) fn pool_directory(&self) -> anyhow::Result<PathBuf> {
        Ok(self.directory()?.join("pool"))
    }

    /// The file `lode.toml` that would say the same, each key with its meaning.
    pub(crate) fn to_commented_toml(&self) -> String {
        keys::print(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<Settings> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Settings::load(Some(file.path()), &Overrides::default())
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let printed = Settings::default().to_commented_toml();
        let read = load(&printed).unwrap_or_else(|error| panic!("{error:#}\n{printed}"));
        assert_eq!(read.to_commented_toml(), printed);
        assert!(
            printed.contains("# Where the fee is paid; needed with a fee.\n# fee_address ="),
            "{printed}"
        );
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest() {
        for (text, said) in [
            ("netwrok = \"main\"", "no setting `netwrok`; did you mean `network`?"),
            (
                "[payout]\nfee_adress = \"x\"",
                "no setting `payout.fee_adress`; did you mean `payout.fee_address`?",
            ),
            (
                "[[node.external]]\nurk = \"x\"",
                "no setting `node.external.urk`; did you mean `node.external.url`?",
            ),
        ] {
            let error = format!("{:#}", load(text).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_wrong_type_says_where() {
        let error = format!("{:#}", load("[payout]\nfee_basis_points = \"ten\"").unwrap_err());
        assert!(error.contains("fee_basis_points") || error.contains("u16"), "{error}");
        assert!(format!("{:#}", load("coin = ").unwrap_err()).contains("is not TOML"));
    }

    #[test]
    fn a_challenge_needs_a_signet() {
        let mut settings = Settings { network: "regtest".into(), ..Settings::default() };
        settings.node.signet_challenge = Some("51".into());
        assert!(settings.coin().unwrap_err().to_string().contains("no signet"));
        settings.network = "signet".into();
        assert_eq!(settings.coin().unwrap().signet_challenge, Some(&[0x51][..]));
    }
}
