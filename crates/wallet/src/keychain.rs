//! A keychain: one descriptor, the scripts it makes, and how far they were used.

use std::str::FromStr;

use bitcoin::bip32::{ChildNumber, Fingerprint, Xpub};
use lode_coins::Coin;
use lode_primitives::ScriptBuf;
use miniscript::descriptor::DescriptorType;
use miniscript::{DefiniteDescriptorKey, Descriptor, DescriptorPublicKey, ForEachKey as _};

use crate::AddressKind;

/// Which of a wallet's scripts: the keychain's place in the wallet, and the index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef {
    /// The keychain.
    pub keychain: usize,
    /// The index in its descriptor.
    pub index: u32,
}

/// Why a descriptor or an extended key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// It does not parse.
    #[error("{text:?}... is not a descriptor: {reason}")]
    Malformed {
        /// Its beginning.
        text: String,
        /// Why.
        reason: String,
    },
    /// It has private keys in it.
    #[error(
        "a descriptor with private keys in it; give the public one (the keys belong in `lode wallet restore`)"
    )]
    Private,
    /// It makes scripts that the coin does not know.
    #[error("a {kind} descriptor, and {coin} knows no such addresses")]
    Unknown {
        /// What it makes.
        kind: &'static str,
        /// The coin.
        coin: String,
    },
    /// Extended keys that do not say what addresses they are for.
    #[error("an xpub does not say which addresses it is for: add --kind segwit, taproot, nested or legacy")]
    NoKind,
    /// Not an extended public key.
    #[error("{0:?} is not an extended public key of this coin and network")]
    Xpub(String),
    /// An index without a key.
    #[error("the descriptor makes no script at index {0}")]
    Index(u32),
}

/// One descriptor in use.
#[derive(Clone, Debug)]
pub(crate) struct Keychain {
    descriptor: Descriptor<DescriptorPublicKey>,
    /// For change, or for receiving.
    pub(crate) change: bool,
    /// The least index never given out nor seen used.
    pub(crate) next: u32,
    /// Those after the last one seen on the chain.
    pub(crate) used: u32,
    /// Those watched: from index 0.
    scripts: Vec<ScriptBuf>,
}

impl Keychain {
    pub(crate) fn new(text: &str, change: bool, coin: &Coin) -> Result<Self, DescriptorError> {
        let descriptor = parse(text)?;
        let witness = !matches!(
            descriptor.desc_type(),
            DescriptorType::Bare | DescriptorType::Pkh | DescriptorType::Sh | DescriptorType::ShSortedMulti
        );
        let unknown = |kind| DescriptorError::Unknown { kind, coin: coin.to_string() };
        if witness && !coin.form.witness {
            return Err(unknown("witness"));
        }
        if descriptor.desc_type() == DescriptorType::Tr && coin.deployments.taproot.is_none() {
            return Err(unknown("taproot"));
        }
        Ok(Self { descriptor, change, next: 0, used: 0, scripts: Vec::new() })
    }

    /// The descriptor as text, with its checksum.
    pub(crate) fn text(&self) -> String {
        self.descriptor.to_string()
    }

    /// Which of the four usual kinds it makes, if it is one of them.
    pub(crate) fn kind(&self) -> Option<AddressKind> {
        match self.descriptor.desc_type() {
            DescriptorType::Pkh => Some(AddressKind::Legacy),
            DescriptorType::ShWpkh => Some(AddressKind::Nested),
            DescriptorType::Wpkh => Some(AddressKind::Segwit),
            DescriptorType::Tr => Some(AddressKind::Taproot),
            _ => None,
        }
    }

    /// True where it makes more than one script.
    pub(crate) fn is_ranged(&self) -> bool {
        self.descriptor.has_wildcard()
    }

    /// How many indexes there are: one, or as many as BIP32 has.
    fn len(&self) -> u32 {
        if self.is_ranged() { 1 << 31 } else { 1 }
    }

    /// The descriptor of one script.
    pub(crate) fn at(&self, index: u32) -> Result<Descriptor<DefiniteDescriptorKey>, DescriptorError> {
        self.descriptor.at_derivation_index(index).map_err(|_| DescriptorError::Index(index))
    }

    /// Makes the scripts up to `gap` after the last one given out or used; returns the index of the first new one.
    pub(crate) fn look_ahead(&mut self, gap: u32) -> Result<u32, DescriptorError> {
        let first = self.scripts.len() as u32;
        let end = self.next.max(self.used).saturating_add(gap).min(self.len());
        for index in first..end {
            self.scripts.push(self.at(index)?.script_pubkey().into_bytes());
        }
        Ok(first)
    }

