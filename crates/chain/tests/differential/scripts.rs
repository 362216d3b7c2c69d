//! Scripts that mostly work, and scripts of anything.

use lode_primitives::{hash160, sha256, sha256d};
use lode_script::{build, num, opcode::*};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::coins::{KEYS, public, sig, x_only};

/// One item that a script finds on the stack.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Raw(Vec<u8>),
    /// A signature by this key.
    Signature(usize),
}

/// A script and what satisfies it.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub script: Vec<u8>,
    pub stack: Vec<Item>,
    /// Where what signatures sign starts: behind a code separator.
    pub signed_from: usize,
}

impl Program {
    pub(crate) fn signed_part(&self) -> &[u8] {
        self.script.get(self.signed_from..).unwrap_or(&self.script)
    }

    pub(crate) fn items(&self, signature: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
        let bytes = |item: &Item| match item {
            Item::Raw(bytes) => bytes.clone(),
            Item::Signature(key) => signature(*key),
        };
        self.stack.iter().map(bytes).collect()
    }
}

const EDGES: [i64; 24] = [
    0,
    1,
    -1,
    2,
    3,
    15,
    16,
    17,
    127,
    128,
    -127,
    -128,
    255,
    256,
    32_767,
    32_768,
    65_535,
    0x7f_ffff,
    0x80_0000,
    0x7fff_ffff,
    -0x7fff_ffff,
    0x8000_0000,
    500_000_000,
    0x1_0000_0000,
];

pub(crate) fn edge_number(rng: &mut StdRng) -> i64 {
    *EDGES.choose(rng).unwrap()
}

fn random_item(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..12) {
        0..6 => num::encode(edge_number(rng)),
        6 => vec![0x80],
        7 => vec![0, 0x80],
        8 => vec![1, 0],
        9 => vec![
            rng.random();
            *[1, 19, 20, 32, 33, 65, 75, 76, 80, 81, 255, 256, 520, 521].choose(rng).unwrap()
        ],
        10 => public(rng.random_range(0..KEYS), rng.random_range(0..3)),
        _ => (0..rng.random_range(0..6)).map(|_| rng.random()).collect(),
    }
}

fn push(script: &mut Vec<u8>, item: &[u8]) {
    build::push_minimal(item, script);
}

fn key_for(rng: &mut StdRng, tapscript: bool, index: usize) -> Vec<u8> {
    match (tapscript, rng.random_range(0..20)) {
        (true, 0) => public(index, 0),
        (true, 1) => vec![],
        (true, _) => x_only(index).to_vec(),
        (false, 0) => public(index, 1),
        (false, 1) => public(index, 2),
        (false, _) => public(index, 0),
    }
}

/// A script with what satisfies it, or with what nearly does.
pub(crate) fn random_program(rng: &mut StdRng, tapscript: bool) -> Program {
    let mut program = Program { script: vec![], stack: vec![], signed_from: 0 };
    match rng.random_range(0..12) {
        0 => checksig(rng, &mut program, tapscript),
        1 if tapscript => checksig_add(rng, &mut program),
        1 | 2 => multisig(rng, &mut program),
        3 => hash_lock(rng, &mut program),
        4 => lock(rng, &mut program),
        5 => branch(rng, &mut program, tapscript),
        6 => separated(rng, &mut program, tapscript),
        7 => stack_game(rng, &mut program),
        8 => arithmetic(rng, &mut program),
        9 => limits(rng, &mut program, tapscript),
        _ => anything(rng, &mut program, tapscript),
    }
    if rng.random_ratio(1, 8) {
        break_script(rng, &mut program.script);
    }
    program.script.truncate(10_050);
    program
}

fn checksig(rng: &mut StdRng, program: &mut Program, tapscript: bool) {
    let index = rng.random_range(0..KEYS);
    program.stack.push(sig(index));
    push(&mut program.script, &key_for(rng, tapscript, index));
    match rng.random_range(0..6) {
        0 => program.script.extend([OP_CHECKSIGVERIFY, OP_1]),
        1 => program.script.extend([OP_CHECKSIG, OP_NOT]),
        _ => program.script.push(OP_CHECKSIG),
    }
}

