//! Builders of the standard scripts, and of pushes.

use lode_primitives::{ScriptBuf, hash160, sha256};

use crate::num;
use crate::opcode::*;

/// The program of pay-to-anchor.
pub const ANCHOR_PROGRAM: [u8; 2] = [0x4e, 0x73];

/// Appends a push of `data` by length, without regard to shorter number opcodes: what signatures are looked for by.
pub fn push_bytes(data: &[u8], out: &mut Vec<u8>) {
    match data.len() {
        len @ ..=75 => out.push(len as u8),
        len @ ..=0xff => out.extend_from_slice(&[OP_PUSHDATA1, len as u8]),
        len @ ..=0xffff => {
            out.push(OP_PUSHDATA2);
            out.extend_from_slice(&(len as u16).to_le_bytes());
        }
        len => {
            out.push(OP_PUSHDATA4);
            out.extend_from_slice(&(len as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(data);
}

/// Appends the shortest push of `data`.
pub fn push_minimal(data: &[u8], out: &mut Vec<u8>) {
    match data {
        [number @ 1..=16] => out.push(OP_1 + number - 1),
        [0x81] => out.push(OP_1NEGATE),
        _ => push_bytes(data, out),
    }
}

/// Appends the shortest push of a number: a height in a coinbase (BIP34), an operand.
pub fn push_number(number: i64, out: &mut Vec<u8>) {
    push_minimal(&num::encode(number), out);
}

/// True where `script` is one push of `data` by length, and nothing else.
pub fn is_single_push_of(script: &[u8], data: &[u8]) -> bool {
    let Some(head) = script.len().checked_sub(data.len()) else { return false };
    let mut push = Vec::with_capacity(5);
    match data.len() {
        len @ ..=75 => push.push(len as u8),
        len @ ..=0xff => push.extend_from_slice(&[OP_PUSHDATA1, len as u8]),
        len => {
            push.push(OP_PUSHDATA2);
            push.extend_from_slice(&(len as u16).to_le_bytes());
        }
    }
    script[..head] == push && script[head..] == *data && data.len() <= 0xffff
}

/// Pay to a key.
pub fn p2pk(key: &[u8]) -> ScriptBuf {
    let mut script = Vec::with_capacity(key.len() + 2);
    push_bytes(key, &mut script);
    script.push(OP_CHECKSIG);
    script
}

/// Pay to a key's hash.
pub fn p2pkh(key_hash: &[u8; 20]) -> ScriptBuf {
    [&[OP_DUP, OP_HASH160, 20], &key_hash[..], &[OP_EQUALVERIFY, OP_CHECKSIG]].concat()
}

/// Pay to a script's hash (BIP16).
pub fn p2sh(script_hash: &[u8; 20]) -> ScriptBuf {
    [&[OP_HASH160, 20], &script_hash[..], &[OP_EQUAL]].concat()
}

/// Pay to the hash of `redeem_script`.
pub fn p2sh_of(redeem_script: &[u8]) -> ScriptBuf {
    p2sh(&hash160(redeem_script))
}

/// Signatures by `required` of `keys`, outside P2SH or as what it pays to.
pub fn multisig(required: usize, keys: &[&[u8]]) -> ScriptBuf {
    let mut script = Vec::new();
    push_number(required as i64, &mut script);
    for key in keys {
        push_bytes(key, &mut script);
    }
    push_number(keys.len() as i64, &mut script);
    script.push(OP_CHECKMULTISIG);
    script
}

/// Any witness program; `version` 0 to 16, `program` 2 to 40 bytes.
pub fn witness(version: u8, program: &[u8]) -> ScriptBuf {
    let opcode = if version == 0 { OP_0 } else { OP_1 + version - 1 };
    [&[opcode, program.len() as u8], program].concat()
}

/// Pay to a compressed key's hash in a witness (BIP141).
pub fn p2wpkh(key_hash: &[u8; 20]) -> ScriptBuf {
    witness(0, key_hash)
}

/// Pay to a script's SHA-256 in a witness (BIP141).
pub fn p2wsh(script_hash: &[u8; 32]) -> ScriptBuf {
    witness(0, script_hash)
}

/// Pay to the SHA-256 of `witness_script`.
pub fn p2wsh_of(witness_script: &[u8]) -> ScriptBuf {
    p2wsh(&sha256(witness_script))
}

/// Pay to a tweaked x-only key (BIP341).
pub fn p2tr(output_key: &[u8; 32]) -> ScriptBuf {
    witness(1, output_key)
}

/// Pay to anchor.
pub fn anchor() -> ScriptBuf {
    witness(1, &ANCHOR_PROGRAM)
}

/// An output that carries pushes of data and cannot be spent.
pub fn op_return(pushes: &[&[u8]]) -> ScriptBuf {
    let mut script = vec![OP_RETURN];
    for data in pushes {
        push_minimal(data, &mut script);
    }
    script
}
