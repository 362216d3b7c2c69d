//! Payments signed elsewhere, and those of others signed here: `psbt`, `sign`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lode_primitives::Encode as _;
use lode_wallet::{Psbt, Wallet, read_psbt, show_amount};
use serde_json::json;

use super::place::{Place, confirm};
use super::send::Payments;
use super::show;

/// What `psbt` takes.
#[derive(clap::Args)]
pub(super) struct Make {
    #[command(flatten)]
    payments: Payments,
    /// Write it to this file, in binary [default: shown in base64]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What `sign` takes.
#[derive(clap::Args)]
pub(super) struct Sign {
    /// The PSBT: a file, binary or base64; `-` reads from standard input
    psbt: PathBuf,
    /// Write it to this file, in binary [default: shown in base64]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Send it once it is complete
    #[arg(long)]
    send: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// `lode wallet psbt`
pub(super) fn make(place: &Place, args: &Make) -> anyhow::Result<()> {
    let mut opened = place.open_to_act()?;
    let plan = args.payments.plan(&mut opened)?;
    let psbt = opened.wallet.to_psbt(&plan)?;
    // The change key it names is used from now on.
    opened.wallet.reserve(&plan)?;
    opened.wallet.save()?;
    if place.json {
        let text = psbt.to_string();
        return show::print_json(&json!({"psbt": text, "plan": show::plan_json(&opened.wallet, &plan)}));
    }
    eprintln!("Planned from wallet \"{}\", not signed:\n{}", place.name(), show::plan(&opened.wallet, &plan));
    put(&psbt, args.output.as_deref())
}

/// `lode wallet sign`
pub(super) fn sign(place: &Place, args: &Sign) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    if args.psbt.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(&args.psbt).with_context(|| format!("cannot read {}", args.psbt.display()))?;
    }
    let mut psbt = read_psbt(&bytes)?;
    let mut wallet = place.open()?;
    let view = wallet.view_psbt(&psbt)?;
    if !place.json {
        eprintln!("{}", describe(&wallet, &view));
    }
    let own = view.inputs.iter().filter(|input| input.own && !input.complete).count();
    let mut signed = 0;
    if wallet.seed().is_some() && own > 0 {
        if !args.yes && !confirm(&format!("Sign {} of this wallet?", show::count(own, "input")))? {
            eprintln!("Nothing was signed.");
            return Ok(());
        }
        signed = wallet.sign_psbt(&mut psbt)?;
    }
    let complete = wallet.finish_psbt(&mut psbt)?;
    if signed == 0 && complete.is_none() {
        bail!("none of its inputs is this wallet's to sign, and it is not complete; nothing was signed");
    }
    let mut sent = None;
    if args.send {
        let Some(tx) = &complete else {
            bail!("it is not complete yet: others have to sign; nothing was sent")
        };
        let mut source = place.connect()?;
        sent = Some(wallet.send(tx, source.as_mut())?);
    }
    if place.json {
        return show::print_json(&json!({
            "psbt": psbt.to_string(),
            "signed_inputs": signed,
            "complete": complete.is_some(),
            "hex": complete.as_ref().map(|tx| hex::encode(tx.to_bytes())),
            "txid": complete.as_ref().map(|tx| tx.txid().to_string()),
            "sent": sent.is_some(),
        }));
    }
    match (&complete, sent) {
        (Some(_), Some(txid)) => {
            println!("Sent: {txid}");
            return Ok(());
        }
        (Some(tx), None) => eprintln!("It is complete: transaction {}. `--send` sends it.", tx.txid()),
        (None, _) => eprintln!("{} signed; others have to sign too.", show::count(signed, "input")),
    }
    put(&psbt, args.output.as_deref())
}

fn put(psbt: &Psbt, output: Option<&Path>) -> anyhow::Result<()> {
    match output {
        None => println!("{psbt}"),
        Some(path) => {
            std::fs::write(path, psbt.serialize())
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("Written to {}", path.display());
        }
    }
    Ok(())
}

fn describe(wallet: &Wallet, view: &lode_wallet::PsbtView) -> String {
    let coin = wallet.coin();
    let mut text = format!("Transaction {}, {coin}:\n", view.txid);
    for input in &view.inputs {
        let amount = input
            .spent
            .as_ref()
            .map_or_else(|| "of unknown amount".to_owned(), |output| show::both(output.value, coin));
        let whose = if input.own { "ours" } else { "others'" };
        let state = if input.complete { ", signed" } else { "" };
        text += &format!("  spends {} ({whose}{state}) {amount}\n", input.outpoint);
    }
    for (output, own) in &view.outputs {
        let whose = if own.is_some() { " (ours)" } else { "" };
        text += &format!(
            "  pays   {}{whose} {}\n",
            show::payee(wallet, &output.script_pubkey),
            show::both(output.value, coin)
        );
    }
    match view.fee {
        Some(fee) => text + &format!("  fee    {}\n", show_amount(fee, coin)),
        None => text + "  fee    unknown: it does not say what all its inputs hold\n",
    }
}
