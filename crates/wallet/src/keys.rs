//! Keys: from a mnemonic (BIP39) by the usual paths (BIP32, 44, 49, 84, 86) to the descriptors of an account.

use std::fmt;
use std::str::FromStr;

use bip39::Mnemonic;
use bitcoin::NetworkKind;
use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv, Xpub};
use lode_coins::Coin;
use lode_script::ScriptKind;
use rand::RngCore as _;
use secp256k1::SECP256K1;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The least and the most accounts that make sense to number: hardened indexes have 31 bits.
pub const ACCOUNT_MAX: u32 = (1 << 31) - 1;

/// Which form of address, and so which path its keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressKind {
    /// Pay to public key hash (BIP44).
    Legacy,
    /// Pay to witness public key hash, in a script hash (BIP49).
    Nested,
    /// Pay to witness public key hash (BIP84).
    Segwit,
    /// Pay to taproot, by its key (BIP86).
    Taproot,
}

impl AddressKind {
    /// All that `coin` knows, the one to receive with first.
    pub fn of(coin: &Coin) -> &'static [Self] {
        match (coin.form.witness, coin.deployments.taproot.is_some()) {
            (true, true) => &[Self::Segwit, Self::Taproot, Self::Nested, Self::Legacy],
            (true, false) => &[Self::Segwit, Self::Nested, Self::Legacy],
            (false, _) => &[Self::Legacy],
        }
    }

    /// Which kind an output script looks like, whosever it is. A script hash may hold anything.
    pub(crate) fn of_script(script: &[u8]) -> Option<Self> {
        match lode_script::classify(script) {
            ScriptKind::PubKeyHash(_) => Some(Self::Legacy),
            ScriptKind::ScriptHash(_) => Some(Self::Nested),
            ScriptKind::WitnessV0KeyHash(_) => Some(Self::Segwit),
            ScriptKind::WitnessV1Taproot(_) => Some(Self::Taproot),
            _ => None,
        }
    }

    /// The first step of its path: 44, 49, 84 or 86.
    pub const fn purpose(self) -> u32 {
        match self {
            Self::Legacy => 44,
            Self::Nested => 49,
            Self::Segwit => 84,
            Self::Taproot => 86,
        }
    }

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nested => "nested",
            Self::Segwit => "segwit",
            Self::Taproot => "taproot",
        }
    }

    /// The path of an account's key: `m/84'/0'/0'`.
    ///
    /// # Errors
    /// Where `account` is out of range.
    pub fn account_path(self, coin: &Coin, account: u32) -> Result<DerivationPath, KeyError> {
        let step = |index| ChildNumber::from_hardened_idx(index).map_err(|_| KeyError::Account(index));
        Ok(DerivationPath::from(vec![step(self.purpose())?, step(coin.bip44_number())?, step(account)?]))
    }

    /// The descriptors of an account by its public key: for receiving, and for change. `origin` is the fingerprint and
    /// path of the key, as `[d34db33f/84h/0h/0h]`, or empty.
    pub fn descriptors(self, origin: &str, account: &Xpub) -> [String; 2] {
        [0, 1].map(|branch| {
            let key = format!("{origin}{account}/{branch}/*");
            match self {
                Self::Legacy => format!("pkh({key})"),
                Self::Nested => format!("sh(wpkh({key}))"),
                Self::Segwit => format!("wpkh({key})"),
                Self::Taproot => format!("tr({key})"),
            }
        })
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for AddressKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Legacy, Self::Nested, Self::Segwit, Self::Taproot]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                format!("no kind of address {name:?}; there are segwit, taproot, nested and legacy")
            })
    }
}

/// Why keys were not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The words are not a mnemonic. They are a secret and not shown.
    #[error("these words are not a mnemonic: {0}")]
    Words(String),
    /// No such length.
    #[error("a mnemonic has 12, 15, 18, 21 or 24 words, not {0}")]
    Length(usize),
    /// Out of range.
    #[error("account {0} is out of range: 0 to {ACCOUNT_MAX}")]
    Account(u32),
    /// A key with an index that has none; chance 2^-127.
    #[error("no key can be derived there: {0}")]
    Derive(String),
}

/// The secret that all keys of a wallet come from.
#[derive(Clone)]
pub struct Seed {
    words: Mnemonic,
    extra: Zeroizing<String>,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

impl Seed {
    /// A new one of `count` words (12 or 24, say).
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn generate(count: usize) -> Result<Self, KeyError> {
        if !matches!(count, 12 | 15 | 18 | 21 | 24) {
            return Err(KeyError::Length(count));
        }
        let mut entropy = Zeroizing::new(vec![0; count / 3 * 4]);
        rand::rng().fill_bytes(&mut entropy);
        let words = Mnemonic::from_entropy(&entropy).map_err(|error| KeyError::Words(error.to_string()))?;
        Ok(Self { words, extra: Zeroizing::default() })
    }

    /// From its English words; any white space between them, any case.
    ///
    /// # Errors
    /// [`KeyError::Words`] says which word is unknown, or that the checksum does not fit.
    pub fn from_words(text: &str, extra: &str) -> Result<Self, KeyError> {
        let text = Zeroizing::new(text.to_lowercase());
        let count = text.split_whitespace().count();
        let words = Mnemonic::parse(&*text).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => {
                KeyError::Words(format!("word {} of {count} is not in the English list", index + 1))
            }
            bip39::Error::BadWordCount(count) => KeyError::Length(count),
            bip39::Error::InvalidChecksum => KeyError::Words(
                "their checksum does not fit: a word is wrong, or in the wrong place".to_owned(),
            ),
            other => KeyError::Words(other.to_string()),
        })?;
        Ok(Self { words, extra: Zeroizing::new(extra.to_owned()) })
    }

    /// Its words, for the owner to write down.
    pub fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(self.words.to_string())
    }

    /// BIP39's passphrase beside the words; mostly none.
    pub fn extra(&self) -> &str {
        &self.extra
    }

    /// The 64 bytes that BIP32 begins from.
    pub fn bytes(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.words.to_seed(&*self.extra))
    }

    /// The master key (BIP32).
    ///
    /// # Errors
    /// [`KeyError::Derive`], with chance 2^-127.
    pub fn master(&self, coin: &Coin) -> Result<Xpriv, KeyError> {
        Xpriv::new_master(network_kind(coin), &*self.bytes())
            .map_err(|error| KeyError::Derive(error.to_string()))
    }

    /// The descriptors of an account: for receiving, and for change.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn descriptors(&self, kind: AddressKind, coin: &Coin, account: u32) -> Result<[String; 2], KeyError> {
        let master = self.master(coin)?;
        let path = kind.account_path(coin, account)?;
        let key =
            master.derive_priv(SECP256K1, &path).map_err(|error| KeyError::Derive(error.to_string()))?;
        let steps: String = path.into_iter().map(|step| format!("/{step:#}")).collect();
        let origin = format!("[{}{}]", master.fingerprint(SECP256K1), steps.replace('\'', "h"));
        Ok(kind.descriptors(&origin, &Xpub::from_priv(SECP256K1, &key)))
    }
}

/// Which of BIP32's two prefixes.
pub(crate) const fn network_kind(coin: &Coin) -> NetworkKind {
    if matches!(coin.network, lode_coins::Network::Main) { NetworkKind::Main } else { NetworkKind::Test }
}
