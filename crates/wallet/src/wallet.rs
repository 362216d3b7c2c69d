//! The wallet as it is in memory, and its way to and from the file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lode_coins::Coin;
use lode_primitives::{
    Amount, BlockHash, Decode as _, Encode as _, Height, OutPoint, ScriptBuf, Transaction, TxOut, Txid,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::file::WalletFile;
use crate::keychain::{KeyRef, Keychain};
use crate::source::BlockRef;
use crate::{AddressKind, Plan, Seed, WalletError};

/// Unused addresses after the last used one that are watched: the usual limit (BIP44).
pub const GAP: u32 = 20;
/// The widest gap that may be asked for: each script is a key to derive and to look for in every block.
pub const GAP_MAX: u32 = 10_000;
/// A label's length at most, in bytes.
pub const LABEL_BYTES_MAX: usize = 200;

/// A transaction that concerns the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletTx {
    /// The transaction.
    pub tx: Transaction,
    /// The block it is in, if it is in one.
    pub block: Option<BlockRef>,
    /// Its block's time, or when it was first seen; Unix seconds.
    pub time: u64,
}

/// What a new wallet is made of.
#[derive(Debug)]
pub enum Keys {
    /// Keys of its own, of all kinds of address the coin knows.
    Own(Seed),
    /// Descriptors to watch, each for change or not.
    Watch(Vec<(String, bool)>),
}

/// What a new wallet is to know.
#[derive(Debug)]
pub struct NewWallet {
    /// The coin and network.
    pub coin: &'static Coin,
    /// Its keys.
    pub keys: Keys,
    /// Which account of the seed (BIP44), from 0.
    pub account: u32,
    /// No payment is older than this block.
    pub birthday: Height,
    /// Unused addresses watched after the last used one.
    pub gap: u32,
}

