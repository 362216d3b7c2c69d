//! A wallet as the purse that pays for a file.

use std::path::Path;

use anyhow::Context;
use lode_coins::Coin;
use lode_node::rpc::client::RpcClient;
use lode_primitives::Txid;
use lode_wallet::{Plan, Wallet, WalletError};

use super::{Offer, Purse};
use crate::wallet::{RpcSource, passphrase, sync};

/// A wallet, and the node that it follows.
pub(super) struct WalletPurse {
    wallet: Wallet,
    name: String,
    source: RpcSource,
    plan: Option<Plan>,
}

impl WalletPurse {
    /// Opens the wallet's file; the passphrase is the first line of `passphrase_file`, else the environment's, else it is
    /// asked for.
    pub(super) fn open(
        coin: &'static Coin,
        file: &Path,
        passphrase_file: Option<&Path>,
        client: RpcClient,
    ) -> anyhow::Result<Self> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wallet = Wallet::open(file, &passphrase(passphrase_file, &name)?, coin)?;
        if wallet.seed().is_none() {
            return Err(WalletError::WatchOnly.into());
        }
        Ok(Self { wallet, name, source: RpcSource::new(client, coin)?, plan: None })
    }
}

impl Purse for WalletPurse {
    fn plan(&mut self, data: Vec<u8>) -> anyhow::Result<Offer> {
        sync(&mut self.wallet, &mut self.source)?;
        let plan =
            self.wallet.plan_data(data).with_context(|| format!("cannot pay from wallet {}", self.name))?;
        let from = format!("wallet {}", self.name);
        let offer = Offer { from, fee: plan.fee, change: plan.change(), size: plan.vsize() };
        self.plan = Some(plan);
        Ok(offer)
    }

    fn pay(&mut self) -> anyhow::Result<Txid> {
        let plan = self.plan.take().context("nothing was planned")?;
        let tx = self.wallet.sign(&plan)?;
        Ok(self.wallet.send(&tx, &mut self.source)?)
    }
}
