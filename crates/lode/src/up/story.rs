//! What `lode up` tells: shares, a block found, who was paid what and why; for people, or as JSON for scripts.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lode_coins::Coin;
use lode_miner::Counted;
use lode_node::{BlockStatus, NodeHandle};
use lode_pool::journal::FoundBlock;
use lode_pow::ChainLength;
use lode_primitives::{Amount, Block, Decode as _, Height};
use lode_wallet::Balance;
use serde_json::{Value, json};

use super::miners::Miners;
use super::purses::{PASSPHRASE, Purses};
use crate::stack::Stack;

/// How long the node may take to have a found block in its chain, or to say that another is in its place.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at what the node made of a block.
const LOOK: Duration = Duration::from_millis(20);

/// The teller.
pub(crate) struct Story {
    coin: &'static Coin,
    json: bool,
    began: Instant,
    blocks: u64,
    rewards: Amount,
    paid: BTreeMap<String, Amount>,
    /// The wallets as they were last seen.
    wallets: BTreeMap<String, (Balance, Height)>,
}

/// A payee of a block, as told.
struct Payee {
    name: String,
    address: String,
    amount: Amount,
    /// Its part of the work in the window, 0 to 1.
    part: f64,
    /// Its balance before, satoshi.
    carried: i64,
}

impl Story {
    /// Nothing has happened yet.
    pub(crate) fn new(coin: &'static Coin, json: bool) -> Self {
        let (began, paid, wallets) = (Instant::now(), BTreeMap::new(), BTreeMap::new());
        Self { coin, json, began, blocks: 0, rewards: Amount::ZERO, paid, wallets }
    }

    /// Blocks found, paid and checked so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Where everything is.
    pub(crate) fn started(&self, stack: &Stack, miners: &Miners) -> io::Result<()> {
        let height = stack.node.as_ref().map_or(0, |node| node.tip().height);
        let rpc = stack.node.as_ref().and_then(NodeHandle::rpc_address).map(|rpc| format!("http://{rpc}"));
        let dashboard = format!("http://{}", stack.web);
        let stratum = stack.pool.addresses().first().map(|address| format!("stratum+tcp://{address}"));
        if self.json {
            let players =
                miners.players.iter().map(|player| json!({"name": player.name, "address": player.address}));
            return say(&json!({
                "event": "started", "coin": self.coin.name, "network": self.coin.network.name(), "height": height,
                "dashboard": dashboard, "stratum": stratum, "rpc": rpc, "miners": players.collect::<Vec<_>>(),
            }));
        }
        say(&format!("{} is up at height {height}", self.coin))?;
        say(&format!("  dashboard  {dashboard}"))?;
        say(&format!("  stratum    {}", stratum.unwrap_or_default()))?;
        say(&format!("  json-rpc   {}", rpc.unwrap_or_default()))?;
        for player in &miners.players {
            say(&format!("  {:<9}  {}", player.name, player.address))?;
        }
        say(&format!(
            "  wallets    lode wallet --coin {} --network {} --wallet anna balance (passphrase: {PASSPHRASE})",
            self.coin.name, self.coin.network
        ))?;
        say(&"Ctrl-C ends it; the next start goes on from there.\n")
    }

    /// Shares and hash rates.
    pub(crate) fn status(&self, stack: &Stack, miners: &Miners) -> io::Result<()> {
        let stats = stack.pool.stats();
        let accepted = stats.accepted.load(Ordering::Relaxed);
        let refused: u64 = stats.refused.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        if accepted == 0 {
            return Ok(());
        }
        let difficulty = stack.pool.job().borrow().as_ref().map_or(0.0, |job| job.network_difficulty.get());
        let mining = miners.players.iter().filter_map(|player| Some((&player.name, player.snapshot()?)));
        if self.json {
            let miners: Vec<Value> = mining
                .map(|(name, now)| {
                    let rate = match now.counted {
                        Counted::Hashes => "hashes_per_second",
                        Counted::Tests => "tests_per_second",
                    };
                    json!({"name": name, rate: now.hashes_per_second_10s, "accepted": now.accepted})
                })
                .collect();
            return say(&json!({
                "event": "shares", "accepted": accepted, "refused": refused, "difficulty": difficulty, "miners": miners,
            }));
        }
        // A prime coin's people speak of lengths.
        let asked = match (self.coin.pow.hashes_per_difficulty(), stack.pool.job().borrow().as_ref()) {
            (None, Some(job)) => format!("chains of {:.4} primes", ChainLength(job.template.bits).to_f64()),
            _ => format!("difficulty {difficulty:.4}"),
        };
        let rates: Vec<String> = mining.map(|(name, now)| format!("{name} {}", now.rate())).collect();
        say(&format!(
            "{}  {accepted} shares accepted, {refused} refused; {}; {asked}",
            self.clock(),
            rates.join(", "),
        ))
    }

