//! Coinbase size classes: how long a coinbase a miner's firmware can hash.
//!
//! A coinbase too long is cut in silence by the firmware, and every share of that miner is refused. So a job exists in
//! as many sizes as there are classes connected. The class comes from the port's override or the user agent, and goes
//! down one where a miner's shares begin to miss after it was given a bigger one (see [`crate::session`]).

use std::fmt;
use std::str::FromStr;

/// A coinbase size class, from the smallest to the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoinbaseClass {
    /// 384 bytes: some Bitaxe firmware.
    Strict,
    /// 500 bytes: rental proxies.
    Rental,
    /// 750 bytes: whatever is not known, and stock Antminers.
    Plain,
    /// 2,250 bytes: Antminer S21, Braiins.
    Large,
    /// 6,500 bytes: Whatsminer, most Bitaxe.
    Wide,
    /// 16,000 bytes: ePIC and CPU miners.
    Full,
}

impl CoinbaseClass {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// All, from the smallest to the largest.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Strict, Self::Rental, Self::Plain, Self::Large, Self::Wide, Self::Full];

    /// Place in [`CoinbaseClass::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Bytes of the coinbase without witness, at most.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Strict => 384,
            Self::Rental => 500,
            Self::Plain => 750,
            Self::Large => 2_250,
            Self::Wide => 6_500,
            Self::Full => 16_000,
        }
    }

    /// The next smaller class; the smallest stays.
    #[must_use]
    pub const fn smaller(self) -> Self {
        match self {
            Self::Strict | Self::Rental => Self::Strict,
            Self::Plain => Self::Rental,
            Self::Large => Self::Plain,
            Self::Wide => Self::Large,
            Self::Full => Self::Wide,
        }
    }

    /// The class of a user agent as given to `mining.subscribe`. What is not known for certain is [`Self::Plain`].
    pub fn of_agent(agent: &str) -> Self {
        let agent = agent.to_ascii_lowercase();
        KNOWN.iter().find(|(part, _)| agent.contains(part)).map_or(Self::Plain, |(_, class)| *class)
    }

    /// The name in configuration and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Rental => "rental",
            Self::Plain => "plain",
            Self::Large => "large",
            Self::Wide => "wide",
            Self::Full => "full",
        }
    }
}

/// Parts of user agents and the class they are known to take; the first that fits counts.
const KNOWN: &[(&str, CoinbaseClass)] = &[
    ("nicehash", CoinbaseClass::Rental),
    ("miningrigrentals", CoinbaseClass::Rental),
    ("nerdminer", CoinbaseClass::Strict),
    ("nmminer", CoinbaseClass::Strict),
    ("bitaxe", CoinbaseClass::Wide),
    ("nerdqaxe", CoinbaseClass::Wide),
    ("nerdaxe", CoinbaseClass::Wide),
    ("whatsminer", CoinbaseClass::Wide),
    ("btminer", CoinbaseClass::Wide),
    ("antminer s21", CoinbaseClass::Large),
    ("bosminer", CoinbaseClass::Large),
    ("braiins", CoinbaseClass::Large),
    ("epic", CoinbaseClass::Full),
    ("lode", CoinbaseClass::Full),
    ("cpuminer", CoinbaseClass::Full),
];

/// True for miners known to read `set_difficulty` as a floating number: others are never sent less than 1 unasked.
pub fn takes_fractions(agent: &str) -> bool {
    let agent = agent.to_ascii_lowercase();
    ["lode", "cpuminer", "minerd", "nerdminer"].iter().any(|part| agent.contains(part))
}

/// True for miners known to take `client.show_message` and `client.reconnect`: some firmware hangs on methods it does not
/// know.
pub fn takes_messages(agent: &str) -> bool {
    let agent = agent.to_ascii_lowercase();
    ["lode", "cgminer", "bfgminer", "sgminer", "cpuminer"].iter().any(|part| agent.contains(part))
}

impl fmt::Display for CoinbaseClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CoinbaseClass {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
            format!("no coinbase class {name:?}; there are strict, rental, plain, large, wide and full")
        })
    }
}

impl serde::Serialize for CoinbaseClass {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for CoinbaseClass {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_real_miners() {
        for (agent, class) in [
            ("bitaxe/BM1370/v2.9.0", CoinbaseClass::Wide),
            ("NiceHash/1.0.0", CoinbaseClass::Rental),
            ("Antminer S21/Tue Apr", CoinbaseClass::Large),
            ("bmminer/2.0.0", CoinbaseClass::Plain),
            ("cpuminer/2.5.1", CoinbaseClass::Full),
            ("", CoinbaseClass::Plain),
        ] {
            assert_eq!(CoinbaseClass::of_agent(agent), class, "{agent}");
        }
        assert!(takes_fractions("lode/0.1.0") && !takes_fractions("bitaxe/BM1370"));
    }

    #[test]
    fn classes_are_in_order_and_named() {
        for (i, class) in CoinbaseClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), i);
            assert_eq!(class.name().parse(), Ok(class));
            assert!(class.smaller() <= class && class.smaller().max_bytes() <= class.max_bytes());
        }
    }
}
