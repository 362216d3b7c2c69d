//! The notation of scripts in the reference client's test vectors, and how the vectors are read.

use lode_script::{Flags, build, opcode};
use serde_json::Value;

/// Assembles a script: numbers, `0x` raw bytes, `'text'` pushes, opcode names with or without `OP_`.
pub(crate) fn assemble(text: &str) -> Vec<u8> {
    let mut script = Vec::new();
    for word in text.split_ascii_whitespace() {
        if let Ok(number) = word.parse::<i64>() {
            match number {
                0 => script.push(0),
                _ => build::push_number(number, &mut script),
            }
        } else if let Some(raw) = word.strip_prefix("0x") {
            script.extend(hex::decode(raw).unwrap());
        } else if word.starts_with('\'') {
            build::push_bytes(word.trim_matches('\'').as_bytes(), &mut script);
        } else {
            script.push(opcode::from_name(word).unwrap_or_else(|| panic!("unknown word {word:?}")));
        }
    }
    script
}

/// Flags from a list such as `P2SH,WITNESS`.
pub(crate) fn flags(names: &str) -> Flags {
    names.split(',').filter(|name| !name.is_empty() && *name != "NONE").fold(Flags::NONE, |flags, name| {
        flags | Flags::from_name(name).unwrap_or_else(|| panic!("unknown flag {name:?}"))
    })
}

/// The cases of a vector file: arrays of more than one item; others are comments.
pub(crate) fn cases(json: &str) -> Vec<Vec<Value>> {
    let all: Vec<Vec<Value>> = serde_json::from_str(json).unwrap();
    all.into_iter().filter(|case| case.len() > 1).collect()
}
