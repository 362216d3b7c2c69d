//! Scripts as people read them, in the reference client's notation.

use std::fmt::Write as _;

use crate::checker::check_signature_encoding;
use crate::instruction::Instructions;
use crate::{Flags, is_unspendable, num, opcode};

/// The script's opcodes by name and pushes as hex, or as a number up to four bytes; `[error]` where bytes run out.
pub fn asm(script: &[u8]) -> String {
    write_asm(script, false)
}

/// As [`asm`], with the type byte of what looks like a signature shown by name, as `asm` of an input's script has it.
pub fn asm_with_sighash_types(script: &[u8]) -> String {
    write_asm(script, !is_unspendable(script))
}

fn write_asm(script: &[u8], sighash_types: bool) -> String {
    let mut text = String::new();
    for op in Instructions::new(script) {
        if !text.is_empty() {
            text.push(' ');
        }
        let Ok(op) = op else {
            text.push_str("[error]");
            break;
        };
        if !op.is_data_push() {
            text.push_str(opcode::name(op.opcode));
            continue;
        }
        if let Ok(number) = num::decode(op.data, false, num::DEFAULT_MAX_LEN) {
            let _ = write!(text, "{number}"); // writing to a String cannot fail
            continue;
        }
        let (data, suffix) = match op.data.split_last() {
            Some((&hash_type, signature)) if sighash_types => match sighash_name(hash_type) {
                Some(name) if check_signature_encoding(op.data, Flags::STRICTENC).is_ok() => {
                    (signature, name)
                }
                _ => (op.data, ""),
            },
            _ => (op.data, ""),
        };
        for byte in data {
            let _ = write!(text, "{byte:02x}");
        }
        text.push_str(suffix);
    }
    text
}

const fn sighash_name(hash_type: u8) -> Option<&'static str> {
    Some(match hash_type {
        0x01 => "[ALL]",
        0x02 => "[NONE]",
        0x03 => "[SINGLE]",
        0x81 => "[ALL|ANYONECANPAY]",
        0x82 => "[NONE|ANYONECANPAY]",
        0x83 => "[SINGLE|ANYONECANPAY]",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_of_the_reference_client() {
        for (hex, text) in [
            (
                "76a914000102030405060708090a0b0c0d0e0f1011121388ac",
                "OP_DUP OP_HASH160 000102030405060708090a0b0c0d0e0f10111213 OP_EQUALVERIFY OP_CHECKSIG",
            ),
            ("004f51600111028000", "0 -1 1 16 17 128"),
            ("6a0500000000ff", "OP_RETURN 00000000ff"),
            ("0504", "[error]"),
            ("51ba", "1 OP_CHECKSIGADD"),
            ("bbff50", "OP_UNKNOWN OP_INVALIDOPCODE OP_RESERVED"),
            ("", ""),
        ] {
            assert_eq!(asm(&hex::decode(hex).unwrap()), text);
        }
    }
}
