//! Payments before they are signed: what they take, what they pay, what comes back. Nothing here changes the wallet.

use lode_chain::policy::{FeeRate, dust_threshold};
use lode_primitives::{
    Amount, OutPoint, SEQUENCE_FINAL, ScriptBuf, Transaction, TxIn, TxOut, Txid, Witness, compact_size_len,
};
use rand::seq::SliceRandom as _;

use crate::book::{Coin, CoinState, sum};
use crate::keychain::KeyRef;
use crate::select::{Candidate, FeeRule, Short, Task, relay_rate};
use crate::{AddressKind, Wallet, WalletError};

/// Version, lock time, and the two bytes that mark witnesses; counts of inputs and outputs are added as they are known.
const EMPTY_WEIGHT: usize = 4 * 8 + 2;
/// The length of an empty data field, where transactions have one.
const DATA_WEIGHT: usize = 4;
/// Asks to be replaceable (BIP125), and for the lock time to hold.
const SEQUENCE_REPLACEABLE: u32 = 0xffff_fffd;
/// Rates above this are taken for a typing error: 10,000 sat/vB.
const RATE_MAX: FeeRate = FeeRate::from_sat_per_kvb(10_000_000);
/// Transactions that one consolidation makes at most; the next run goes on.
pub const CONSOLIDATIONS_MAX: usize = 10;

/// One output of a planned transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The output.
    pub output: TxOut,
    /// The wallet's own key it goes to, if it comes back.
    pub own: Option<KeyRef>,
}

/// A transaction that is all there but for its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The transaction, unsigned.
    pub tx: Transaction,
    /// What it spends, in the order of its inputs.
    pub spent: Vec<Coin>,
    /// What it pays, in the order of its outputs.
    pub payments: Vec<Payment>,
    /// What it pays for being mined.
    pub fee: Amount,
    /// What it weighs when signed, at most.
    pub weight: usize,
    /// The transaction it takes the place of.
    pub replaces: Option<Txid>,
}

impl Plan {
    /// What goes to others.
    pub fn sent(&self) -> Amount {
        sum(self.payments.iter().filter(|payment| payment.own.is_none()).map(|payment| payment.output.value))
    }

    /// What comes back.
    pub fn change(&self) -> Amount {
        sum(self.payments.iter().filter(|payment| payment.own.is_some()).map(|payment| payment.output.value))
    }

    /// Virtual size when signed, at most.
    pub const fn vsize(&self) -> usize {
        self.weight.div_ceil(4)
    }

    /// Satoshi per virtual byte, in thousandths.
    pub fn rate(&self) -> FeeRate {
        FeeRate::from_sat_per_kvb(self.fee.to_sat().unsigned_abs() * 1_000 / self.vsize().max(1) as u64)
    }
}

/// Whom to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pay {
    /// These addresses these amounts.
    Amounts(Vec<(String, Amount)>),
    /// This address all there is, less the fee.
    All(String),
}

impl Wallet {
    /// Plans a payment at `rate`, from the coins named by `only`, or from the wallet's choice where it is empty.
    ///
    /// # Errors
    /// [`WalletError`] says which of a foreign address, dust, too little, an unspendable coin, too large it is.
    pub fn plan_send(&self, pay: &Pay, rate: FeeRate, only: &[OutPoint]) -> Result<Plan, WalletError> {
        let rule = self.rule(rate)?;
        let coins = self.spendable(only)?;
        match pay {
            Pay::All(address) => {
                let script = self.coin.address_to_script(address)?;
                let output = TxOut { value: Amount::ZERO, script_pubkey: script };
                let own = self.key_of(&output);
                self.plan_all(rule, self.worth(coins, &rule)?, Payment { output, own })
            }
            Pay::Amounts(pays) => {
                let mut payments = Vec::new();
                for (address, amount) in pays {
                    let output =
                        TxOut { value: *amount, script_pubkey: self.coin.address_to_script(address)? };
                    self.refuse_dust(&output)?;
                    let own = self.key_of(&output);
                    payments.push(Payment { output, own });
                }
                if payments.is_empty() {
                    return Err(WalletError::Nothing("nobody to pay".to_owned()));
                }
                let change = self.change_key(&payments)?;
                let task = self.task(rule, &payments, Vec::new(), change)?;
                self.plan_task(task, payments, Vec::new(), coins, change)
            }
        }
    }

