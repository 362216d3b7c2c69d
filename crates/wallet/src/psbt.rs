//! Partially signed transactions (BIP174, 370, 371): a plan for others to sign, and the plans of others.

use bitcoin::base64::Engine as _;
use bitcoin::base64::prelude::BASE64_STANDARD;
use bitcoin::psbt::Psbt;
use lode_primitives::{Amount, Decode as _, Encode as _, OutPoint, Transaction, TxOut, Txid};
use lode_script::{ScriptKind, build, classify};
use miniscript::psbt::PsbtExt as _;
use secp256k1::SECP256K1;

use crate::keychain::KeyRef;
use crate::plan::Plan;
use crate::psbt_form::{MAGIC, to_version_0};
use crate::sign::check_scripts;
use crate::{Wallet, WalletError};

/// A PSBT is no longer than this, in bytes: a full standard transaction with the transactions it spends from.
const PSBT_BYTES_MAX: usize = 32 << 20;

/// What a PSBT will do, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsbtView {
    /// The transaction's id (final only where no input needs a script of its own).
    pub txid: Txid,
    /// Each input: its coin, what it holds if that is known, whether it is this wallet's, whether it is signed.
    pub inputs: Vec<PsbtInput>,
    /// Each output, and the own key it goes to.
    pub outputs: Vec<(TxOut, Option<KeyRef>)>,
    /// The fee, where all amounts are known.
    pub fee: Option<Amount>,
}

/// One input of a PSBT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsbtInput {
    /// Which coin.
    pub outpoint: OutPoint,
    /// The output spent, if it is told.
    pub spent: Option<TxOut>,
    /// The wallet has its key.
    pub own: bool,
    /// It needs no more signatures.
    pub complete: bool,
}

/// Reads a PSBT, binary or in base64, in the form of BIP174 or of BIP370. It is written in BIP174's, which all know.
///
/// # Errors
/// [`WalletError::Psbt`]: no PSBT, or what it says of the coins it spends does not fit together.
pub fn read_psbt(bytes: &[u8]) -> Result<Psbt, WalletError> {
    if bytes.len() > PSBT_BYTES_MAX {
        return Err(WalletError::Psbt(format!("{} bytes; {PSBT_BYTES_MAX} are the most", bytes.len())));
    }
    let decoded;
    let binary = if bytes.starts_with(MAGIC) {
        bytes
    } else {
        let text =
            std::str::from_utf8(bytes).map_err(|_| WalletError::Psbt("neither binary nor base64".into()))?;
        decoded = BASE64_STANDARD.decode(text.trim()).map_err(bad)?;
        &decoded
    };
    let psbt = Psbt::deserialize(&to_version_0(binary)?).map_err(bad)?;
    for (index, (input, told)) in psbt.unsigned_tx.input.iter().zip(&psbt.inputs).enumerate() {
        scripts_fit(&psbt, index)?;
        let Some(previous) = &told.non_witness_utxo else { continue };
        let output = previous.output.get(input.previous_output.vout as usize);
        let fits = previous.compute_txid() == input.previous_output.txid
            && output.is_some_and(|output| told.witness_utxo.as_ref().is_none_or(|also| also == output));
        if !fits {
            return Err(WalletError::Psbt(format!(
                "input {index} spends {}, but brings another transaction or output along",
                input.previous_output
            )));
        }
    }
    Ok(psbt)
}

/// What BIP174 has a signer check: the redeem script and the witness script of input `index` are those that its output
/// commits to, and an input without witness brings the whole transaction along, since its signature commits to no amount.
fn scripts_fit(psbt: &Psbt, index: usize) -> Result<(), WalletError> {
    let told = &psbt.inputs[index];
    let Some(output) = spent_output(psbt, index)? else { return Ok(()) };
    let wrong = |what: &str| WalletError::Psbt(format!("input {index}: {what}"));
    let mut script = output.script_pubkey;
    if let Some(redeem) = &told.redeem_script {
        if script != build::p2sh_of(redeem.as_bytes()) {
            return Err(wrong("its redeem script is not the one that its output commits to"));
        }
        script = redeem.to_bytes();
    }
    if let Some(witness) = &told.witness_script
        && script != build::p2wsh_of(witness.as_bytes())
    {
        return Err(wrong("its witness script is not the one that its output commits to"));
    }
    let kind = classify(&script);
    let may_have_witness = kind.name().starts_with("witness") || matches!(kind, ScriptKind::ScriptHash(_));
    if told.non_witness_utxo.is_none() && !may_have_witness {
        return Err(wrong("it has no witness, so it must bring the whole transaction that it spends from"));
    }
    Ok(())
}

