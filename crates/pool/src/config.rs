//! The pool's settings: the `[pool]` table of `lode.toml`, with its defaults.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lode_coins::Coin;
use lode_pow::PowAlgorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::class::CoinbaseClass;
use crate::guard::{GuardConfig, NetworkBlock};

/// The pool's settings. Every key has a default; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PoolConfig {
    /// Where miners connect. The first is the one shown to people.
    pub ports: Vec<PortConfig>,
    /// Where miners of prime chains that know only `getwork` connect, over HTTP; without it nowhere.
    #[schemars(with = "Option<String>")]
    pub getwork: Option<SocketAddr>,
    /// Text in every coinbase, at most 60 bytes.
    pub tag: String,
    /// Version bits miners may roll (BIP320), as a mask.
    pub version_mask: u32,
    /// Seconds after which a new job is sent though nothing changed but the time and the payouts.
    pub job_interval_seconds: u32,
    /// Difficulty adjustment.
    pub vardiff: VardiffConfig,
    /// Seconds without an accepted share after which a connection may be closed.
    pub idle_seconds: u32,
    /// Seconds within which a connection must have authorised.
    pub login_seconds: u32,
    /// Connections at most, over all ports; 0 for what the open-file limit allows.
    pub connections_max: usize,
    /// Where miners are sent when this pool is stopped, as HOST:PORT; without it they are told to come back here. Only those
    /// known to follow are told; most follow only within the same domain.
    pub moved_to: Option<String>,
    /// Threads that serve miners; 0 for one per processor, at most eight.
    pub threads: usize,
    /// Networks of load balancers that put a PROXY protocol header (v1 or v2) before each connection.
    #[schemars(with = "Vec<String>")]
    pub proxy_protocol_from: Vec<NetworkBlock>,
    /// Encryption for miners that connect with it, on the same ports.
    pub tls: TlsConfig,
    /// MiB of memory at most, to warn and to turn strangers away before it is reached; 0 for what the system has.
    pub memory_max_mib: u64,
    /// Limits on strangers.
    pub guard: GuardConfig,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            ports: vec![PortConfig::default()],
            getwork: None,
            tag: "/lode/".into(),
            version_mask: 0x1fff_e000,
            job_interval_seconds: 30,
            vardiff: VardiffConfig::default(),
            idle_seconds: 900,
            login_seconds: 30,
            connections_max: 0,
            moved_to: None,
            threads: 0,
            proxy_protocol_from: Vec::new(),
            tls: TlsConfig::default(),
            memory_max_mib: 0,
            guard: GuardConfig::default(),
        }
    }
}

/// One port miners connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PortConfig {
    /// Address and port to listen on.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// Difficulty a miner starts with; on prime chains a length in primes, and where it is none (100 and more) one prime less
    /// than a block's.
    pub start_difficulty: f64,
    /// Least difficulty on this port; a miner that takes fractions may go below 1 though this is 1.
    pub min_difficulty: f64,
    /// Coinbase class of all miners here, whatever their user agent says.
    #[schemars(with = "Option<String>")]
    pub class: Option<CoinbaseClass>,
    /// False: the difficulty stays as it was asked for.
    pub vardiff: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 3333),
            start_difficulty: 1024.0,
            min_difficulty: 1.0,
            class: None,
            vardiff: true,
        }
    }
}

/// Encryption: a miner's first byte says whether it wants it. The files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate with its chain, as a PEM file; without one there is no encryption.
    pub certificate: Option<PathBuf>,
    /// Its private key, as a PEM file.
    pub key: Option<PathBuf>,
}

/// Difficulty adjustment: powers of two, towards a steady rate of shares per connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VardiffConfig {
    /// Shares a minute aimed at.
    pub shares_per_minute: f64,
    /// Seconds of shares to judge by.
    pub window_seconds: u32,
}

