//! What there is and where it came from: `address`, `balance`, `history`, `coins`, `label`, `rescan`.

use anyhow::bail;
use lode_light::risk;
use lode_primitives::Amount;
use lode_wallet::{AddressKind, Coin, CoinState, Entry, Wallet, show_amount};
use serde_json::{Value, json};

use super::place::{Place, sync};
use super::show;

/// What `address` takes.
#[derive(clap::Args)]
pub(super) struct Address {
    /// Which kind: segwit, taproot, nested or legacy [default: the coin's best known]
    #[arg(long)]
    kind: Option<AddressKind>,
    /// A label for it: who will pay, or what for
    #[arg(long)]
    label: Option<String>,
    /// List those given out or paid instead of a new one
    #[arg(long, conflicts_with_all = ["kind", "label"])]
    all: bool,
}

/// What `history` takes.
#[derive(clap::Args)]
pub(super) struct History {
    /// At most so many, the newest
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// What `label` takes.
#[derive(clap::Args)]
pub(super) struct Label {
    /// An address, a transaction's id, or a coin (TXID:N)
    of: String,
    /// The label
    #[arg(default_value = "")]
    text: String,
}

/// What `rescan` takes.
#[derive(clap::Args)]
pub(super) struct Rescan {
    /// Read from this block on
    #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
    from: u32,
    /// From now on look for so many unused addresses after the last used one
    #[arg(long, value_name = "N")]
    gap: Option<u32>,
}

/// `lode wallet address`
pub(super) fn address(place: &Place, args: &Address) -> anyhow::Result<()> {
    // A new address must not be one that was paid meanwhile; an unanswering node does not keep anybody from one.
    let mut opened = place.open_to_look()?;
    let wallet = &mut opened.wallet;
    if args.all {
        return list_addresses(place, wallet);
    }
    let address = wallet.new_address(args.kind)?;
    if let Some(label) = &args.label {
        wallet.set_label(&address, label)?;
    }
    let unpaid = wallet.unpaid_addresses(args.kind);
    wallet.save()?;
    if place.json {
        return show::print_json(&json!({"address": address, "unpaid_before": unpaid.saturating_sub(1)}));
    }
    println!("{address}");
    if unpaid > wallet.gap() {
        eprintln!(
            "\nThe {} addresses given out last were never paid. A wallet restored from the words looks {} unpaid\n\
             addresses ahead: to find this one, restore with --gap {} or more.",
            unpaid - 1,
            wallet.gap(),
            unpaid + 10
        );
    }
    Ok(())
}

fn list_addresses(place: &Place, wallet: &Wallet) -> anyhow::Result<()> {
    let received = wallet.received();
    let sum = |address: &str| received.get(address).copied().unwrap_or_default();
    if place.json {
        let list = wallet.addresses().into_iter().map(|(key, change, address)| {
            json!({
                "address": address, "change": change, "index": key.index,
                "received_sat": sum(&address).to_sat(), "label": wallet.label(&address),
            })
        });
        return show::print_json(&list.collect());
    }
    for (_, change, address) in wallet.addresses() {
        let label = wallet.label(&address).unwrap_or(if change { "change" } else { "" });
        let line = format!("{address:<64} {:>22}  {label}", show_amount(sum(&address), wallet.coin()));
        println!("{}", line.trim_end());
    }
    Ok(())
}

/// `lode wallet balance`
pub(super) fn balance(place: &Place) -> anyhow::Result<()> {
    let opened = place.open_to_look()?;
    let (wallet, coins) = (&opened.wallet, opened.wallet.coins());
    let (balance, coin) = (wallet.balance(), opened.wallet.coin());
    let number = |fits: fn(&CoinState) -> bool| coins.iter().filter(|coin| fits(&coin.state)).count();
    let immature = number(|state| matches!(state, CoinState::Immature { .. }));
    if place.json {
        return show::print_json(&json!({
            "coin": coin.name, "network": coin.network.name(), "unit": "sat",
            "spendable_sat": balance.spendable.to_sat(),
            "unconfirmed_sat": balance.unconfirmed.to_sat(),
            "immature_sat": balance.immature.to_sat(),
            "total_sat": balance.total().to_sat(),
            "next_mature_in_blocks": balance.next_mature,
            "height": wallet.synced_to().map(|block| block.height),
        }));
    }
    let at = wallet.synced_to().map_or_else(String::new, |block| format!(", at block {}", block.height));
    println!("Wallet \"{}\", {coin}{at}", place.name());
    let line = |name: &str, amount: Amount, note: String| {
        println!("{}", format!("  {name:<12} {:>24}   {note}", show_amount(amount, coin)).trim_end());
    };
    let spendable = number(|state| *state == CoinState::Spendable);
    line("spendable", balance.spendable, format!("in {}", show::count(spendable, "coin")));
    if balance.unconfirmed > Amount::ZERO {
        line("on its way", balance.unconfirmed, "paid by others, in no block yet".to_owned());
    }
    if let Some(next) = balance.next_mature {
        let blocks = show::count(next as usize, "block");
        let note = format!("in {}; the next is spendable in {blocks}", show::count(immature, "coinbase"));
        line("immature", balance.immature, note);
    }
    if balance.total() != balance.spendable {
        line("total", balance.total(), String::new());
    }
    Ok(())
}

/// `lode wallet history`
pub(super) fn history(place: &Place, args: &History) -> anyhow::Result<()> {
    let opened = place.open_to_look()?;
    let wallet = &opened.wallet;
    let entries = wallet.history();
    let shown = entries.iter().take(args.limit);
    if place.json {
        return show::print_json(&shown.map(|entry| entry_json(wallet, entry)).collect());
    }
    if entries.is_empty() {
        println!(
            "Nothing came or went yet. `lode wallet{} address` gives an address to be paid at.",
            place.flags()
        );
    }
    for entry in shown {
        let when = show::time(entry.time);
        let state = match entry.confirmations {
            0 if entry.replaceable => "waiting, can be bumped".to_owned(),
            0 => "waiting".to_owned(),
            deep => show::count(deep as usize, "confirmation"),
        };
        let sign = if entry.change > Amount::ZERO { "+" } else { "" };
        let change = format!("{sign}{}", show_amount(entry.change, wallet.coin()));
        println!("{when}  {change:>24}  {:<9} {state}", kind(entry));
        let label =
            wallet.label(&entry.txid.to_string()).map(|label| format!("  {label}")).unwrap_or_default();
        println!("                  {}{label}", entry.txid);
        if entry.fee.is_some() {
            for script in &entry.scripts {
                println!("                  to {}", show::payee(wallet, script));
            }
        } else {
            for script in &entry.scripts {
                println!("                  at {}", show::payee(wallet, script));
            }
            let advice = risk::advice(entry.confirmations);
            if !entry.mined && advice.more_for_tenth > 0 {
                println!("                  {}", advice.sentence());
            }
        }
    }
    if entries.len() > args.limit {
        println!("({} older ones; --limit {} shows all)", entries.len() - args.limit, entries.len());
    }
    Ok(())
}

fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry { mined: true, .. } => "mined",
        Entry { fee: Some(_), scripts, .. } if scripts.is_empty() => "gathered",
        Entry { fee: Some(_), .. } => "sent",
        _ => "received",
    }
}