impl Wallet {
    /// A plan as a PSBT, with all that a signer must know: the outputs spent, their transactions, paths of keys.
    ///
    /// # Errors
    /// [`WalletError::NoPsbt`] for a coin whose transactions do not fit in one.
    pub fn to_psbt(&self, plan: &Plan) -> Result<Psbt, WalletError> {
        if self.coin.form.data {
            return Err(WalletError::NoPsbt(self.coin.to_string()));
        }
        let mut psbt = Psbt::from_unsigned_tx(foreign(&plan.tx)?).map_err(bad)?;
        for (index, coin) in plan.spent.iter().enumerate() {
            let previous = &self.txs.get(&coin.outpoint.txid).ok_or_else(|| WalletError::NotSpendable {
                coin: coin.outpoint.to_string(),
                reason: "its transaction is not known".to_owned(),
            })?;
            let previous = foreign(&previous.tx)?;
            let output = previous.output[coin.outpoint.vout as usize].clone();
            if classify(&coin.script).name().starts_with("witness")
                || self.keychains[coin.key.keychain].kind() == Some(crate::AddressKind::Nested)
            {
                psbt.inputs[index].witness_utxo = Some(output);
            }
            // Taproot signs all amounts; for the others a signer wants to see them in the transaction itself.
            if self.keychains[coin.key.keychain].kind() != Some(crate::AddressKind::Taproot) {
                psbt.inputs[index].non_witness_utxo = Some(previous);
            }
            let descriptor = self.keychains[coin.key.keychain].at(coin.key.index)?;
            psbt.update_input_with_descriptor(index, &descriptor).map_err(bad)?;
        }
        for (index, payment) in plan.payments.iter().enumerate() {
            if let Some(key) = payment.own {
                let descriptor = self.keychains[key.keychain].at(key.index)?;
                psbt.update_output_with_descriptor(index, &descriptor).map_err(bad)?;
            }
        }
        Ok(psbt)
    }

    /// What a PSBT does, in this wallet's eyes.
    ///
    /// # Errors
    /// [`WalletError::Psbt`] where its transaction makes no sense.
    pub fn view_psbt(&self, psbt: &Psbt) -> Result<PsbtView, WalletError> {
        let tx = native(&psbt.unsigned_tx, self)?;
        let fingerprint = self.seed().map(|seed| seed.master(self.coin)).transpose()?;
        let fingerprint = fingerprint.map(|master| master.fingerprint(SECP256K1));
        let mut inputs = Vec::new();
        for (index, told) in psbt.inputs.iter().enumerate() {
            let spent = spent_output(psbt, index)?;
            let by_script = spent.as_ref().and_then(|output| self.key_of(output)).is_some();
            let mut sources = told
                .bip32_derivation
                .values()
                .map(|(fingerprint, _)| *fingerprint)
                .chain(told.tap_key_origins.values().map(|(_, (fingerprint, _))| *fingerprint));
            inputs.push(PsbtInput {
                outpoint: tx.inputs[index].prevout,
                spent,
                own: by_script || sources.any(|source| Some(source) == fingerprint),
                complete: told.final_script_sig.is_some() || told.final_script_witness.is_some(),
            });
        }
        let outputs: Vec<_> = tx.outputs.iter().map(|output| (output.clone(), self.key_of(output))).collect();
        let paid = Amount::checked_sum(tx.outputs.iter().map(|output| output.value));
        let all: Option<Vec<Amount>> =
            inputs.iter().map(|input| input.spent.as_ref().map(|output| output.value)).collect();
        let fee = all
            .and_then(Amount::checked_sum)
            .zip(paid)
            .and_then(|(all, paid)| all.checked_sub(paid))
            .filter(|fee| *fee >= Amount::ZERO);
        Ok(PsbtView { txid: tx.txid(), inputs, outputs, fee })
    }

