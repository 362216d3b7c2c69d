//! Outputs of every kind to be spent, and how each is unlocked.

use lode_primitives::{Amount, OutPoint, Transaction, TxOut, Witness, hash160};
use lode_script::{SighashType, TapLeaf, TxSighashes, build, sign, tapbranch_hash, tapleaf_hash};
use rand::Rng;
use rand::rngs::StdRng;
use secp256k1::{SECP256K1, SecretKey};

use super::scripts::{Item, Program, random_program};

/// Satoshi in every coin.
pub(crate) const COIN_VALUE: i64 = 100_000;

/// Keys known to the generator.
pub(crate) const KEYS: usize = 8;

pub(crate) fn key(index: usize) -> SecretKey {
    SecretKey::from_slice(&[index as u8 + 1; 32]).unwrap()
}

/// A public key: compressed, uncompressed, or hybrid.
pub(crate) fn public(index: usize, form: u8) -> Vec<u8> {
    let public = key(index).public_key(SECP256K1);
    match form {
        0 => public.serialize().to_vec(),
        1 => public.serialize_uncompressed().to_vec(),
        _ => {
            let mut bytes = public.serialize_uncompressed().to_vec();
            bytes[0] = 6 | (bytes[64] & 1);
            bytes
        }
    }
}

pub(crate) fn x_only(index: usize) -> [u8; 32] {
    key(index).x_only_public_key(SECP256K1).0.serialize()
}

/// How a coin is unlocked, before anything is changed for the worse.
#[derive(Clone, Debug)]
pub(crate) enum Unlock {
    /// The script is the output's own.
    Bare(Program),
    /// The output pays to the script's hash (BIP16).
    Hashed(Program),
    /// The output pays to the script's SHA-256 in a witness, maybe within P2SH.
    Witness { program: Program, nested: bool },
    /// Pays to a key by one of the short templates; `form` as in [`public`].
    Key { index: usize, form: u8, template: u8 },
    /// Taproot's key path, with or without scripts.
    TaprootKey { index: usize, root: Option<[u8; 32]> },
    /// Taproot's script path.
    TaprootScript { internal: usize, program: Program, leaf_version: u8, path: Vec<[u8; 32]> },
    /// A witness program of another version or length.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct TestCoin {
    pub script_pubkey: Vec<u8>,
    pub unlock: Unlock,
    pub outpoint: OutPoint,
    pub output: TxOut,
}

pub(crate) fn random_coin(rng: &mut StdRng) -> TestCoin {
    let unlock = match rng.random_range(0..20) {
        0..3 => Unlock::Bare(random_program(rng, false)),
        3..6 => Unlock::Hashed(random_program(rng, false)),
        6..10 => Unlock::Witness { program: random_program(rng, false), nested: rng.random_ratio(1, 4) },
        10..13 => {
            let form = if rng.random_ratio(3, 4) { 0 } else { rng.random_range(1..3) };
            Unlock::Key { index: rng.random_range(0..KEYS), form, template: rng.random_range(0..4) }
        }
        13..15 => {
            let root = rng.random_bool(0.5).then(|| rng.random());
            Unlock::TaprootKey { index: rng.random_range(0..KEYS), root }
        }
        15..19 => {
            let leaf_version =
                if rng.random_ratio(1, 12) { [0xc2, 0xbe, 0x66][rng.random_range(0..3)] } else { 0xc0 };
            let length =
                if rng.random_ratio(1, 30) { rng.random_range(126..130) } else { rng.random_range(0..4) };
            Unlock::TaprootScript {
                internal: rng.random_range(0..KEYS),
                program: random_program(rng, true),
                leaf_version,
                path: (0..length).map(|_| rng.random()).collect(),
            }
        }
        _ => Unlock::Unknown,
    };
    let script_pubkey = script_pubkey(rng, &unlock);
    let output = TxOut { value: Amount::from_sat(COIN_VALUE), script_pubkey: script_pubkey.clone() };
    TestCoin { script_pubkey, unlock, outpoint: OutPoint::NULL, output }
}

fn script_pubkey(rng: &mut StdRng, unlock: &Unlock) -> Vec<u8> {
    match unlock {
        Unlock::Bare(program) => program.script.clone(),
        Unlock::Hashed(program) => build::p2sh_of(&program.script),
        Unlock::Witness { program, nested: false } => build::p2wsh_of(&program.script),
        Unlock::Witness { program, nested: true } => build::p2sh_of(&build::p2wsh_of(&program.script)),
        Unlock::Key { index, form, template } => {
            let public = public(*index, *form);
            match template {
                0 => build::p2pk(&public),
                1 => build::p2pkh(&hash160(&public)),
                2 => build::p2wpkh(&hash160(&public)),
                _ => build::p2sh_of(&build::p2wpkh(&hash160(&public))),
            }
        }
        Unlock::TaprootKey { index, root } => output_key(*index, root.as_ref()).0,
        Unlock::TaprootScript { internal, program, leaf_version, path } => {
            let leaf = tapleaf_hash(*leaf_version, &program.script);
            output_key(*internal, Some(&root_of(leaf, path))).0
        }
        Unlock::Unknown => match rng.random_range(0..6) {
            0 => build::anchor(),
            1 => build::witness(1, &[7; 33]),
            2 => build::witness(2, &[7; 32]),
            3 => build::witness(16, &[7; 2]),
            4 => build::witness(0, &[7; 21]),
            _ => build::p2sh_of(&build::p2tr(&[7; 32])),
        },
    }
}

