//! The wallets of the two miners of `lode up`: their coins arrive, mature, and are spent to each other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use lode_node::NodeHandle;
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_primitives::{Amount, Height, Txid};
use lode_wallet::{Balance, FeeRate, GAP, Keys, NewWallet, Pay, Seed, Wallet};

use crate::wallet::{RpcSource, wallet_path};

/// What they are called.
const NAMES: [&str; 2] = ["anna", "bert"];
/// What opens their wallets: on a network whose coins are worth nothing, anybody may.
pub(crate) const PASSPHRASE: &str = "local";
/// Which part of what it can spend one gives the other.
const PART: i64 = 10;

/// Both players' wallets, and the way to the node.
#[derive(Clone)]
pub(crate) struct Purses(Arc<Mutex<Inner>>);

struct Inner {
    source: RpcSource,
    purses: Vec<Purse>,
}

/// One of the two: its wallet is open only while it is looked into, so that its owner can use it beside.
struct Purse {
    name: String,
    /// Where it is paid for its work.
    address: String,
    path: PathBuf,
}

/// A wallet after a look at the chain.
pub(crate) struct Look {
    /// Whose.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) balance: Balance,
    /// The block it has seen the chain up to: further than the story has got to where blocks come fast.
    pub(crate) height: Height,
    /// What it paid the other just now: amount, fee, transaction, to whom.
    pub(crate) paid: Option<(Amount, Amount, Txid, String)>,
}

impl Purses {
    /// Opens both, made at the first start. Each is paid at its first address.
    pub(crate) fn open(data_dir: &Path, node: &NodeHandle) -> anyhow::Result<Self> {
        let coin = node.coin();
        let address = node.rpc_address().context("the embedded node takes no JSON-RPC")?;
        let cookie = RpcAuth::Cookie(node.directory().join(".cookie"));
        let source = RpcSource::new(RpcClient::new(&address.to_string(), cookie)?, coin)?;
        let mut purses = Vec::new();
        for name in NAMES {
            let path = wallet_path(data_dir, coin, name);
            let wallet = if path.exists() {
                Wallet::open(&path, PASSPHRASE, coin).with_context(|| {
                    format!("the wallet of {name}, whose passphrase should be \"{PASSPHRASE}\"")
                })?
            } else {
                let keys = Keys::Own(Seed::generate(12)?);
                let new = NewWallet { coin, keys, account: 0, birthday: 0, gap: GAP };
                let mut wallet = Wallet::create(&path, PASSPHRASE, new)?;
                wallet.new_address(None)?;
                wallet.save()?;
                wallet
            };
            let first = wallet.addresses().into_iter().find(|(_, change, _)| !change);
            let (_, _, address) = first.with_context(|| format!("the wallet of {name} has no address"))?;
            purses.push(Purse { name: name.to_owned(), address, path });
        }
        Ok(Self(Arc::new(Mutex::new(Inner { source, purses }))))
    }

    /// Name and address of each.
    pub(crate) fn payees(&self) -> Vec<(String, String)> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.purses.iter().map(|purse| (purse.name.clone(), purse.address.clone())).collect()
    }

    /// Reads the chain; whoever can spend and waits for no payment of its own pays the other a part.
    pub(crate) async fn look(&self) -> anyhow::Result<Vec<Look>> {
        let inner = self.0.clone();
        let looked =
            tokio::task::spawn_blocking(move || inner.lock().unwrap_or_else(PoisonError::into_inner).look());
        looked.await.context("looking into the wallets failed")?
    }
}

impl Inner {
    fn look(&mut self) -> anyhow::Result<Vec<Look>> {
        let coin = self.source.coin();
        let opened = self.purses.iter().map(|purse| Wallet::open(&purse.path, PASSPHRASE, coin));
        let mut wallets = opened.collect::<Result<Vec<_>, _>>()?;
        for wallet in &mut wallets {
            wallet.sync(&mut self.source, &mut |_| {})?;
        }
        let mut looks = Vec::new();
        for from in 0..wallets.len() {
            let to = (from + 1) % wallets.len();
            let paid = self.pay(&mut wallets, from, to)?;
            wallets[from].save()?;
            looks.push(Look {
                name: self.purses[from].name.clone(),
                balance: wallets[from].balance(),
                height: wallets[from].synced_to().map_or(0, |block| block.height),
                paid: paid.map(|(amount, fee, txid)| (amount, fee, txid, self.purses[to].name.clone())),
            });
        }
        Ok(looks)
    }

    /// Pays a part of what can be spent, unless a payment waits already. What was paid, its fee, and the transaction.
    fn pay(
        &mut self,
        wallets: &mut [Wallet],
        from: usize,
        to: usize,
    ) -> anyhow::Result<Option<(Amount, Amount, Txid)>> {
        let (payer, coin) = (&wallets[from], self.source.coin());
        let amount = Amount::from_sat(payer.balance().spendable.to_sat() / PART);
        let waits = payer.history().iter().any(|entry| entry.confirmations == 0 && entry.fee.is_some());
        let script = coin.address_to_script(&self.purses[to].address)?;
        if waits || amount < payer.least_output(&script) {
            return Ok(None);
        }
        // A key of its own for each receipt.
        let address = wallets[to].new_address(None)?;
        wallets[to].save()?;
        let least = coin.min_relay_fee.to_sat().unsigned_abs();
        let rate = FeeRate::from_sat_per_kvb(least.max(1_000));
        let plan = wallets[from].plan_send(&Pay::Amounts(vec![(address, amount)]), rate, &[])?;
        let tx = wallets[from].sign(&plan)?;
        let txid = wallets[from].send(&tx, &mut self.source)?;
        Ok(Some((amount, plan.fee, txid)))
    }
}