    /// Plans a transaction that carries `data` and pays nobody: what it spends comes back, less the least fee.
    ///
    /// # Errors
    /// [`WalletError::Data`] where the coin's transactions do not carry so much; else as for [`Self::plan_send`].
    pub fn plan_data(&self, data: Vec<u8>) -> Result<Plan, WalletError> {
        let (size, max) = (data.len(), self.coin.max_data);
        if !self.coin.form.data || size > max {
            return Err(WalletError::Data { size, max });
        }
        let change = self.change_key(&[])?;
        let more = 4 * (compact_size_len(size as u64) + size) - DATA_WEIGHT;
        let plan = |payments: Vec<Payment>| {
            let mut task = self.task(self.rule(relay_rate(self.coin))?, &payments, Vec::new(), change)?;
            task.base_weight += more;
            self.plan_task(task, payments, Vec::new(), self.spendable(&[])?, change)
        };
        let mut chosen = match plan(Vec::new()) {
            Ok(plan) if !plan.payments.is_empty() => plan,
            // All would be fee, and a transaction without outputs is none: the least that an output may hold comes back.
            Ok(_) | Err(WalletError::TooLittle { .. }) => {
                let script = self.script_at(change);
                let output = TxOut { value: self.least_output(&script), script_pubkey: script };
                plan(vec![Payment { output, own: Some(change) }])?
            }
            Err(error) => return Err(error),
        };
        chosen.tx.data = Some(data);
        Ok(chosen)
    }

    /// Plans the gathering of all spendable coins that hold no more than `below`, in as few transactions as their size
    /// allows; each pays to a change address of its own. Coins that cost more than they hold stay where they are.
    ///
    /// # Errors
    /// [`WalletError::Nothing`] where there are fewer than two to gather.
    pub fn plan_consolidate(
        &self,
        rate: FeeRate,
        below: Option<Amount>,
        kind: Option<AddressKind>,
    ) -> Result<Vec<Plan>, WalletError> {
        let rule = self.rule(rate)?;
        let keychain = self.change_keychain(kind)?;
        let mut coins = self.spendable(&[])?;
        coins.retain(|coin| coin.height.is_some() && below.is_none_or(|below| coin.value <= below));
        coins.retain(|coin| coin.value.to_sat() > self.input_fee(&rule, coin));
        if coins.len() < 2 {
            return Err(WalletError::Nothing(format!(
                "there is nothing to gather: {} spendable coin(s) of this size that are worth their fee",
                coins.len()
            )));
        }
        // The smallest first: they are what is in the way. Light ones before heavy ones among equals.
        coins.sort_by_key(|coin| (coin.value, coin.outpoint));
        let output = |nth: usize| {
            let key = KeyRef { keychain, index: self.next_index(keychain) + nth as u32 };
            let output = TxOut { value: Amount::ZERO, script_pubkey: self.script_at(key) };
            Payment { output, own: Some(key) }
        };
        let most = CONSOLIDATIONS_MAX.min(self.gap() as usize);
        let mut plans: Vec<Plan> = Vec::new();
        let mut batch = Vec::new();
        let mut weight = 0;
        for coin in coins {
            let input = self.input_weight(&coin)?;
            let others = self.empty_weight() + 4 * (5 + 1) + output_weight(&output(0).output);
            if weight + input + others > self.max_weight() {
                plans.push(self.plan_all(rule, std::mem::take(&mut batch), output(plans.len()))?);
                weight = 0;
                if plans.len() == most {
                    return Ok(plans);
                }
            }
            weight += input;
            batch.push(coin);
        }
        if batch.len() > 1 {
            plans.push(self.plan_all(rule, batch, output(plans.len()))?);
        }
        Ok(plans)
    }