impl Default for VardiffConfig {
    fn default() -> Self {
        Self { shares_per_minute: 12.0, window_seconds: 60 }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No port.
    #[error("the pool has no ports: add one to pool.ports")]
    NoPorts,
    /// A difficulty that is none.
    #[error("difficulty {0} is not a positive number")]
    Difficulty(f64),
    /// The tag is too long.
    #[error("the tag has {0} bytes, at most {max} fit into a coinbase", max = crate::job::MAX_TAG)]
    Tag(usize),
    /// A place to go to that is none.
    #[error("pool.moved_to is {0:?}; it must be HOST:PORT")]
    MovedTo(String),
    /// `getwork` for a coin whose miners have better.
    #[error("pool.getwork is for coins with prime chains; {0} is mined over pool.ports")]
    Getwork(String),
    /// Something that must be at least one is zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

impl PoolConfig {
    /// Refuses what cannot work, or not with this coin.
    pub fn check_for(&self, coin: &Coin) -> Result<(), ConfigError> {
        if self.getwork.is_some() && coin.pow != PowAlgorithm::PrimeChain {
            return Err(ConfigError::Getwork(coin.to_string()));
        }
        self.check()
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.ports.is_empty() {
            return Err(ConfigError::NoPorts);
        }
        let rate = self.vardiff.shares_per_minute;
        let difficulties = self.ports.iter().flat_map(|port| [port.start_difficulty, port.min_difficulty]);
        if let Some(bad) = difficulties.chain([rate]).find(|d| lode_stratum::Difficulty::new(*d).is_none()) {
            return Err(ConfigError::Difficulty(bad));
        }
        if self.tag.len() > crate::job::MAX_TAG {
            return Err(ConfigError::Tag(self.tag.len()));
        }
        if let Some(place) = self.moved_to.as_ref().filter(|_| self.moved_to().is_none()) {
            return Err(ConfigError::MovedTo(place.clone()));
        }
        for (what, value) in [
            ("pool.job_interval_seconds", self.job_interval_seconds),
            ("pool.vardiff.window_seconds", self.vardiff.window_seconds),
            ("pool.idle_seconds", self.idle_seconds),
            ("pool.login_seconds", self.login_seconds),
            ("pool.guard.offences_max", self.guard.offences_max),
            ("pool.guard.work_floor_seconds", self.guard.work_floor_seconds),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(what));
            }
        }
        Ok(())
    }
}

impl PoolConfig {
    /// [`Self::moved_to`] as host and port.
    pub fn moved_to(&self) -> Option<(&str, u16)> {
        let (host, port) = self.moved_to.as_deref()?.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then_some((host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_nonsense_is_refused() {
        assert_eq!(PoolConfig::default().check(), Ok(()));
        let config = PoolConfig { ports: vec![], ..PoolConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::NoPorts));
        let port = PortConfig { start_difficulty: 0.0, ..PortConfig::default() };
        let config = PoolConfig { ports: vec![port], ..PoolConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::Difficulty(0.0)));
        let config = PoolConfig { tag: "x".repeat(61), ..PoolConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("61 bytes"));
        let config = PoolConfig { getwork: Some("[::1]:9332".parse().unwrap()), ..PoolConfig::default() };
        let find = |name| lode_coins::find(name, "main").unwrap();
        assert_eq!(config.check_for(find("datacoin")), Ok(()));
        assert!(config.check_for(find("bitcoin")).unwrap_err().to_string().contains("pool.getwork"));
        let config = PoolConfig { moved_to: Some("pool.example".into()), ..PoolConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("HOST:PORT"));
        assert!(serde_json::from_str::<PoolConfig>(r#"{"prots":[]}"#).is_err());
        let config: PoolConfig =
            serde_json::from_str(r#"{"ports":[{"bind":"0.0.0.0:3334","class":"rental"}]}"#).unwrap();
        assert_eq!(config.ports[0].class, Some(CoinbaseClass::Rental));
    }
}
