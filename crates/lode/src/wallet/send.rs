//! Payments: `send`, `consolidate`, `bump`. Each shows what it will do and asks before it signs.

use anyhow::{Context, bail};
use lode_coins::Coin;
use lode_primitives::{Amount, OutPoint, Txid};
use lode_wallet::{
    AddressKind, CONSOLIDATIONS_MAX, FeeRate, Pay, Plan, Source, Wallet, WalletError, parse_amount,
    show_amount,
};
use serde_json::json;

use super::place::{Opened, Place, confirm};
use super::show;

/// Blocks within which a payment is meant to be mined, unless told otherwise.
const BLOCKS: u16 = 6;
/// Blocks that a gathering may wait: its fee is the lowest that a node can tell.
pub(super) const PATIENT_BLOCKS: u16 = 144;

/// What says how much to pay for being mined.
#[derive(clap::Args)]
pub(super) struct Fee {
    /// The fee rate in sat/vB [default: what the node estimates]
    #[arg(long, value_parser = show::parse_rate)]
    rate: Option<FeeRate>,
    /// Let the node estimate for being mined within so many blocks
    #[arg(long, value_name = "N", default_value_t = BLOCKS, value_parser = clap::value_parser!(u16).range(1..=1008))]
    blocks: u16,
}

/// Whom to pay, how much, from what.
#[derive(clap::Args)]
pub(super) struct Payments {
    /// Address and amount, one pair or more: 0.5btc or 50000sat, never a bare number; `max` for all there is
    #[arg(required = true, num_args = 2.., value_names = ["ADDRESS", "AMOUNT"])]
    pays: Vec<String>,
    #[command(flatten)]
    fee: Fee,
    /// Spend only this coin (TXID:N, from `lode wallet coins`); may be given several times
    #[arg(long, value_name = "COIN")]
    from: Vec<String>,
}