fn entry_json(wallet: &Wallet, entry: &Entry) -> Value {
    json!({
        "txid": entry.txid.to_string(),
        "kind": kind(entry),
        "change_sat": entry.change.to_sat(),
        "fee_sat": entry.fee.map(Amount::to_sat),
        "confirmations": entry.confirmations,
        "block": entry.block.map(|block| block.hash.to_string()),
        "height": entry.block.map(|block| block.height),
        "time": entry.time,
        "replaceable": entry.replaceable,
        "addresses": entry.scripts.iter().map(|script| wallet.address_of(script)).collect::<Vec<_>>(),
        "label": wallet.label(&entry.txid.to_string()),
    })
}

/// `lode wallet coins`
pub(super) fn coins(place: &Place) -> anyhow::Result<()> {
    let opened = place.open_to_look()?;
    let (wallet, coins) = (&opened.wallet, opened.wallet.coins());
    if place.json {
        return show::print_json(&coins.iter().map(|coin| coin_json(wallet, coin)).collect());
    }
    if coins.is_empty() {
        println!("No coins.");
    }
    for coin in &coins {
        let state = match coin.state {
            CoinState::Spendable if coin.height.is_none() => "own change, waiting".to_owned(),
            CoinState::Spendable => "spendable".to_owned(),
            CoinState::Unconfirmed => "paid by others, in no block yet".to_owned(),
            CoinState::Immature { blocks } => {
                format!("mined, spendable in {}", show::count(blocks as usize, "block"))
            }
        };
        println!("{}  {:>24}  {state}", coin.outpoint, show_amount(coin.value, wallet.coin()));
        let label =
            wallet.label(&coin.outpoint.to_string()).map(|label| format!("  {label}")).unwrap_or_default();
        println!("    {}{label}", show::payee(wallet, &coin.script));
    }
    Ok(())
}

fn coin_json(wallet: &Wallet, coin: &Coin) -> Value {
    let (state, blocks) = match coin.state {
        CoinState::Spendable => ("spendable", None),
        CoinState::Unconfirmed => ("unconfirmed", None),
        CoinState::Immature { blocks } => ("immature", Some(blocks)),
    };
    json!({
        "coin": coin.outpoint.to_string(), "sat": coin.value.to_sat(), "address": wallet.address_of(&coin.script),
        "height": coin.height, "coinbase": coin.coinbase, "state": state, "spendable_in_blocks": blocks,
        "label": wallet.label(&coin.outpoint.to_string()),
    })
}

/// `lode wallet label`
pub(super) fn label(place: &Place, args: &Label) -> anyhow::Result<()> {
    let mut wallet = place.open()?;
    let (transaction, _) = args.of.split_once(':').unwrap_or((&args.of, ""));
    if transaction.parse::<lode_primitives::Txid>().is_err() {
        wallet.coin().address_to_script(&args.of)?;
    }
    wallet.set_label(&args.of, &args.text)?;
    wallet.save()?;
    match args.text.as_str() {
        "" => println!("{} has no label", args.of),
        text => println!("{} is labelled {text:?}", args.of),
    }
    Ok(())
}

/// `lode wallet rescan`
pub(super) fn rescan(place: &Place, args: &Rescan) -> anyhow::Result<()> {
    if place.offline() {
        bail!("this needs a node; leave --offline out");
    }
    let mut wallet = place.open()?;
    let before = wallet.history().len();
    wallet.rescan_from(args.from);
    if let Some(gap) = args.gap {
        wallet.set_gap(gap)?;
    }
    wallet.save()?;
    sync(&mut wallet, place.connect()?.as_mut())?;
    println!(
        "Read up to block {}: {}, {} of them new; {}.",
        wallet.synced_to().map_or(0, |block| block.height),
        show::count(wallet.history().len(), "transaction"),
        wallet.history().len().saturating_sub(before),
        show_amount(wallet.balance().total(), wallet.coin())
    );
    Ok(())
}
