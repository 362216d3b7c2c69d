//! User names and passwords as miners enter them.

use crate::Difficulty;

/// Longest address kept, in bytes: a bech32m address of a 32-byte program with a five-letter prefix is 67.
pub const MAX_ADDRESS: usize = 90;

/// Longest worker name kept, in bytes. Firmware cuts user names at 63 or 127 bytes, so the tail is never relied on.
pub const MAX_WORKER: usize = 32;

/// A user name taken apart: `ADDRESS`, `ADDRESS.worker` or `ADDRESS_worker`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The payout address as given; whether it is one is the coin's to say.
    pub address: String,
    /// The worker's name, empty where none was given; letters, digits and `-_.` only, anything else became `-`.
    pub worker: String,
}

impl Login {
    /// Takes a user name apart. Percent-encoding is undone; `None` where the address is empty, too long, or not
    /// plain ASCII letters and digits (with `:` for prefixed forms).
    pub fn parse(user: &str) -> Option<Self> {
        let decoded = percent_decode(user.trim());
        let (address, worker) = match decoded.find(['.', '_', '/', '+']) {
            Some(at) => (&decoded[..at], &decoded[at + 1..]),
            None => (decoded.as_str(), ""),
        };
        let plain = address.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':');
        if address.is_empty() || address.len() > MAX_ADDRESS || !plain {
            return None;
        }
        let worker = worker
            .chars()
            .take(MAX_WORKER)
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
            .collect();
        Some(Self { address: address.to_owned(), worker })
    }
}

/// Undoes `%41` encoding; what is no valid escape stays as it is.
fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The difficulty asked for in a password: `d=` or `diff=`, among options separated by commas, semicolons or spaces.
/// All else (`x`, mostly) is ignored.
pub fn password_difficulty(password: &str) -> Option<Difficulty> {
    password.split([',', ';', ' ']).find_map(|option| {
        let (key, value) = option.split_once('=')?;
        let known = key.trim().eq_ignore_ascii_case("d") || key.trim().eq_ignore_ascii_case("diff");
        if known { value.trim().parse().ok().and_then(Difficulty::new) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_names() {
        for (user, address, worker) in [
            ("bc1qabc.rig1", "bc1qabc", "rig1"),
            ("bc1qabc_rig1", "bc1qabc", "rig1"),
            ("bc1qabc", "bc1qabc", ""),
            ("bc1qabc%2Erig1", "bc1qabc", "rig1"),
            ("bc1qabc.a.b_c", "bc1qabc", "a.b_c"),
            ("  bc1qabc.\u{e9}<b> ", "bc1qabc", "--b-"),
        ] {
            let login = Login::parse(user).unwrap();
            assert_eq!((login.address.as_str(), login.worker.as_str()), (address, worker), "{user}");
        }
        for bad in ["", ".rig", "<script>.x", &"a".repeat(91)] {
            assert_eq!(Login::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn passwords() {
        assert_eq!(password_difficulty("x"), None);
        assert_eq!(password_difficulty("x,d=1024"), Difficulty::new(1024.0));
        assert_eq!(password_difficulty("a=b diff=0.01"), Difficulty::new(0.01));
        assert_eq!(password_difficulty("d=-4"), None);
        assert_eq!(password_difficulty("d=nan;D=8"), Difficulty::new(8.0));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = Login::parse(&text);
            let _ = password_difficulty(&text);
        }
    }
}