    /// Plans a transaction that takes the place of the waiting `txid`: the same payments, a higher fee, taken from its
    /// change or from further coins.
    ///
    /// # Errors
    /// [`WalletError::NoBump`] says what is in the way.
    pub fn plan_bump(&self, txid: &Txid, rate: FeeRate) -> Result<Plan, WalletError> {
        let refuse = |reason: &str| WalletError::NoBump { txid: txid.to_string(), reason: reason.to_owned() };
        let kept = self.txs.get(txid).ok_or_else(|| refuse("the wallet does not know it"))?;
        if kept.block.is_some() {
            return Err(refuse("it is in a block"));
        }
        if self.coin.deployments.csv.is_none() {
            return Err(refuse("this coin's nodes replace nothing"));
        }
        let inputs = self.inputs_value(kept).ok_or_else(|| refuse("it spends coins of others"))?;
        let spends = self.spends();
        let outpoint = |vout: usize| OutPoint { txid: *txid, vout: vout as u32 };
        if (0..kept.tx.outputs.len()).any(|vout| spends.contains_key(&outpoint(vout))) {
            return Err(refuse("another transaction spends from it already; bump that one"));
        }
        let paid = sum(kept.tx.outputs.iter().map(|output| output.value));
        let old_fee = inputs.checked_sub(paid).unwrap_or_default();
        let mut rule = self.rule(rate)?;
        rule.replaces = Some(old_fee);
        let old_rate = old_fee.to_sat().unsigned_abs() * 1_000 / kept.tx.weight().div_ceil(4).max(1) as u64;
        if rate.to_sat_per_kvb() <= old_rate {
            return Err(refuse(&format!(
                "it pays {}.{:03} sat/vB already; give more",
                old_rate / 1_000,
                old_rate % 1_000
            )));
        }
        let is_change =
            |output: &&TxOut| self.key_of(output).is_some_and(|key| self.keychains[key.keychain].change);
        let change = kept.tx.outputs.iter().rfind(is_change).and_then(|output| self.key_of(output));
        let mut payments: Vec<Payment> = Vec::new();
        for output in &kept.tx.outputs {
            let own = self.key_of(output);
            if own.is_none() || own != change {
                payments.push(Payment { output: output.clone(), own });
            }
        }
        let mut fixed = Vec::new();
        for input in &kept.tx.inputs {
            let output = self.output(&input.prevout).ok_or_else(|| refuse("it spends coins of others"))?;
            let key = self.key_of(output).ok_or_else(|| refuse("it spends coins of others"))?;
            fixed.push(Coin {
                outpoint: input.prevout,
                value: output.value,
                script: output.script_pubkey.clone(),
                key,
                height: self.txs.get(&input.prevout.txid).and_then(|tx| tx.block).map(|block| block.height),
                coinbase: false,
                state: CoinState::Spendable,
            });
        }
        // What comes into a replacement beside the old inputs must be in a block (BIP125, rule 2).
        let mut coins = self.spendable(&[])?;
        coins.retain(|coin| coin.height.is_some() && coin.outpoint.txid != *txid);
        let change = change.map_or_else(|| self.change_key(&payments), Ok)?;
        let task = self.task(rule, &payments, self.candidates(&fixed)?, change)?;
        let mut plan = self.plan_task(task, payments, fixed, coins, change)?;
        plan.replaces = Some(*txid);
        Ok(plan)
    }

    /// The fee of the waiting `txid` and its rate, where all its inputs are the wallet's.
    pub fn fee_of(&self, txid: &Txid) -> Option<(Amount, FeeRate)> {
        let kept = self.txs.get(txid)?;
        let paid = sum(kept.tx.outputs.iter().map(|output| output.value));
        let fee = self.inputs_value(kept)?.checked_sub(paid)?;
        let rate = fee.to_sat().unsigned_abs() * 1_000 / kept.tx.weight().div_ceil(4).max(1) as u64;
        Some((fee, FeeRate::from_sat_per_kvb(rate)))
    }

    /// The least that an output to `script` may hold: above dust, and what consensus asks for.
    pub fn least_output(&self, script: &[u8]) -> Amount {
        let output = TxOut { value: Amount::ZERO, script_pubkey: script.to_vec() };
        let rate = FeeRate::from_sat_per_kvb(self.coin.dust_relay_fee.to_sat().unsigned_abs());
        Amount::from_sat(dust_threshold(&output, rate)).max(self.coin.min_output)
    }

    fn refuse_dust(&self, output: &TxOut) -> Result<(), WalletError> {
        let least = self.least_output(&output.script_pubkey);
        if output.value < least {
            return Err(WalletError::Dust { amount: output.value, least });
        }
        Ok(())
    }

    fn rule(&self, rate: FeeRate) -> Result<FeeRule, WalletError> {
        let given = || format!("{}", rate.to_sat_per_kvb() as f64 / 1_000.0);
        let least = relay_rate(self.coin);
        if rate < least {
            let why = format!("less than {} is not relayed", least.to_sat_per_kvb() as f64 / 1_000.0);
            return Err(WalletError::Rate { given: given(), why });
        }
        if rate > RATE_MAX {
            return Err(WalletError::Rate { given: given(), why: "surely not meant".to_owned() });
        }
        Ok(FeeRule { coin: self.coin, rate, replaces: None })
    }

