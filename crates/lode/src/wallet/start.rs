//! Making a wallet, having one again, keeping it safe: `create`, `restore`, `backup`, `list`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context, bail};
use lode_wallet::{
    AddressKind, GAP, Keys, NewWallet, Seed, Wallet, file, show_amount, watch_descriptors, xpub_descriptors,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::place::{Place, sync, wallets_directory};
use super::show;

/// The environment variable that the words of a wallet may come from, for scripts.
const WORDS_VARIABLE: &str = "LODE_WALLET_WORDS";

/// What `create` takes.
#[derive(clap::Args)]
pub(super) struct Create {
    /// How many words: 12 or 24 (15, 18, 21)
    #[arg(long, default_value_t = 12)]
    words: usize,
    /// Which account of the words (BIP44)
    #[arg(long, default_value_t = 0)]
    account: u32,
}

/// What `restore` takes. Without a source of keys the words are asked for.
#[derive(clap::Args)]
pub(super) struct Restore {
    /// A file with the words in its first line [else LODE_WALLET_WORDS, else they are asked for]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["xpub", "descriptor", "backup"])]
    words_file: Option<PathBuf>,
    /// A file with BIP39's extra passphrase in its first line, where the words have one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["xpub", "descriptor", "backup"])]
    extra_file: Option<PathBuf>,
    /// Watch an account by its extended public key (xpub, zpub, tpub ...)
    #[arg(long, conflicts_with_all = ["descriptor", "backup"])]
    xpub: Option<String>,
    /// Which addresses an xpub is for: segwit, taproot, nested or legacy
    #[arg(long, requires = "xpub")]
    kind: Option<AddressKind>,
    /// Watch a descriptor; a second one is for change
    #[arg(long, conflicts_with = "backup", num_args = 1)]
    descriptor: Vec<String>,
    /// A file that `lode wallet backup` wrote
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Which account of the words (BIP44)
    #[arg(long, default_value_t = 0)]
    account: u32,
    /// No payment is older than this block: what lies before is not read
    #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
    birthday: u32,
    /// Unused addresses after the last used one that are looked for
    #[arg(long, value_name = "N", default_value_t = GAP)]
    gap: u32,
}

/// What `backup` takes.
#[derive(clap::Args)]
pub(super) struct Backup {
    /// Where to copy the wallet's file to, sealed as it is
    #[arg(required_unless_present_any = ["words", "descriptors"])]
    to: Option<PathBuf>,
    /// Show the words
    #[arg(long)]
    words: bool,
    /// Show the public descriptors: they watch, but cannot spend
    #[arg(long)]
    descriptors: bool,
}

/// `lode wallet create`
pub(super) fn create(place: &Place, args: &Create) -> anyhow::Result<()> {
    let (coin, path) = (place.coin()?, place.path()?);
    refuse_existing(&path)?;
    // What is new needs no look at old blocks.
    let birthday = match place.offline() {
        true => None,
        false => place.connect().and_then(|mut source| Ok(source.tip()?)).ok(),
    };
    let passphrase = place.new_passphrase()?;
    let seed = Seed::generate(args.words)?;
    let words = seed.words();
    let new = NewWallet {
        coin,
        keys: Keys::Own(seed),
        account: args.account,
        birthday: birthday.map_or(0, |tip| tip.height),
        gap: GAP,
    };
    let mut wallet = Wallet::create(&path, &passphrase, new)?;
    let address = wallet.new_address(None)?;
    wallet.save()?;
    if place.json {
        return show::print_json(&json!({
            "wallet": place.name(), "file": path, "words": &*words, "address": address,
            "birthday": birthday.map(|tip| tip.height),
        }));
    }
    println!("Wallet \"{}\" for {coin} is made: {}\n", place.name(), path.display());
    println!("Write these {} words down, on paper, in order. Whoever has them has the money;", args.words);
    println!("with them alone everything can be had again (`lode wallet restore`).\n");
    println!("{}", show::words(&words));
    println!("The first address to be paid at:\n\n  {address}\n");
    if birthday.is_none() && !place.offline() {
        println!("No node answered, so the first look at the chain will begin at its first block.");
    }
    Ok(())
}

/// `lode wallet restore`
pub(super) fn restore(place: &Place, args: &Restore) -> anyhow::Result<()> {
    let (coin, path) = (place.coin()?, place.path()?);
    refuse_existing(&path)?;
    if let Some(backup) = &args.backup {
        let header = file::read_header(backup)?;
        if (header.coin.as_str(), header.network.as_str()) != (coin.name, coin.network.name()) {
            bail!("this backup is of a wallet for {} {}, not {coin}", header.coin, header.network);
        }
        // A wrong passphrase is told before anything is put in place.
        let passphrase = place.passphrase()?;
        file::verify(backup, &passphrase)?;
        std::fs::create_dir_all(wallets_directory(&place.data_dir()?, coin))?;
        file::copy_sealed(backup, &path)?;
    } else {
        let keys = match (&args.xpub, args.descriptor.as_slice()) {
            (Some(xpub), _) => Keys::Watch(xpub_descriptors(xpub, args.kind, coin)?),
            (None, []) => Keys::Own(Seed::from_words(&words(args)?, &extra(args)?)?),
            (None, descriptors) => Keys::Watch(watch_descriptors(descriptors)?),
        };
        let new = NewWallet { coin, keys, account: args.account, birthday: args.birthday, gap: args.gap };
        Wallet::create(&path, &place.new_passphrase()?, new)?;
    }
    if place.offline() {
        println!("Wallet \"{}\" for {coin} is restored: {}", place.name(), path.display());
        return Ok(());
    }
    // It is there from here on, whatever becomes of the first look at the chain.
    let mut wallet = place.open()?;
    let looked = place.connect().and_then(|mut source| sync(&mut wallet, source.as_mut()));
    if place.json {
        return show::print_json(&json!({
            "wallet": place.name(), "file": path,
            "transactions": wallet.history().len(), "total_sat": wallet.balance().total().to_sat(),
            "height": wallet.synced_to().map(|block| block.height),
        }));
    }
    println!("Wallet \"{}\" for {coin} is restored: {}", place.name(), path.display());
    match looked {
        Ok(_) => println!(
            "Found up to block {}: {}, {}.",
            wallet.synced_to().map_or(0, |block| block.height),
            show::count(wallet.history().len(), "transaction"),
            show_amount(wallet.balance().total(), coin)
        ),
        Err(error) => println!("The chain could not be read yet ({error:#}); the next command tries again."),
    }
    if wallet.seed().is_none() {
        println!(
            "It only watches: payments are made with `lode wallet{} psbt` and signed where the keys are.",
            place.flags()
        );
    }
    Ok(())
}

/// `lode wallet backup`
pub(super) fn backup(place: &Place, args: &Backup) -> anyhow::Result<()> {
    if let Some(to) = &args.to {
        file::copy_sealed(&place.path()?, to)?;
        println!("{} is copied to {}, sealed by the same passphrase.", place.path()?.display(), to.display());
    }
    if !args.words && !args.descriptors {
        return Ok(());
    }
    let wallet = place.open()?;
    let words = wallet.seed().filter(|_| args.words).map(Seed::words);
    if args.words && words.is_none() {
        bail!("this wallet only watches; it has no words");
    }
    if place.json {
        return show::print_json(&json!({
            "words": words.as_ref().map(|words| words.as_str()),
            "account": wallet.account(),
            "descriptors": args.descriptors.then(|| wallet.descriptors()).map(|list| list.into_iter().map(
                |(descriptor, change)| json!({"descriptor": descriptor, "change": change})
            ).collect::<Vec<_>>()),
        }));
    }
    if let Some(words) = words {
        println!("Whoever has these words has the money:\n\n{}", show::words(&words));
        if wallet.account() > 0 {
            println!("Account {} of them.", wallet.account());
        }
        if wallet.seed().is_some_and(|seed| !seed.extra().is_empty()) {
            println!("They need their extra passphrase (BIP39), which is not shown.");
        }
    }
    if args.descriptors {
        for (descriptor, change) in wallet.descriptors() {
            println!("{} {descriptor}", if change { "change " } else { "receive" });
        }
    }
    Ok(())
}

/// `lode wallet list`
pub(super) fn list(place: &Place) -> anyhow::Result<()> {
    let data_dir = place.data_dir()?;
    let mut found = Vec::new();
    for coin in lode_coins::COINS {
        let Ok(entries) = std::fs::read_dir(wallets_directory(&data_dir, coin)) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "wallet"));
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let state = match file::read_header(&path) {
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            };
            found.push((name, *coin, path, state));
        }
    }
    if place.json {
        let list = found.iter().map(|(name, coin, path, state)| {
            json!({"wallet": name, "coin": coin.name, "network": coin.network.name(), "file": path, "trouble": state})
        });
        return show::print_json(&list.collect());
    }
    if found.is_empty() {
        println!("No wallet under {} yet; make one with `lode wallet create`.", data_dir.display());
    }
    for (name, coin, path, state) in found {
        let trouble = state.map(|state| format!("  ({state})")).unwrap_or_default();
        println!("{name:<16} {:<18} {}{trouble}", coin.to_string(), path.display());
    }
    Ok(())
}

fn refuse_existing(path: &std::path::Path) -> anyhow::Result<()> {
    match path.exists() {
        true => Err(file::FileError::Exists(path.to_owned()).into()),
        false => Ok(()),
    }
}

/// The words to restore from: a file's, the environment's, or asked for.
fn words(args: &Restore) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = &args.words_file {
        return first_line(file);
    }
    if let Ok(words) = std::env::var(WORDS_VARIABLE) {
        return Ok(Zeroizing::new(words));
    }
    if std::io::stdin().is_terminal() {
        eprint!("The words, in order, on one line: ");
        std::io::stderr().flush()?;
    }
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

fn extra(args: &Restore) -> anyhow::Result<Zeroizing<String>> {
    args.extra_file.as_deref().map_or_else(|| Ok(Zeroizing::default()), first_line)
}

fn first_line(file: &std::path::Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}