fn checksig_add(rng: &mut StdRng, program: &mut Program) {
    let keys = rng.random_range(1..6);
    let mut signed = 0;
    for at in 0..keys {
        push(&mut program.script, &key_for(rng, true, at));
        program.script.push(if at == 0 { OP_CHECKSIG } else { OP_CHECKSIGADD });
    }
    // The first key's signature is on top.
    for at in (0..keys).rev() {
        let item = if rng.random_bool(0.6) { sig(at) } else { Item::Raw(vec![]) };
        signed += i64::from(matches!(item, Item::Signature(_)));
        program.stack.push(item);
    }
    let wanted = if rng.random_ratio(1, 6) { signed + 1 } else { signed };
    build::push_number(wanted, &mut program.script);
    program.script.push(OP_NUMEQUAL);
}

fn multisig(rng: &mut StdRng, program: &mut Program) {
    let keys = if rng.random_ratio(1, 8) { rng.random_range(15..22) } else { rng.random_range(1..5) };
    let required = rng.random_range(0..=keys.min(4));
    let dummy = if rng.random_ratio(1, 8) { vec![1] } else { vec![] };
    program.stack.push(Item::Raw(dummy));
    let mut chosen: Vec<usize> = rand::seq::index::sample(rng, keys, required).into_vec();
    if !rng.random_ratio(1, 8) {
        chosen.sort_unstable();
    }
    program.stack.extend(chosen.into_iter().map(|at| sig(at % KEYS)));
    build::push_number(required as i64, &mut program.script);
    for at in 0..keys {
        let key = key_for(rng, false, at % KEYS);
        push(&mut program.script, &key);
    }
    build::push_number(keys as i64, &mut program.script);
    match rng.random_range(0..6) {
        0 => program.script.extend([OP_CHECKMULTISIGVERIFY, OP_1]),
        1 => program.script.extend([OP_CHECKMULTISIG, OP_NOT]),
        _ => program.script.push(OP_CHECKMULTISIG),
    }
}

fn hash_lock(rng: &mut StdRng, program: &mut Program) {
    let preimage = random_item(rng);
    let (opcode, hash) = match rng.random_range(0..3) {
        0 => (OP_HASH160, hash160(&preimage).to_vec()),
        1 => (OP_SHA256, sha256(&preimage).to_vec()),
        _ => (OP_HASH256, sha256d(&preimage).to_vec()),
    };
    program.stack.push(Item::Raw(preimage));
    program.script.push(opcode);
    push(&mut program.script, &hash);
    if rng.random_bool(0.5) {
        program.script.push(OP_EQUAL);
    } else {
        program.script.extend([OP_EQUALVERIFY, OP_1]);
    }
}

/// Lock times around the heights, times and sequences that transactions here have.
fn lock(rng: &mut StdRng, program: &mut Program) {
    let after = rng.random_bool(0.5);
    let number = match rng.random_range(0..8) {
        0 => edge_number(rng),
        1 => 499_999_999 + rng.random_range(0..3),
        2 if after => (1 << 22) + rng.random_range(0..3),
        3 if after => 1 << 31,
        _ if after => rng.random_range(0..6),
        _ => rng.random_range(200..260),
    };
    push(&mut program.script, &num::encode(number));
    program.script.push(if after { OP_CHECKSEQUENCEVERIFY } else { OP_CHECKLOCKTIMEVERIFY });
    program.script.extend([OP_DROP, OP_1]);
}

fn branch(rng: &mut StdRng, program: &mut Program, tapscript: bool) {
    let condition = [vec![1], vec![], vec![2], vec![0], vec![1, 0], vec![0x80]];
    let condition = condition[rng.random_range(0..12usize).min(condition.len() + 1) % 6].clone();
    let opcode = if rng.random_bool(0.7) { OP_IF } else { OP_NOTIF };
    let mut inner = Program { script: vec![], stack: vec![], signed_from: 0 };
    checksig(rng, &mut inner, tapscript);
    program.stack.extend(inner.stack);
    program.stack.push(Item::Raw(condition));
    program.script.push(opcode);
    program.script.extend(inner.script);
    program.script.push(OP_ELSE);
    program.script.extend([OP_DROP, OP_1]);
    if rng.random_ratio(1, 6) {
        program.script.extend([OP_ELSE, OP_NOP]);
    }
    program.script.push(OP_ENDIF);
}

