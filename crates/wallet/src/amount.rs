//! Amounts as people write them: always with their unit, so that coins and satoshi cannot be taken for each other.

use lode_coins::Coin;
use lode_primitives::Amount;

/// Why a text is no amount to pay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// A number alone.
    #[error("{0}: of what? Write {0}{1} for coins, or a whole number of the smallest unit like 5000sat")]
    NoUnit(String, String),
    /// A unit of something else.
    #[error("{0:?} is not a unit of this wallet: write an amount like 0.5{1} or 5000sat")]
    Unit(String, String),
    /// The number does not parse.
    #[error("{0:?} is not an amount: {1}")]
    Number(String, String),
    /// Zero, negative, or more than there can be.
    #[error("{0} is not an amount that can be paid")]
    Range(String),
}

/// Reads `0.5btc` or `5000sat` (in any case; a space before the unit is allowed). A number without unit, a fraction of
/// a satoshi and another coin's ticker are refused.
///
/// # Errors
/// What is wrong, and how to write it.
pub fn parse_amount(text: &str, coin: &Coin) -> Result<Amount, AmountError> {
    let text = text.trim();
    let shown = || text.chars().take(40).collect::<String>();
    let ticker = coin.ticker.to_ascii_lowercase();
    let split =
        text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '_')).unwrap_or(text.len());
    let (number, unit) = (text[..split].replace('_', ""), text[split..].trim().to_ascii_lowercase());
    if number.is_empty() {
        return Err(AmountError::Number(shown(), "it begins with no digit".to_owned()));
    }
    let amount = if unit.is_empty() {
        return Err(AmountError::NoUnit(shown(), ticker));
    } else if unit == ticker {
        number.parse::<Amount>().map_err(|error| AmountError::Number(shown(), error.to_string()))?
    } else if matches!(unit.as_str(), "sat" | "sats") {
        let whole = |error| AmountError::Number(shown(), format!("{error}; sat are whole numbers"));
        Amount::from_sat(number.parse().map_err(whole)?)
    } else {
        return Err(AmountError::Unit(unit.chars().take(20).collect(), ticker));
    };
    if amount <= Amount::ZERO || !amount.is_money(coin.max_money) {
        return Err(AmountError::Range(shown()));
    }
    Ok(amount)
}

/// An amount for people: `0.50000000 BTC`.
pub fn show_amount(amount: Amount, coin: &Coin) -> String {
    format!("{amount} {}", coin.ticker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_and_satoshi_are_never_confused() {
        let coin = lode_coins::find("bitcoin", "main").unwrap();
        let sat = |text: &str| parse_amount(text, coin).map(Amount::to_sat);
        assert_eq!(sat("0.5btc"), Ok(50_000_000));
        assert_eq!(sat("0.5 BTC"), Ok(50_000_000));
        assert_eq!(sat("5000sat"), Ok(5_000));
        assert_eq!(sat("1_000_000 sats"), Ok(1_000_000));
        assert_eq!(sat("21000000btc"), Ok(2_100_000_000_000_000));
        for (text, says) in [
            ("0.5", "0.5: of what? Write 0.5btc for coins"),
            ("5000", "of what?"),
            ("0.5ltc", "not a unit of this wallet"),
            ("0.5sat", "whole numbers"),
            ("0.123456789btc", "more than eight decimals"),
            ("-1btc", "not an amount that can be paid"),
            ("0sat", "not an amount that can be paid"),
            ("21000001btc", "not an amount that can be paid"),
            ("btc", "begins with no digit"),
            ("1e8sat", "not a unit"),
            ("1.2.3btc", "not an amount"),
        ] {
            let error = parse_amount(text, coin).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