    /// The scripts watched, by index.
    pub(crate) fn scripts(&self) -> &[ScriptBuf] {
        &self.scripts
    }

    /// Weight of an input that spends one of its outputs, at most.
    pub(crate) fn input_weight(&self) -> Option<usize> {
        // Outpoint, length of no script, sequence; and the count of no witness items.
        let satisfy = self.descriptor.max_weight_to_satisfy().ok()?.to_wu() as usize;
        Some(4 * 41 + 1 + satisfy)
    }
}

fn parse(text: &str) -> Result<Descriptor<DescriptorPublicKey>, DescriptorError> {
    let malformed = |reason: String| DescriptorError::Malformed { text: beginning(text), reason };
    let parsed = Descriptor::<DescriptorPublicKey>::from_str(text).map_err(|error| {
        // Private keys do not parse as public ones. They are secrets: no word of them in a message.
        if text.contains("xprv") || text.contains("tprv") {
            DescriptorError::Private
        } else {
            malformed(error.to_string())
        }
    })?;
    parsed.sanity_check().map_err(|error| malformed(error.to_string()))?;
    let sound = |key: &DescriptorPublicKey| match key {
        DescriptorPublicKey::XPub(key) => is_sound(&key.xkey),
        DescriptorPublicKey::MultiXPub(key) => is_sound(&key.xkey),
        DescriptorPublicKey::Single(_) => true,
    };
    if !parsed.for_each_key(sound) {
        return Err(malformed("an extended key without a parent says that it has one".to_owned()));
    }
    Ok(parsed)
}

/// A key at depth 0 has no parent and no number (BIP32).
fn is_sound(key: &Xpub) -> bool {
    let first = ChildNumber::Normal { index: 0 };
    key.depth > 0 || (key.parent_fingerprint == Fingerprint::default() && key.child_number == first)
}

/// As much of a descriptor as shows which it is, and no key of it.
fn beginning(text: &str) -> String {
    text.chars().take(12).collect()
}

/// The descriptors for receiving and for change of what a person gives to be watched: one descriptor (with `<0;1>` both
/// of it, else for receiving alone), or two.
///
/// # Errors
/// [`DescriptorError`].
pub fn watch_descriptors(texts: &[String]) -> Result<Vec<(String, bool)>, DescriptorError> {
    let mut all = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        let parsed = parse(text)?;
        if parsed.is_multipath() {
            let malformed = |error: miniscript::Error| DescriptorError::Malformed {
                text: beginning(text),
                reason: error.to_string(),
            };
            let singles = parsed.into_single_descriptors().map_err(malformed)?;
            all.extend(singles.iter().enumerate().map(|(branch, single)| (single.to_string(), branch == 1)));
        } else {
            all.push((parsed.to_string(), place == 1));
        }
    }
    Ok(all)
}

/// The descriptors of an account's extended public key. `zpub`, `ypub` and their kin (SLIP-132) say which addresses they
/// are for; for `xpub` and `tpub`, `kind` does.
///
/// # Errors
/// [`DescriptorError::Xpub`], [`DescriptorError::NoKind`].
pub fn xpub_descriptors(
    text: &str,
    kind: Option<AddressKind>,
    coin: &Coin,
) -> Result<Vec<(String, bool)>, DescriptorError> {
    let bad = || DescriptorError::Xpub(text.chars().take(20).collect());
    let mut bytes = bitcoin::base58::decode_check(text).map_err(|_| bad())?;
    let version: [u8; 4] = bytes.get(..4).and_then(|head| head.try_into().ok()).ok_or_else(bad)?;
    let main = coin.network == lode_coins::Network::Main;
    let told = match (version, main) {
        ([0x04, 0xb2, 0x47, 0x46], true) | ([0x04, 0x5f, 0x1c, 0xf6], false) => Some(AddressKind::Segwit),
        ([0x04, 0x9d, 0x7c, 0xb2], true) | ([0x04, 0x4a, 0x52, 0x62], false) => Some(AddressKind::Nested),
        _ if version == coin.address.xpub => None,
        _ => return Err(bad()),
    };
    let kind = kind.or(told).ok_or(DescriptorError::NoKind)?;
    bytes[..4].copy_from_slice(if main { &[0x04, 0x88, 0xb2, 0x1e] } else { &[0x04, 0x35, 0x87, 0xcf] });
    let xpub = Xpub::decode(&bytes).ok().filter(is_sound).ok_or_else(bad)?;
    Ok(kind.descriptors("", &xpub).into_iter().zip([false, true]).collect())
}