fn root_of(leaf: [u8; 32], path: &[[u8; 32]]) -> [u8; 32] {
    path.iter().fold(leaf, |hash, node| tapbranch_hash(&hash, node))
}

fn output_key(index: usize, root: Option<&[u8; 32]>) -> (Vec<u8>, bool) {
    let internal = key(index).x_only_public_key(SECP256K1).0;
    let (output, odd) = sign::taproot_output_key(&internal, root).unwrap();
    (build::p2tr(&output.serialize()), odd)
}

/// What unlocks the coin in input `index`, all being well. Items made are left to `change` before they are put together.
pub(crate) fn unlock(
    coin: &TestCoin,
    tx: &Transaction,
    spent: &[TxOut],
    index: usize,
    hash_type: u8,
    change: &mut dyn FnMut(&mut Vec<Vec<u8>>),
) -> (Vec<u8>, Witness) {
    let sighashes = TxSighashes::new(tx, spent);
    let kind = SighashType(u32::from(hash_type));
    let ecdsa = |hash, at| sign::ecdsa(hash, &key(at), kind);
    let legacy = |program: &Program| {
        program.items(|at| ecdsa(sighashes.legacy(index, program.signed_part(), kind), at))
    };
    let pushes = |items: &[Vec<u8>]| {
        let mut script = Vec::new();
        items.iter().for_each(|item| build::push_minimal(item, &mut script));
        script
    };
    match &coin.unlock {
        Unlock::Bare(program) => {
            let mut items = legacy(program);
            change(&mut items);
            (pushes(&items), Witness::default())
        }
        Unlock::Hashed(program) => {
            let mut items = legacy(program);
            change(&mut items);
            let mut script_sig = pushes(&items);
            build::push_bytes(&program.script, &mut script_sig);
            (script_sig, Witness::default())
        }
        Unlock::Witness { program, nested } => {
            let hash = sighashes.segwit_v0(index, program.signed_part(), kind);
            let mut items = program.items(|at| ecdsa(hash, at));
            items.push(program.script.clone());
            change(&mut items);
            let script_sig = if *nested { pushes(&[build::p2wsh_of(&program.script)]) } else { vec![] };
            (script_sig, Witness(items))
        }
        Unlock::Key { index: at, form, template } => {
            let public = public(*at, *form);
            let p2pkh = build::p2pkh(&hash160(&public));
            let hash = match template {
                0 | 1 => sighashes.legacy(index, &coin.script_pubkey, kind),
                _ => sighashes.segwit_v0(index, &p2pkh, kind),
            };
            let mut items = vec![ecdsa(hash, *at)];
            if *template != 0 {
                items.push(public.clone());
            }
            change(&mut items);
            match template {
                0 | 1 => (pushes(&items), Witness::default()),
                2 => (vec![], Witness(items)),
                _ => (pushes(&[build::p2wpkh(&hash160(&public))]), Witness(items)),
            }
        }
        Unlock::TaprootKey { index: at, root } => {
            let keypair = sign::taproot_tweaked_key(&key(*at), root.as_ref()).unwrap();
            let hash = sighashes.taproot(index, hash_type, None, None).unwrap_or([1; 32]);
            let mut items = vec![sign::schnorr(hash, &keypair, kind)];
            change(&mut items);
            (vec![], Witness(items))
        }
        Unlock::TaprootScript { internal, program, leaf_version, path } => {
            let hash = tapleaf_hash(*leaf_version, &program.script);
            let leaf = TapLeaf { hash, codeseparator: u32::MAX };
            let signed = sighashes.taproot(index, hash_type, None, Some(leaf)).unwrap_or([1; 32]);
            let mut items = program.items(|at| {
                sign::schnorr(signed, &secp256k1::Keypair::from_secret_key(SECP256K1, &key(at)), kind)
            });
            let (_, odd) = output_key(*internal, Some(&root_of(hash, path)));
            let control = [&[leaf_version | u8::from(odd)][..], &x_only(*internal), &path.concat()].concat();
            items.extend([program.script.clone(), control]);
            change(&mut items);
            (vec![], Witness(items))
        }
        Unlock::Unknown => {
            let mut items = vec![];
            change(&mut items);
            let script_sig = match coin.script_pubkey.len() {
                23 => pushes(&[build::p2tr(&[7; 32])]),
                _ => vec![],
            };
            (script_sig, Witness(items))
        }
    }
}

/// Kept by name for the scripts' own use.
pub(crate) fn sig(key: usize) -> Item {
    Item::Signature(key)
}