/// An open wallet.
#[derive(Debug)]
pub struct Wallet {
    pub(crate) coin: &'static Coin,
    file: WalletFile,
    seed: Option<Seed>,
    account: u32,
    gap: u32,
    pub(crate) birthday: Height,
    pub(crate) keychains: Vec<Keychain>,
    pub(crate) by_script: HashMap<ScriptBuf, KeyRef>,
    /// Blocks up to which the chain was read, in rising order.
    pub(crate) checkpoints: Vec<BlockRef>,
    pub(crate) txs: BTreeMap<Txid, WalletTx>,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    words: Option<String>,
    extra: String,
    account: u32,
    gap: u32,
    birthday: Height,
    keychains: Vec<KeychainState>,
    checkpoints: Vec<(Height, String)>,
    transactions: Vec<TxState>,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeychainState {
    descriptor: String,
    change: bool,
    next: u32,
    used: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TxState {
    hex: String,
    block: Option<(Height, String)>,
    time: u64,
}

impl Wallet {
    /// Makes a wallet and its file at `path`.
    ///
    /// # Errors
    /// [`WalletError::File`] (there is one already, the disk), [`WalletError::Descriptor`], [`WalletError::Gap`].
    pub fn create(path: &Path, passphrase: &str, new: NewWallet) -> Result<Self, WalletError> {
        let NewWallet { coin, keys, account, birthday, gap } = new;
        if gap == 0 || gap > GAP_MAX {
            return Err(WalletError::Gap(gap));
        }
        let mut descriptors = Vec::new();
        let seed = match keys {
            Keys::Own(seed) => {
                for &kind in AddressKind::of(coin) {
                    let [receive, change] = seed.descriptors(kind, coin, account)?;
                    descriptors.extend([(receive, false), (change, true)]);
                }
                Some(seed)
            }
            Keys::Watch(watched) => {
                descriptors = watched;
                None
            }
        };
        let keychains = descriptors.iter().map(|(text, change)| Keychain::new(text, *change, coin));
        let keychains = keychains.collect::<Result<_, _>>()?;
        let file = WalletFile::create(path, coin.name, coin.network.name(), passphrase)?;
        let mut wallet = Self {
            coin,
            file,
            seed,
            account,
            gap,
            birthday,
            keychains,
            by_script: HashMap::new(),
            checkpoints: Vec::new(),
            txs: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        wallet.look_ahead()?;
        wallet.save()?;
        Ok(wallet)
    }

    /// Opens the wallet at `path`, which must be one of `coin`.
    ///
    /// # Errors
    /// [`WalletError::File`] says what is wrong with the file or the passphrase; [`WalletError::OtherCoin`].
    pub fn open(path: &Path, passphrase: &str, coin: &'static Coin) -> Result<Self, WalletError> {
        let (file, plain) = WalletFile::open(path, passphrase)?;
        let header = file.header();
        if header.coin != coin.name || header.network != coin.network.name() {
            return Err(WalletError::OtherCoin {
                found: format!("{} {}", header.coin, header.network),
                wanted: coin.to_string(),
            });
        }
        let damaged = |reason: String| WalletError::State { path: path.to_owned(), reason };
        let state: State = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        let words = state.words.map(Zeroizing::new);
        let extra = Zeroizing::new(state.extra);
        let seed = words.map(|words| Seed::from_words(&words, &extra)).transpose()?;
        let mut keychains = Vec::new();
        for kept in state.keychains {
            let mut keychain = Keychain::new(&kept.descriptor, kept.change, coin)?;
            (keychain.next, keychain.used) = (kept.next, kept.used);
            keychains.push(keychain);
        }
        let block_ref = |(height, hash): &(Height, String)| match hash.parse::<BlockHash>() {
            Ok(hash) => Ok(BlockRef { height: *height, hash }),
            Err(error) => Err(damaged(error.to_string())),
        };
        let mut txs = BTreeMap::new();
        for kept in &state.transactions {
            let bytes = hex::decode(&kept.hex).map_err(|error| damaged(error.to_string()))?;
            let tx =
                Transaction::from_bytes(&bytes, coin.form).map_err(|error| damaged(error.to_string()))?;
            let block = kept.block.as_ref().map(block_ref).transpose()?;
            txs.insert(tx.txid(), WalletTx { tx, block, time: kept.time });
        }
        let checkpoints = state.checkpoints.iter().map(block_ref).collect::<Result<_, _>>()?;
        let mut wallet = Self {
            coin,
            file,
            seed,
            account: state.account,
            gap: state.gap,
            birthday: state.birthday,
            keychains,
            by_script: HashMap::new(),
            checkpoints,
            txs,
            labels: state.labels,
        };
        wallet.look_ahead()?;
        Ok(wallet)
    }

    /// Writes everything to the file. When this returns, it is on disk.
    ///
    /// # Errors
    /// [`WalletError::File`]; the file then is as it was before.
    pub fn save(&mut self) -> Result<(), WalletError> {
        let keychains = self.keychains.iter().map(|keychain| KeychainState {
            descriptor: keychain.text(),
            change: keychain.change,
            next: keychain.next,
            used: keychain.used,
        });
        let pair = |block: &BlockRef| (block.height, block.hash.to_string());
        let transactions = self.txs.values().map(|tx| TxState {
            hex: hex::encode(tx.tx.to_bytes()),
            block: tx.block.as_ref().map(pair),
            time: tx.time,
        });
        let mut state = State {
            words: self.seed.as_ref().map(|seed| seed.words().to_string()),
            extra: self.seed.as_ref().map(|seed| seed.extra().to_owned()).unwrap_or_default(),
            account: self.account,
            gap: self.gap,
            birthday: self.birthday,
            keychains: keychains.collect(),
            checkpoints: self.checkpoints.iter().map(pair).collect(),
            transactions: transactions.collect(),
            labels: self.labels.clone(),
        };
        let plain = serde_json::to_vec(&state).map(Zeroizing::new);
        state.words.iter_mut().for_each(zeroize::Zeroize::zeroize);
        zeroize::Zeroize::zeroize(&mut state.extra);
        let plain = plain.map_err(|error| WalletError::State {
            path: self.path().to_owned(),
            reason: error.to_string(),
        })?;
        Ok(self.file.write(&plain)?)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The coin and network.
    pub const fn coin(&self) -> &'static Coin {
        self.coin
    }

    /// The secret, unless the wallet only watches.
    pub const fn seed(&self) -> Option<&Seed> {
        self.seed.as_ref()
    }

    /// Which account of the seed.
    pub const fn account(&self) -> u32 {
        self.account
    }

    /// Unused addresses watched after the last used one.
    pub const fn gap(&self) -> u32 {
        self.gap
    }

    /// The last block read, if any was.
    pub fn synced_to(&self) -> Option<BlockRef> {
        self.checkpoints.last().copied()
    }

    /// The public descriptors, each with what it is for (true: change): all that watching takes.
    pub fn descriptors(&self) -> Vec<(String, bool)> {
        self.keychains.iter().map(|keychain| (keychain.text(), keychain.change)).collect()
    }

    /// The kinds of address that it can receive with.
    pub fn kinds(&self) -> Vec<AddressKind> {
        self.keychains.iter().filter(|keychain| !keychain.change).filter_map(Keychain::kind).collect()
    }

    /// Watches `gap` unused addresses from now on, and reads the chain again from the birthday at the next sync.
    ///
    /// # Errors
    /// [`WalletError::Gap`].
    pub fn set_gap(&mut self, gap: u32) -> Result<(), WalletError> {
        if gap == 0 || gap > GAP_MAX {
            return Err(WalletError::Gap(gap));
        }
        self.gap = gap;
        self.look_ahead()?;
        self.rescan_from(self.birthday);
        Ok(())
    }

    /// Has the next sync read the chain again from `height` on.
    pub fn rescan_from(&mut self, height: Height) {
        self.birthday = self.birthday.min(height);
        self.checkpoints.retain(|block| block.height < height);
    }

    /// An address to be paid at that was never given out; of the kind asked for, else of the first the wallet has. To
    /// be saved before it is shown.
    ///
    /// # Errors
    /// [`WalletError::NoKind`] where the wallet has no such keys.
    pub fn new_address(&mut self, kind: Option<AddressKind>) -> Result<String, WalletError> {
        let keychain = self.keychain_for(kind, false)?;
        let (_, script) = self.take_script(keychain)?;
        self.address_of(&script).ok_or_else(|| WalletError::NoAddress(hex::encode(script)))
    }

    /// How many addresses before the next one of this kind were given out and never paid: past the gap limit, another
    /// wallet restored from the same words would not find them.
    pub fn unpaid_addresses(&self, kind: Option<AddressKind>) -> u32 {
        self.keychain_for(kind, false)
            .map(|at| self.keychains[at].next.saturating_sub(self.keychains[at].used))
            .unwrap_or(0)
    }

    /// Every address given out or paid, with its path's end, and whether it is for change.
    pub fn addresses(&self) -> Vec<(KeyRef, bool, String)> {
        let mut all = Vec::new();
        for (place, keychain) in self.keychains.iter().enumerate() {
            let end = keychain.next.max(keychain.used) as usize;
            for (index, script) in keychain.scripts().iter().enumerate().take(end) {
                let key = KeyRef { keychain: place, index: index as u32 };
                all.push((
                    key,
                    keychain.change,
                    self.address_of(script).unwrap_or_else(|| hex::encode(script)),
                ));
            }
        }
        all
    }

    /// What each address was paid in all, confirmed or not.
    pub fn received(&self) -> HashMap<String, Amount> {
        let mut sums: HashMap<String, Amount> = HashMap::new();
        let outputs = self.txs.values().flat_map(|kept| &kept.tx.outputs);
        for output in outputs.filter(|output| self.key_of(output).is_some()) {
            if let Some(address) = self.address_of(&output.script_pubkey) {
                let before = sums.get(&address).copied().unwrap_or_default();
                sums.insert(address, crate::book::sum([before, output.value]));
            }
        }
        sums
    }

    /// Counts the own keys that a plan pays to as given out, so that no other payment uses them. To be saved.
    ///
    /// # Errors
    /// [`WalletError::Descriptor`] where no further keys can be derived.
    pub fn reserve(&mut self, plan: &Plan) -> Result<(), WalletError> {
        for key in plan.payments.iter().filter_map(|payment| payment.own) {
            let next = &mut self.keychains[key.keychain].next;
            *next = (*next).max(key.index + 1);
        }
        self.look_ahead().map(|_| ())
    }

    /// The label of an address, transaction or coin.
    pub fn label(&self, of: &str) -> Option<&str> {
        self.labels.get(of).map(String::as_str)
    }

    /// Labels an address, transaction or coin (`txid:n`); an empty label takes the old one away. To be saved.
    ///
    /// # Errors
    /// [`WalletError::Label`] where it is too long.
    pub fn set_label(&mut self, of: &str, label: &str) -> Result<(), WalletError> {
        if label.len() > LABEL_BYTES_MAX || of.len() > LABEL_BYTES_MAX {
            return Err(WalletError::Label(label.len().max(of.len())));
        }
        if label.is_empty() {
            self.labels.remove(of);
        } else {
            self.labels.insert(of.to_owned(), label.to_owned());
        }
        Ok(())
    }

    /// The address of a script on this wallet's coin, if it has one.
    pub fn address_of(&self, script: &[u8]) -> Option<String> {
        self.coin.script_to_address(script)
    }

    /// The keychain of a kind, or the first.
    pub(crate) fn keychain_for(&self, kind: Option<AddressKind>, change: bool) -> Result<usize, WalletError> {
        let fits = |keychain: &Keychain| {
            keychain.change == change && kind.is_none_or(|kind| keychain.kind() == Some(kind))
        };
        self.keychains.iter().position(fits).ok_or_else(|| WalletError::NoKind {
            kind: kind.map_or("any", AddressKind::name),
            coin: self.coin.to_string(),
        })
    }

    /// The next script of a keychain. A descriptor without range gives its only one again and again.
    pub(crate) fn take_script(&mut self, place: usize) -> Result<(KeyRef, ScriptBuf), WalletError> {
        let keychain = &mut self.keychains[place];
        let index = if keychain.is_ranged() { keychain.next.max(keychain.used) } else { 0 };
        keychain.next = index + 1;
        self.look_ahead()?;
        let key = KeyRef { keychain: place, index };
        Ok((key, self.script_at(key)))
    }

    pub(crate) fn script_at(&self, key: KeyRef) -> ScriptBuf {
        self.keychains[key.keychain].scripts()[key.index as usize].clone()
    }

    /// Watches as many scripts as the gap asks for; returns the new ones.
    pub(crate) fn look_ahead(&mut self) -> Result<Vec<ScriptBuf>, WalletError> {
        let mut fresh = Vec::new();
        for (place, keychain) in self.keychains.iter_mut().enumerate() {
            let first = keychain.look_ahead(self.gap)?;
            for (index, script) in keychain.scripts().iter().enumerate().skip(first as usize) {
                self.by_script.insert(script.clone(), KeyRef { keychain: place, index: index as u32 });
                fresh.push(script.clone());
            }
        }
        Ok(fresh)
    }

    /// The output at `outpoint`, where the wallet has its transaction.
    pub(crate) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.txs.get(&outpoint.txid)?.tx.outputs.get(outpoint.vout as usize)
    }

    /// The key of an output that is the wallet's.
    pub(crate) fn key_of(&self, output: &TxOut) -> Option<KeyRef> {
        self.by_script.get(&output.script_pubkey).copied()
    }
}

/// Now, in Unix seconds; 0 for a clock before 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