    /// Adds the signatures that this wallet's keys can give. Returns on how many inputs it signed.
    ///
    /// # Errors
    /// [`WalletError::WatchOnly`]; [`WalletError::Psbt`] where the PSBT says of the wallet's own coins what is not so.
    pub fn sign_psbt(&self, psbt: &mut Psbt) -> Result<usize, WalletError> {
        let seed = self.seed().ok_or(WalletError::WatchOnly)?;
        for (index, input) in psbt.unsigned_tx.input.iter().enumerate() {
            let outpoint = OutPoint {
                txid: Txid(bitcoin::hashes::Hash::to_byte_array(input.previous_output.txid)),
                vout: input.previous_output.vout,
            };
            if let (Some(known), Some(told)) = (self.output(&outpoint), spent_output(psbt, index)?)
                && *known != told
            {
                return Err(WalletError::Psbt(format!(
                    "it says that {outpoint} holds {}, but it holds {}",
                    told.value, known.value
                )));
            }
        }
        let signed = match psbt.sign(&seed.master(self.coin)?, SECP256K1) {
            Ok(signed) | Err((signed, _)) => signed,
        };
        let has_keys = |keys: &bitcoin::psbt::SigningKeys| match keys {
            bitcoin::psbt::SigningKeys::Ecdsa(keys) => !keys.is_empty(),
            bitcoin::psbt::SigningKeys::Schnorr(keys) => !keys.is_empty(),
        };
        Ok(signed.values().filter(|keys| has_keys(keys)).count())
    }

    /// Puts the scripts of fully signed inputs together. The transaction, if all are; every input's script was run.
    ///
    /// # Errors
    /// [`WalletError::Sign`] where a signature does not satisfy its script.
    pub fn finish_psbt(&self, psbt: &mut Psbt) -> Result<Option<Transaction>, WalletError> {
        let mut whole = psbt.clone();
        if whole.finalize_mut(SECP256K1).is_err() {
            return Ok(None);
        }
        let spent: Option<Vec<TxOut>> =
            (0..whole.inputs.len()).map(|index| spent_output(&whole, index)).collect::<Result<_, _>>()?;
        let Some(spent) = spent else { return Ok(None) };
        let tx = native(&whole.clone().extract_tx_unchecked_fee_rate(), self)?;
        check_scripts(&tx, &spent)?;
        *psbt = whole;
        Ok(Some(tx))
    }
}

fn bad(error: impl std::fmt::Display) -> WalletError {
    WalletError::Psbt(error.to_string())
}

/// Our transaction in the terms of the PSBT library.
fn foreign(tx: &Transaction) -> Result<bitcoin::Transaction, WalletError> {
    bitcoin::consensus::deserialize(&tx.to_bytes()).map_err(bad)
}

fn native(tx: &bitcoin::Transaction, wallet: &Wallet) -> Result<Transaction, WalletError> {
    if tx.input.is_empty() {
        return Err(WalletError::Psbt("it spends nothing".to_owned()));
    }
    Transaction::from_bytes(&bitcoin::consensus::serialize(tx), wallet.coin.form).map_err(bad)
}

/// The output that input `index` spends, if it is told.
fn spent_output(psbt: &Psbt, index: usize) -> Result<Option<TxOut>, WalletError> {
    let told = &psbt.inputs[index];
    let vout = psbt.unsigned_tx.input[index].previous_output.vout as usize;
    let from_tx = told.non_witness_utxo.as_ref().and_then(|tx| tx.output.get(vout));
    let Some(output) = from_tx.or(told.witness_utxo.as_ref()) else { return Ok(None) };
    let value = i64::try_from(output.value.to_sat()).map_err(bad)?;
    Ok(Some(TxOut { value: Amount::from_sat(value), script_pubkey: output.script_pubkey.to_bytes() }))
}