fn separated(rng: &mut StdRng, program: &mut Program, tapscript: bool) {
    program.script.extend([OP_NOP, OP_CODESEPARATOR]);
    program.signed_from = if rng.random_bool(0.7) { program.script.len() } else { 0 };
    checksig(rng, program, tapscript);
    if rng.random_ratio(1, 4) {
        program.script.push(OP_CODESEPARATOR);
    }
}

fn stack_game(rng: &mut StdRng, program: &mut Program) {
    for _ in 0..rng.random_range(0..7) {
        let item = random_item(rng);
        program.stack.push(Item::Raw(item));
    }
    for _ in 0..rng.random_range(1..12) {
        match rng.random_range(0..4) {
            0 => build::push_number(rng.random_range(-1..5), &mut program.script),
            _ => program.script.push(rng.random_range(OP_TOALTSTACK..=OP_TUCK)),
        }
    }
    program.script.extend([OP_DEPTH, OP_0NOTEQUAL]);
}

fn arithmetic(rng: &mut StdRng, program: &mut Program) {
    for _ in 0..rng.random_range(1..4) {
        let item = random_item(rng);
        program.stack.push(Item::Raw(item));
    }
    for _ in 0..rng.random_range(1..8) {
        if rng.random_bool(0.5) {
            let number = edge_number(rng);
            build::push_number(number, &mut program.script);
        }
        program.script.push(rng.random_range(OP_1ADD..=OP_WITHIN));
    }
}

/// Scripts at the bounds of operations, stack and size.
fn limits(rng: &mut StdRng, program: &mut Program, tapscript: bool) {
    match rng.random_range(0..5) {
        0 => program.script.extend(vec![OP_NOP; rng.random_range(200..203)]),
        1 => program.script.extend(vec![OP_1; rng.random_range(998..1_002)]),
        2 => {
            let size = *[519, 520, 521].choose(rng).unwrap();
            push(&mut program.script, &vec![7; size]);
            program.script.push(OP_DROP);
        }
        3 => {
            // Up to the script's greatest size.
            while program.script.len() < 9_400 {
                push(&mut program.script, &[7; 520]);
                program.script.push(OP_DROP);
            }
            let rest = rng.random_range(9_998..10_002usize).saturating_sub(program.script.len() + 5);
            push(&mut program.script, &vec![7; rest.min(520)]);
            program.script.push(OP_DROP);
        }
        _ => {
            // More signatures than the witness's weight pays for, in tapscript.
            let index = rng.random_range(0..KEYS);
            let key = key_for(rng, tapscript, index);
            push(&mut program.script, &key);
            for _ in 0..rng.random_range(1..8) {
                program.script.extend([OP_2DUP, OP_CHECKSIGVERIFY]);
            }
            program.script.push(OP_CHECKSIG);
            program.stack.push(sig(index));
            return;
        }
    }
    program.script.push(OP_1);
}

fn anything(rng: &mut StdRng, program: &mut Program, tapscript: bool) {
    for _ in 0..rng.random_range(0..5) {
        let item =
            if rng.random_ratio(1, 4) { sig(rng.random_range(0..KEYS)) } else { Item::Raw(random_item(rng)) };
        program.stack.push(item);
    }
    for _ in 0..rng.random_range(0..16) {
        match rng.random_range(0..10) {
            0..3 => {
                let item = random_item(rng);
                push(&mut program.script, &item);
            }
            3 => {
                let index = rng.random_range(0..KEYS);
                let key = key_for(rng, tapscript, index);
                push(&mut program.script, &key);
            }
            4 => program.script.push(rng.random()),
            5 => program.script.extend([OP_IF, OP_1, OP_ELSE, OP_0, OP_ENDIF]),
            _ => program.script.push(rng.random_range(OP_1NEGATE..=OP_CHECKSIGADD)),
        }
    }
}

/// One byte taken out, put in or changed.
fn break_script(rng: &mut StdRng, script: &mut Vec<u8>) {
    let at = rng.random_range(0..=script.len());
    match rng.random_range(0..4) {
        0 => script.insert(at, rng.random()),
        1 => script.insert(
            at,
            *[OP_RESERVED, OP_VERIF, OP_CAT, OP_NOP1, OP_RETURN, 0x4c, 0x4d, 0xff].choose(rng).unwrap(),
        ),
        _ if at == script.len() => script.push(rng.random()),
        2 => {
            script.remove(at);
        }
        _ => script[at] = rng.random(),
    }
}