    /// A found block: waits for the node's verdict, then checks every output of the coinbase in the node's chain against
    /// the ledger, and tells who was paid what and why. False where another block took its place.
    pub(crate) async fn block(
        &mut self,
        stack: &Stack,
        miners: &Miners,
        found: &FoundBlock,
    ) -> anyhow::Result<bool> {
        let hash = found.hash.to_string();
        if !in_chain(stack, found).await? {
            match self.json {
                true => say(&json!({"event": "orphan", "height": found.height, "hash": hash}))?,
                false => say(&format!(
                    "{}  block {} was found twice at once: this one has no place in the chain and pays nobody",
                    self.clock(),
                    found.height
                ))?,
            }
            return Ok(false);
        }
        let payees = self.check(miners, found)?;
        let reward = found.snapshot.split.reward;
        let (account, worker) = &found.finder;
        let finder = if worker.is_empty() { miners.name_of(account) } else { worker };
        if self.json {
            let payouts = payees.iter().map(|payee| {
                json!({
                    "name": payee.name, "address": payee.address, "amount_sat": payee.amount.to_sat(),
                    "part": payee.part, "carried_sat": payee.carried,
                })
            });
            say(&json!({
                "event": "block", "height": found.height, "hash": hash, "finder": finder,
                "reward_sat": reward.to_sat(), "payouts": payouts.collect::<Vec<_>>(),
            }))?;
            return Ok(true);
        }
        say(&format!("{}  BLOCK {} found by {finder}, {hash}", self.clock(), found.height))?;
        say(&format!(
            "         its coinbase pays {reward} {}, each output as the ledger says:",
            self.coin.ticker
        ))?;
        for payee in &payees {
            let why = match (found.snapshot.split.window.shares, payee.carried) {
                (0, _) => "all: it found the block, and nobody has work in the window yet".to_owned(),
                (_, 0) => format!("{:.2} % of the work in the window", payee.part * 100.0),
                (_, carried) => format!(
                    "{:.2} % of the work in the window, and {} carried",
                    payee.part * 100.0,
                    Amount::from_sat(carried)
                ),
            };
            say(&format!("         {:>15}  {:<6} {why}", payee.amount.to_string(), payee.name))?;
        }
        Ok(true)
    }

    /// The miners' wallets after a block: what arrived, what matures when, what was paid to each other.
    pub(crate) async fn wallets(&mut self, purses: &Purses) -> anyhow::Result<()> {
        let looks = match purses.look().await {
            Ok(looks) => looks,
            Err(error) => {
                tracing::warn!("the wallets could not be brought up to date: {error:#}");
                return Ok(());
            }
        };
        for look in looks {
            let balance = look.balance;
            self.wallets.insert(look.name.clone(), (balance, look.height));
            if self.json {
                say(&json!({
                    "event": "wallet", "name": look.name, "height": look.height,
                    "spendable_sat": balance.spendable.to_sat(), "immature_sat": balance.immature.to_sat(),
                    "unconfirmed_sat": balance.unconfirmed.to_sat(), "next_mature_in_blocks": balance.next_mature,
                    "paid": look.paid.map(|(amount, fee, txid, to)| json!({
                        "to": to, "sat": amount.to_sat(), "fee_sat": fee.to_sat(), "txid": txid.to_string(),
                    })),
                }))?;
                continue;
            }
            let next = match balance.next_mature {
                Some(1) => ", the next in 1 block".to_owned(),
                Some(blocks) => format!(", the next in {blocks} blocks"),
                None => String::new(),
            };
            say(&format!(
                "         wallet {} at block {}: {} spendable, {} maturing{next}",
                look.name, look.height, balance.spendable, balance.immature
            ))?;
            if let Some((amount, fee, txid, to)) = look.paid {
                say(&format!(
                    "         {} pays {to} {amount} {}, fee {fee}: {txid}",
                    look.name, self.coin.ticker
                ))?;
            }
        }
        Ok(())
    }

