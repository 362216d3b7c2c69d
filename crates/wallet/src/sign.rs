//! Signing what was planned, and sending it.

use bitcoin::bip32::{ChildNumber, Xpriv};
use lode_primitives::{Transaction, TxOut, Txid};
use lode_script::{Flags, SighashType, TxSighashes, sign, verify_input};
use secp256k1::{SECP256K1, SecretKey};

use crate::keychain::KeyRef;
use crate::plan::Plan;
use crate::source::{Source, SourceError};
use crate::sync::Synced;
use crate::wallet::unix_now;
use crate::{KeyError, Wallet, WalletError};

impl Wallet {
    /// Signs a plan with the wallet's keys, and checks every signature with the script interpreter.
    ///
    /// # Errors
    /// [`WalletError::WatchOnly`], [`WalletError::Sign`].
    pub fn sign(&self, plan: &Plan) -> Result<Transaction, WalletError> {
        let spent: Vec<TxOut> = plan
            .spent
            .iter()
            .map(|coin| TxOut { value: coin.value, script_pubkey: coin.script.clone() })
            .collect();
        let sighashes = TxSighashes::new(&plan.tx, &spent);
        let mut signed = plan.tx.clone();
        for (index, coin) in plan.spent.iter().enumerate() {
            let key = self.secret_key(coin.key)?;
            let failed =
                |error: sign::SignError| WalletError::Sign { input: index, reason: error.to_string() };
            let (script_sig, witness) =
                sign::input(&sighashes, index, &key, SighashType::ALL).map_err(failed)?;
            (signed.inputs[index].script_sig, signed.inputs[index].witness) = (script_sig, witness);
        }
        check_scripts(&signed, &spent)?;
        Ok(signed)
    }

    /// Enters a signed transaction of the wallet's own into its books and saves them, then hands it in. Killed between
    /// the two, the next sync hands it in again.
    ///
    /// # Errors
    /// Where the network refuses it, it is out of the books again; where no one could be reached it stays, and the
    /// next sync hands it in.
    pub fn send(&mut self, tx: &Transaction, source: &mut dyn Source) -> Result<Txid, WalletError> {
        let txid = tx.txid();
        let before = self.txs.clone();
        self.enter(tx, None, unix_now(), &mut Synced::default());
        self.look_ahead()?;
        self.save()?;
        match source.broadcast(tx) {
            Ok(()) => Ok(txid),
            Err(SourceError::Refused(reason)) => {
                self.txs = before;
                self.save()?;
                Err(SourceError::Refused(reason).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The secret key behind one of the wallet's scripts.
    fn secret_key(&self, key: KeyRef) -> Result<SecretKey, WalletError> {
        let seed = self.seed().ok_or(WalletError::WatchOnly)?;
        let keychain = &self.keychains[key.keychain];
        let kind = keychain.kind().ok_or(WalletError::WatchOnly)?;
        let failed = |error: bitcoin::bip32::Error| KeyError::Derive(error.to_string());
        let mut path = kind.account_path(self.coin, self.account())?;
        for step in [u32::from(keychain.change), key.index] {
            path = path.child(ChildNumber::from_normal_idx(step).map_err(failed)?);
        }
        let master: Xpriv = seed.master(self.coin)?;
        Ok(master.derive_priv(SECP256K1, &path).map_err(failed)?.private_key)
    }
}

/// Runs every input's script.
pub(crate) fn check_scripts(tx: &Transaction, spent: &[TxOut]) -> Result<(), WalletError> {
    let sighashes = TxSighashes::new(tx, spent);
    for input in 0..tx.inputs.len() {
        verify_input(&sighashes, input, Flags::STANDARD, None)
            .map_err(|error| WalletError::Sign { input, reason: error.to_string() })?;
    }
    Ok(())
}
