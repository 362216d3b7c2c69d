//! How the wallet's commands show what they have to say.

use lode_coins::Coin;
use lode_primitives::Amount;
use lode_wallet::{FeeRate, Plan, Wallet, show_amount};
use serde_json::{Value, json};

/// Inputs shown one by one; of more, how many there are.
const INPUTS_SHOWN_MAX: usize = 8;

/// A fee rate for people: `12.5 sat/vB`.
pub(super) fn rate(rate: FeeRate) -> String {
    let text = format!("{}.{:03}", rate.to_sat_per_kvb() / 1_000, rate.to_sat_per_kvb() % 1_000);
    format!("{} sat/vB", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Reads a fee rate: satoshi per virtual byte, at most three decimals.
pub(super) fn parse_rate(text: &str) -> Result<FeeRate, String> {
    let bad = || format!("{text:?} is not a fee rate in sat/vB, such as 12 or 1.5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let fraction: u64 = format!("{fraction:0<3}").parse().map_err(|_| bad())?;
    whole
        .checked_mul(1_000)
        .and_then(|rate| rate.checked_add(fraction))
        .map(FeeRate::from_sat_per_kvb)
        .ok_or_else(bad)
}

/// A number with its noun: `1 coin`, `3 coins`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Unix seconds as a date and time in UTC: `2026-11-20 16:05`.
pub(super) fn time(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64;
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    // Days since 0000-03-01, in eras of 400 years (146,097 days): a year that begins in March ends in its leap day.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// The words of a mnemonic, numbered, in columns of four.
pub(super) fn words(words: &str) -> String {
    let numbered: Vec<String> = words
        .split_whitespace()
        .enumerate()
        .map(|(index, word)| format!("{:>4}. {word:<10}", index + 1))
        .collect();
    numbered.chunks(4).map(|row| row.concat().trim_end().to_owned() + "\n").collect()
}

/// Who is behind a script: the address, and what it is labelled.
pub(super) fn payee(wallet: &Wallet, script: &[u8]) -> String {
    let Some(address) = wallet.address_of(script) else { return format!("script {}", hex::encode(script)) };
    match wallet.label(&address) {
        Some(label) => format!("{address} ({label})"),
        None => address,
    }
}

/// What a plan will do, line by line.
pub(super) fn plan(wallet: &Wallet, plan: &Plan) -> String {
    let coin = wallet.coin();
    let amount = |amount: Amount| format!("{:>20}", show_amount(amount, coin));
    let taken: Amount = plan.spent.iter().map(|coin| coin.value).sum();
    let mut text = String::new();
    let mut line = |name: &str, what: &str, sum: String| {
        text += &format!("  {name:<8} {what:<64} {sum}\n");
    };
    line("inputs", &count(plan.spent.len(), "coin"), amount(taken));
    for coin in plan.spent.iter().take(INPUTS_SHOWN_MAX) {
        let origin = match (coin.height, coin.coinbase) {
            (Some(height), true) => format!("mined in block {height}"),
            (Some(height), false) => format!("block {height}"),
            (None, _) => "own change, waiting".to_owned(),
        };
        let shown = coin.outpoint.to_string();
        let (head, tail) = (&shown[..12], &shown[64..]);
        line(
            "",
            &format!("  {head}..{tail}, {origin}, {}", show_amount(coin.value, wallet.coin())),
            String::new(),
        );
    }
    if plan.spent.len() > INPUTS_SHOWN_MAX {
        line("", &format!("  and {} more", plan.spent.len() - INPUTS_SHOWN_MAX), String::new());
    }
    let own = plan.payments.iter().all(|payment| payment.own.is_some());
    for payment in plan.payments.iter().filter(|payment| payment.own.is_none()) {
        line("to", &payee(wallet, &payment.output.script_pubkey), amount(payment.output.value));
    }
    for payment in plan.payments.iter().filter(|payment| payment.own.is_some()) {
        let name = if own { "to self" } else { "change" };
        line(name, &payee(wallet, &payment.output.script_pubkey), amount(payment.output.value));
    }
    line("fee", &format!("{} vB at {}", plan.vsize(), rate(plan.rate())), amount(plan.fee));
    let text: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    match fee_warning(plan) {
        Some(warning) => text + &warning,
        None => text,
    }
}

/// A word on fees that are much of what is moved.
fn fee_warning(plan: &Plan) -> Option<String> {
    let moved = match plan.sent() {
        Amount::ZERO => plan.change(),
        sent => sent,
    };
    let percent = plan.fee.to_sat().checked_mul(100)?.checked_div(moved.to_sat())?;
    (percent >= 10).then(|| format!("  Mind the fee: it is {percent} % of what is sent.\n"))
}

/// The same for scripts.
pub(super) fn plan_json(wallet: &Wallet, plan: &Plan) -> Value {
    json!({
        "inputs": plan.spent.iter().map(|coin| json!({
            "coin": coin.outpoint.to_string(), "sat": coin.value.to_sat(),
        })).collect::<Vec<_>>(),
        "outputs": plan.payments.iter().map(|payment| json!({
            "address": wallet.address_of(&payment.output.script_pubkey),
            "sat": payment.output.value.to_sat(),
            "own": payment.own.is_some(),
        })).collect::<Vec<_>>(),
        "fee_sat": plan.fee.to_sat(),
        "vsize": plan.vsize(),
        "sat_per_kvb": plan.rate().to_sat_per_kvb(),
        "replaces": plan.replaces.map(|txid| txid.to_string()),
    })
}

/// Prints a value for scripts.
pub(super) fn print_json(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// `1.50000000 BTC (150000000 sat)`: for messages where nothing may be misread.
pub(super) fn both(amount: Amount, coin: &Coin) -> String {
    format!("{} ({} sat)", show_amount(amount, coin), amount.to_sat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(time(0), "1970-01-01 00:00");
        assert_eq!(time(951_782_400), "2000-02-29 00:00");
        assert_eq!(time(1_231_006_505), "2009-01-03 18:15");
        assert_eq!(time(1_795_190_700), "2026-11-20 16:05");
    }

    #[test]
    fn rates_both_ways() {
        for (text, shown) in [("1", "1 sat/vB"), ("12.5", "12.5 sat/vB"), ("0.105", "0.105 sat/vB")] {
            assert_eq!(rate(parse_rate(text).unwrap()), shown);
        }
        for bad in ["", "-1", "1.2345", "1e3", "fast", "99999999999999999999"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