    /// The coins that can be spent: all of them, or those named.
    fn spendable(&self, only: &[OutPoint]) -> Result<Vec<Coin>, WalletError> {
        let mut coins = self.coins();
        for wanted in only {
            let refuse = |reason: String| WalletError::NotSpendable { coin: wanted.to_string(), reason };
            match coins.iter().find(|coin| coin.outpoint == *wanted).map(|coin| coin.state) {
                None => return Err(refuse("the wallet has no such unspent coin".to_owned())),
                Some(CoinState::Immature { blocks }) => {
                    return Err(refuse(format!("it is from a coinbase, spendable in {blocks} blocks")));
                }
                Some(CoinState::Unconfirmed) => {
                    return Err(refuse("it is a payment from others that is in no block yet".to_owned()));
                }
                Some(CoinState::Spendable) => {}
            }
        }
        coins.retain(|coin| {
            coin.state == CoinState::Spendable && (only.is_empty() || only.contains(&coin.outpoint))
        });
        Ok(coins)
    }

    /// Of a transaction without inputs, outputs and their counts.
    const fn empty_weight(&self) -> usize {
        EMPTY_WEIGHT + if self.coin.form.data { DATA_WEIGHT } else { 0 }
    }

    const fn max_weight(&self) -> usize {
        self.coin.max_standard_weight
    }

    fn input_weight(&self, coin: &Coin) -> Result<usize, WalletError> {
        self.keychains[coin.key.keychain].input_weight().ok_or_else(|| WalletError::NotSpendable {
            coin: coin.outpoint.to_string(),
            reason: "its descriptor cannot be satisfied".to_owned(),
        })
    }

    fn input_fee(&self, rule: &FeeRule, coin: &Coin) -> i64 {
        let weight = self.input_weight(coin).unwrap_or(usize::MAX / 8);
        rule.rate.fee(weight.div_ceil(4) as u64)
    }

    fn candidates(&self, coins: &[Coin]) -> Result<Vec<Candidate>, WalletError> {
        coins
            .iter()
            .map(|coin| Ok(Candidate { value: coin.value.to_sat(), weight: self.input_weight(coin)? }))
            .collect()
    }

    /// The coins that hold more than they cost.
    fn worth(&self, coins: Vec<Coin>, rule: &FeeRule) -> Result<Vec<Coin>, WalletError> {
        let worth: Vec<Coin> =
            coins.into_iter().filter(|coin| coin.value.to_sat() > self.input_fee(rule, coin)).collect();
        if worth.is_empty() { Err(self.too_little(Amount::ZERO, 0)) } else { Ok(worth) }
    }

    fn too_little(&self, target: Amount, fee: i64) -> WalletError {
        let (balance, fee) = (self.balance(), Amount::from_sat(fee));
        WalletError::TooLittle {
            needed: target.checked_add(fee).unwrap_or(self.coin.max_money),
            fee,
            spendable: balance.spendable,
            immature: balance.immature,
            unconfirmed: balance.unconfirmed,
        }
    }

    /// A new key for change. Change looks like what is paid, so that nobody sees which output is which: it goes to the
    /// kind of address that is paid to, the cheapest to spend where there are several; where the wallet has none of
    /// these, to the first kind it has.
    fn change_key(&self, payments: &[Payment]) -> Result<KeyRef, WalletError> {
        let paid = |kind: AddressKind| {
            payments.iter().any(|payment| AddressKind::of_script(&payment.output.script_pubkey) == Some(kind))
        };
        let alike = [AddressKind::Taproot, AddressKind::Segwit, AddressKind::Nested, AddressKind::Legacy]
            .into_iter()
            .filter(|kind| paid(*kind))
            .find_map(|kind| self.change_keychain(Some(kind)).ok());
        Ok(self.next_key(alike.map_or_else(|| self.change_keychain(None), Ok)?))
    }

    /// The keychain for change of this kind, or of the first kind the wallet has; where there is none for change (a single
    /// watched descriptor), the one for receiving.
    fn change_keychain(&self, kind: Option<AddressKind>) -> Result<usize, WalletError> {
        self.keychain_for(kind, true).or_else(|_| self.keychain_for(kind, false))
    }

    fn next_index(&self, keychain: usize) -> u32 {
        let keychain = &self.keychains[keychain];
        if keychain.is_ranged() { keychain.next.max(keychain.used) } else { 0 }
    }

    fn next_key(&self, keychain: usize) -> KeyRef {
        KeyRef { keychain, index: self.next_index(keychain) }
    }