/// What `send` takes.
#[derive(clap::Args)]
pub(super) struct Send {
    #[command(flatten)]
    payments: Payments,
    /// A label for the transaction
    #[arg(long)]
    label: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Show what it would do, and stop
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// What `consolidate` takes.
#[derive(clap::Args)]
pub(super) struct Consolidate {
    /// Only coins of at most this amount (0.01btc, 50000sat) [default: all]
    #[arg(long, value_name = "AMOUNT")]
    below: Option<String>,
    /// The fee rate in sat/vB [default: what the node estimates for a day]
    #[arg(long, value_parser = show::parse_rate)]
    rate: Option<FeeRate>,
    /// Gather only while the estimated rate is at most this, in sat/vB [default: ten times the least relayed]
    #[arg(long, value_name = "RATE", value_parser = show::parse_rate, conflicts_with = "rate")]
    max_rate: Option<FeeRate>,
    /// To which kind of own address: segwit, taproot, nested or legacy
    #[arg(long)]
    kind: Option<AddressKind>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What `bump` takes.
#[derive(clap::Args)]
pub(super) struct Bump {
    /// The waiting transaction
    txid: Txid,
    /// The new fee rate in sat/vB [default: what the node estimates for the next block, and more than before]
    #[arg(long, value_parser = show::parse_rate)]
    rate: Option<FeeRate>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Fee {
    /// The rate to pay: as told, else as the node estimates. Where nobody knows: on a private network the least that is
    /// relayed, else it must be told.
    fn rate(&self, wallet: &Wallet, source: Option<&mut dyn Source>) -> anyhow::Result<FeeRate> {
        match (self.rate, source) {
            (Some(rate), _) => Ok(rate),
            (None, None) => Err(WalletError::NoRate.into()),
            (None, Some(source)) => estimate(wallet.coin(), source, self.blocks),
        }
    }
}

fn estimate(coin: &Coin, source: &mut dyn Source, blocks: u16) -> anyhow::Result<FeeRate> {
    let hint = source.fee_hint(blocks)?;
    match hint.estimate {
        Some(rate) => Ok(rate),
        None if coin.network.is_private() => Ok(hint.floor.max(FeeRate::from_sat_per_kvb(1_000))),
        None => Err(WalletError::NoRate.into()),
    }
}

impl Payments {
    /// Plans the payment.
    pub(super) fn plan(&self, opened: &mut Opened) -> anyhow::Result<Plan> {
        let coin = opened.wallet.coin();
        if !self.pays.len().is_multiple_of(2) {
            bail!("each address needs its amount: ADDRESS AMOUNT [ADDRESS AMOUNT ...]");
        }
        let pay = match self.pays.as_slice() {
            [address, all] if all == "max" => Pay::All(address.clone()),
            pays => {
                let pairs = pays.chunks_exact(2).map(|pair| {
                    // The address first: an amount in its place is then told as such.
                    coin.address_to_script(&pair[0])?;
                    Ok((pair[0].clone(), parse_amount(&pair[1], coin)?))
                });
                Pay::Amounts(pairs.collect::<anyhow::Result<_>>()?)
            }
        };
        let only = self.from.iter().map(|text| outpoint(text)).collect::<anyhow::Result<Vec<_>>>()?;
        let rate = match &mut opened.source {
            Some(source) => self.fee.rate(&opened.wallet, Some(source.as_mut()))?,
            None => self.fee.rate(&opened.wallet, None)?,
        };
        Ok(opened.wallet.plan_send(&pay, rate, &only)?)
    }
}

fn outpoint(text: &str) -> anyhow::Result<OutPoint> {
    let (txid, vout) = text.split_once(':').with_context(|| format!("{text:?} is no coin; write TXID:N"))?;
    let vout = vout.parse().with_context(|| format!("{text:?} is no coin; write TXID:N"))?;
    Ok(OutPoint { txid: txid.parse()?, vout })
}

/// `lode wallet send`
pub(super) fn send(place: &Place, args: &Send) -> anyhow::Result<()> {
    let mut opened = place.open_to_act()?;
    let plan = args.payments.plan(&mut opened)?;
    if args.dry_run {
        return show_plan(place, &opened.wallet, &plan, "Would send");
    }
    let (wallet, source) = opened.source()?;
    if wallet.seed().is_none() {
        return Err(WalletError::WatchOnly.into());
    }
    if !agreed(place, wallet, &[&plan], "Send", args.yes)? {
        return Ok(());
    }
    let txid = pay(wallet, source, &plan)?;
    if let Some(label) = &args.label {
        wallet.set_label(&txid.to_string(), label)?;
        wallet.save()?;
    }
    told(place, wallet, &[(txid, plan)], "Sent")
}

/// `lode wallet consolidate`
pub(super) fn consolidate(place: &Place, args: &Consolidate) -> anyhow::Result<()> {
    let mut opened = place.open_to_act()?;
    let (wallet, source) = opened.source()?;
    let coin = wallet.coin();
    let below = args.below.as_deref().map(|text| parse_amount(text, coin)).transpose()?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => {
            let rate = estimate(coin, source, PATIENT_BLOCKS)?;
            let least = coin.min_relay_fee.to_sat().unsigned_abs();
            let most = args.max_rate.unwrap_or(FeeRate::from_sat_per_kvb(least.saturating_mul(10)));
            if rate > most {
                bail!(
                    "fees are at {}; this waits for {} or less. Say --max-rate to wait for less, or --rate to pay now",
                    show::rate(rate),
                    show::rate(most)
                );
            }
            rate
        }
    };
    let plans = wallet.plan_consolidate(rate, below, args.kind)?;
    if wallet.seed().is_none() {
        return Err(WalletError::WatchOnly.into());
    }
    if !agreed(place, wallet, &plans.iter().collect::<Vec<_>>(), "Gather", args.yes)? {
        return Ok(());
    }
    let mut done = Vec::new();
    for plan in plans {
        done.push((pay(wallet, source, &plan)?, plan));
    }
    told(place, wallet, &done, "Gathered")?;
    if done.len() == CONSOLIDATIONS_MAX && !place.json {
        println!("There may be more: run it again once these are mined.");
    }
    Ok(())
}

/// `lode wallet bump`
pub(super) fn bump(place: &Place, args: &Bump) -> anyhow::Result<()> {
    let mut opened = place.open_to_act()?;
    let (wallet, source) = opened.source()?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => {
            let least = FeeRate::from_sat_per_kvb(wallet.coin().min_relay_fee.to_sat().unsigned_abs());
            let more = wallet.fee_of(&args.txid).map_or(least, |(_, rate)| {
                FeeRate::from_sat_per_kvb(rate.to_sat_per_kvb() + least.to_sat_per_kvb().max(1_000))
            });
            estimate(wallet.coin(), source, 1).unwrap_or(more).max(more)
        }
    };
    let plan = wallet.plan_bump(&args.txid, rate)?;
    if wallet.seed().is_none() {
        return Err(WalletError::WatchOnly.into());
    }
    if !agreed(place, wallet, &[&plan], "Replace", args.yes)? {
        return Ok(());
    }
    let label = wallet.label(&args.txid.to_string()).map(str::to_owned);
    let txid = pay(wallet, source, &plan)?;
    if let Some(label) = label {
        wallet.set_label(&txid.to_string(), &label)?;
        wallet.save()?;
    }
    told(place, wallet, &[(txid, plan)], "Replaced by")
}

/// Signs and sends. What was sent is in the books before the network hears of it.
fn pay(wallet: &mut Wallet, source: &mut dyn Source, plan: &Plan) -> anyhow::Result<Txid> {
    let tx = wallet.sign(plan)?;
    Ok(wallet.send(&tx, source)?)
}

/// Shows what is planned and asks, unless told not to.
fn agreed(place: &Place, wallet: &Wallet, plans: &[&Plan], verb: &str, yes: bool) -> anyhow::Result<bool> {
    if !place.json {
        for plan in plans {
            show_plan(place, wallet, plan, verb)?;
        }
    }
    if yes {
        return Ok(true);
    }
    let what = match plans {
        [_] => "Sign and send this?".to_owned(),
        more => format!("Sign and send these {}?", more.len()),
    };
    let agreed = confirm(&what)?;
    if !agreed {
        eprintln!("Nothing was signed.");
    }
    Ok(agreed)
}

fn show_plan(place: &Place, wallet: &Wallet, plan: &Plan, verb: &str) -> anyhow::Result<()> {
    if place.json {
        return show::print_json(&show::plan_json(wallet, plan));
    }
    println!("{verb} from wallet \"{}\", {}:", place.name(), wallet.coin());
    println!("{}", show::plan(wallet, plan));
    Ok(())
}

/// What was done.
fn told(place: &Place, wallet: &Wallet, done: &[(Txid, Plan)], verb: &str) -> anyhow::Result<()> {
    if place.json {
        let list = done
            .iter()
            .map(|(txid, plan)| json!({"txid": txid.to_string(), "plan": show::plan_json(wallet, plan)}));
        return show::print_json(&list.collect());
    }
    for (txid, plan) in done {
        let moved = match plan.sent() {
            Amount::ZERO => plan.change(),
            sent => sent,
        };
        println!(
            "{verb}: {txid} ({}, fee {})",
            show_amount(moved, wallet.coin()),
            show_amount(plan.fee, wallet.coin())
        );
    }
    Ok(())
}