    /// Checks a block's coinbase against the ledger, and enters it.
    fn check(&mut self, miners: &Miners, found: &FoundBlock) -> anyhow::Result<Vec<Payee>> {
        let block = Block::from_bytes(&found.block, self.coin.form).context("a found block is no block")?;
        let coinbase = block.transactions.first().context("a found block has no coinbase")?;
        found
            .snapshot
            .check(coinbase)
            .with_context(|| format!("block {} does not pay what the ledger says", found.hash))?;
        let reward = found.snapshot.split.reward;
        self.blocks += 1;
        self.rewards = self.rewards.checked_add(reward).context("rewards beyond all money")?;
        let work: u128 = found.snapshot.payouts().map(|payout| payout.line.units).sum();
        let payees: Vec<Payee> = found
            .snapshot
            .payouts()
            .map(|payout| Payee {
                name: miners.name_of(payout.line.account.name()).to_owned(),
                address: payout.line.account.name().to_owned(),
                amount: payout.amount,
                part: payout.line.units as f64 / work.max(1) as f64,
                carried: payout.line.before,
            })
            .collect();
        for payee in &payees {
            let sum = self.paid.entry(payee.name.clone()).or_default();
            *sum = sum.checked_add(payee.amount).context("payouts beyond all money")?;
        }
        Ok(payees)
    }

    /// The table of payouts, which sum to the rewards.
    pub(crate) fn ended(&self) -> anyhow::Result<()> {
        let total = Amount::checked_sum(self.paid.values().copied()).context("payouts beyond all money")?;
        if self.json {
            let miners =
                self.paid.iter().map(|(name, amount)| json!({"name": name, "paid_sat": amount.to_sat()}));
            say(&json!({
                "event": "ended", "blocks": self.blocks, "rewards_sat": self.rewards.to_sat(),
                "paid_sat": total.to_sat(), "miners": miners.collect::<Vec<_>>(),
            }))?;
        } else {
            say(&format!(
                "\n{} blocks found, paid and checked in {}",
                self.blocks,
                self.clock().trim_start()
            ))?;
            let sums = [("sum", total), ("rewards", self.rewards)];
            let miners = self.paid.iter().map(|(name, amount)| (name.as_str(), *amount));
            for (name, amount) in miners.chain(sums).filter(|_| self.blocks > 0) {
                say(&format!("  {name:<8} {:>20} {}", amount.to_string(), self.coin.ticker))?;
            }
            for (name, (balance, height)) in &self.wallets {
                say(&format!(
                    "  wallet {name} at block {height}: {} {}, of it {} spendable",
                    balance.total(),
                    self.coin.ticker,
                    balance.spendable
                ))?;
            }
        }
        ensure!(total == self.rewards, "payouts of {total} and rewards of {} differ", self.rewards);
        Ok(())
    }

    fn clock(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{:>4}:{:02}", seconds / 60, seconds % 60)
    }
}

/// Waits until the node has a found block in its chain (true), or another in its place.
async fn in_chain(stack: &Stack, found: &FoundBlock) -> anyhow::Result<bool> {
    let Some(node) = &stack.node else { bail!("no embedded node runs") };
    let deadline = Instant::now() + ACCEPTED_WITHIN;
    loop {
        match node.block_status(&found.hash) {
            BlockStatus::InBestChain { .. } => return Ok(true),
            BlockStatus::Side => return Ok(false),
            BlockStatus::Invalid => bail!("the node refused block {}; the pool's log says why", found.hash),
            BlockStatus::Unknown => {}
        }
        ensure!(
            Instant::now() < deadline,
            "the node has not taken block {} within {} s; the pool's log says why",
            found.hash,
            ACCEPTED_WITHIN.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}

fn say(line: &dyn std::fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        // Nobody listens any more; the pool goes on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