    fn task(
        &self,
        rule: FeeRule,
        payments: &[Payment],
        fixed: Vec<Candidate>,
        change: KeyRef,
    ) -> Result<Task, WalletError> {
        let (keychain, script) = (change.keychain, self.script_at(change));
        let change = TxOut { value: Amount::ZERO, script_pubkey: script };
        let target = Amount::checked_sum(payments.iter().map(|payment| payment.output.value))
            .filter(|sum| sum.is_money(self.coin.max_money))
            .ok_or_else(|| self.too_little(self.coin.max_money, 0))?;
        let outputs: usize = payments.iter().map(|payment| output_weight(&payment.output)).sum();
        Ok(Task {
            rule,
            target: target.to_sat(),
            base_weight: self.empty_weight() + 4 * compact_size_len(payments.len() as u64 + 1) + outputs,
            fixed,
            change_weight: output_weight(&change),
            change_spend_weight: self.keychains[keychain].input_weight().unwrap_or(0),
            least_change: self.least_output(&change.script_pubkey).to_sat(),
            max_weight: self.max_weight(),
        })
    }

    /// Chooses coins for `task` and puts the transaction together; change goes to `change`.
    fn plan_task(
        &self,
        task: Task,
        mut payments: Vec<Payment>,
        fixed: Vec<Coin>,
        coins: Vec<Coin>,
        change: KeyRef,
    ) -> Result<Plan, WalletError> {
        let choice = task.choose(&self.candidates(&coins)?).map_err(|short| match short {
            Short::Funds { fee } => self.too_little(Amount::from_sat(task.target), fee),
            Short::Weight { weight } => WalletError::TooLarge { weight, max: task.max_weight },
        })?;
        let mut spent = fixed;
        spent.extend(choice.taken.iter().map(|&at| coins[at].clone()));
        if let Some(value) = choice.change {
            let output = TxOut { value: Amount::from_sat(value), script_pubkey: self.script_at(change) };
            payments.push(Payment { output, own: Some(change) });
        }
        Ok(self.assemble(spent, payments, choice.weight))
    }

    /// All of `coins` to one output.
    fn plan_all(&self, rule: FeeRule, coins: Vec<Coin>, mut to: Payment) -> Result<Plan, WalletError> {
        let inputs: usize = coins.iter().map(|coin| self.input_weight(coin)).sum::<Result<_, _>>()?;
        let weight = self.empty_weight()
            + 4 * (compact_size_len(coins.len() as u64) + 1)
            + inputs
            + output_weight(&to.output);
        if weight > self.max_weight() {
            return Err(WalletError::TooLarge { weight, max: self.max_weight() });
        }
        let fee = rule.fee(weight);
        let value = sum(coins.iter().map(|coin| coin.value)).to_sat() - fee;
        let least = self.least_output(&to.output.script_pubkey);
        if value < least.to_sat() {
            return Err(self.too_little(least, fee));
        }
        to.output.value = Amount::from_sat(value);
        Ok(self.assemble(coins, vec![to], weight))
    }

    /// Inputs and outputs in random order, so that neither tells which output is change.
    fn assemble(&self, mut spent: Vec<Coin>, mut payments: Vec<Payment>, weight: usize) -> Plan {
        spent.shuffle(&mut rand::rng());
        payments.shuffle(&mut rand::rng());
        // A lock at the tip keeps the transaction out of blocks that would replace those already there.
        let replaceable = self.coin.deployments.csv.is_some();
        let tip = self.synced_to().map_or(0, |block| block.height);
        let input = |coin: &Coin| TxIn {
            prevout: coin.outpoint,
            script_sig: ScriptBuf::new(),
            sequence: if replaceable { SEQUENCE_REPLACEABLE } else { SEQUENCE_FINAL },
            witness: Witness::default(),
        };
        let tx = Transaction {
            version: if replaceable { 2 } else { 1 },
            inputs: spent.iter().map(input).collect(),
            outputs: payments.iter().map(|payment| payment.output.clone()).collect(),
            lock_time: if replaceable { tip } else { 0 },
            data: self.coin.form.data.then(Vec::new),
        };
        let taken: i64 = spent.iter().map(|coin| coin.value.to_sat()).sum();
        let paid: i64 = payments.iter().map(|payment| payment.output.value.to_sat()).sum();
        Plan { tx, spent, payments, fee: Amount::from_sat(taken - paid), weight, replaces: None }
    }
}

fn output_weight(output: &TxOut) -> usize {
    4 * (8 + compact_size_len(output.script_pubkey.len() as u64) + output.script_pubkey.len())
}
