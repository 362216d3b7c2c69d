//! Numbers as people read them.

use crate::view::WorkUnit;

/// `12.3 MH/s`, `0.41 chains/s`: three or four digits and a unit.
pub(crate) fn rate(unit: WorkUnit, per_second: f64) -> String {
    match unit {
        WorkUnit::Hashes => format!("{}H/s", scaled(per_second)),
        WorkUnit::Chains => match scaled(per_second) {
            number if number.ends_with(' ') => format!("{number}chains/s"),
            number => format!("{number} chains/s"),
        },
    }
}

/// `4.29 G`: a count of hashes or a difficulty.
pub(crate) fn scaled(number: f64) -> String {
    const UNITS: [&str; 8] = ["", "k", "M", "G", "T", "P", "E", "Z"];
    if !number.is_finite() || number <= 0.0 {
        return "0 ".to_owned();
    }
    let mut value = number;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let whole = unit == 0 && value >= 1.0 && value.fract() == 0.0;
    let decimals = if whole || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else if value >= 0.01 || unit > 0 {
        2
    } else {
        6
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `3 min`: a span of seconds in its largest fitting unit.
pub(crate) fn span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "never at this rate".to_owned();
    }
    let (value, unit) = match seconds {
        s if s < 90.0 => (s, "s"),
        s if s < 90.0 * 60.0 => (s / 60.0, "min"),
        s if s < 48.0 * 3600.0 => (s / 3600.0, "h"),
        s if s < 730.0 * 86_400.0 => (s / 86_400.0, "days"),
        s => (s / 31_557_600.0, "years"),
    };
    format!("{value:.0} {unit}")
}

/// `3 min ago`, from two Unix times in seconds.
pub(crate) fn ago(now: u64, then: u64) -> String {
    if then == 0 { "never".to_owned() } else { format!("{} ago", span(now.saturating_sub(then) as f64)) }
}

/// `12.34 %` of a part between 0 and 1.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.2} %", part * 100.0)
}

/// `1 block`, `2 blocks`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A long id with its middle left out: `00000000000f…26f`.
pub(crate) fn short(id: &str) -> String {
    match (id.get(..12), id.get(id.len().saturating_sub(6)..)) {
        (Some(head), Some(tail)) if id.len() > 24 => format!("{head}…{tail}"),
        _ => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_spans() {
        assert_eq!(rate(WorkUnit::Hashes, 0.0), "0 H/s");
        assert_eq!(rate(WorkUnit::Hashes, 12_345_678.0), "12.3 MH/s");
        assert_eq!(rate(WorkUnit::Hashes, 999_700.0), "1.00 MH/s");
        assert_eq!(rate(WorkUnit::Hashes, 512.0), "512 H/s");
        assert_eq!(rate(WorkUnit::Chains, 0.41), "0.41 chains/s");
        assert_eq!(rate(WorkUnit::Chains, 4_100.0), "4.10 k chains/s");
        assert_eq!(scaled(0.00113), "0.001130 ");
        assert_eq!(span(89.0), "89 s");
        assert_eq!(span(3600.0), "60 min");
        assert_eq!(span(f64::INFINITY), "never at this rate");
        assert_eq!(ago(100, 0), "never");
        assert_eq!(ago(100, 160), "0 s ago");
        assert_eq!(
            short("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"),
            "000000000019…8ce26f"
        );
        assert_eq!(short("kurz"), "kurz");
    }
}
