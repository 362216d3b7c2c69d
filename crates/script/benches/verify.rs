//! Inputs checked a second, one core: what a block's connection costs beside its coins.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lode_primitives::{Amount, OutPoint, Transaction, TxIn, TxOut, Witness, hash160};
use lode_script::{Flags, SighashType, TxSighashes, build, sign, verify_input};
use secp256k1::{Keypair, Message, SECP256K1, SecretKey};

const INPUTS: usize = 16;

fn signed(script_pubkey: Vec<u8>, key: &SecretKey) -> (Transaction, Vec<TxOut>) {
    let input = |vout| TxIn {
        prevout: OutPoint { txid: lode_primitives::Txid([7; 32]), vout },
        script_sig: vec![],
        sequence: 0xffff_fffd,
        witness: Witness::default(),
    };
    let output = TxOut { value: Amount::from_sat(100_000), script_pubkey };
    let mut tx = Transaction {
        version: 2,
        inputs: (0..INPUTS as u32).map(input).collect(),
        outputs: vec![output.clone(); 2],
        lock_time: 0,
        data: None,
    };
    let spent = vec![output; INPUTS];
    for index in 0..INPUTS {
        let made = sign::input(&TxSighashes::new(&tx, &spent), index, key, SighashType::ALL);
        (tx.inputs[index].script_sig, tx.inputs[index].witness) = made.expect("the key's own output");
    }
    (tx, spent)
}

fn verify(c: &mut Criterion) {
    let key = SecretKey::from_slice(&[9; 32]).expect("a valid key");
    let public = key.public_key(SECP256K1);
    let key_hash = hash160(&public.serialize());
    let taproot = sign::taproot_output_key(&public.x_only_public_key().0, None).expect("a tweak");
    let mut group = c.benchmark_group("verify");
    group.throughput(Throughput::Elements(INPUTS as u64));
    for (name, script) in [
        ("p2pkh", build::p2pkh(&key_hash)),
        ("p2wpkh", build::p2wpkh(&key_hash)),
        ("p2tr key path", build::p2tr(&taproot.0.serialize())),
    ] {
        let (tx, spent) = signed(script, &key);
        group.bench_function(name, |b| {
            b.iter(|| {
                let sighashes = TxSighashes::new(&tx, &spent);
                for index in 0..INPUTS {
                    verify_input(&sighashes, index, Flags::MANDATORY, None).expect("a good signature");
                }
            });
        });
    }
    // What the curve alone costs: the rest of each figure above is ours.
    let message = Message::from_digest([3; 32]);
    let ecdsa = SECP256K1.sign_ecdsa(&message, &key);
    let keypair = Keypair::from_secret_key(SECP256K1, &key);
    let schnorr = SECP256K1.sign_schnorr_no_aux_rand(&message, &keypair);
    let x_only = keypair.x_only_public_key().0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("curve alone, ecdsa", |b| {
        b.iter(|| SECP256K1.verify_ecdsa(&message, &ecdsa, &public).expect("a good signature"));
    });
    group.bench_function("curve alone, schnorr", |b| {
        b.iter(|| SECP256K1.verify_schnorr(&schnorr, &message, &x_only).expect("a good signature"));
    });
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
