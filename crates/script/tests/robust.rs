//! Whatever bytes come as scripts and witnesses: a verdict, never a panic, and rules only ever forbid.

use lode_primitives::{Amount, OutPoint, Transaction, TxIn, TxOut, Witness};
use lode_script::{
    Flags, TxSighashes, asm, build, classify, count_sigops, p2sh_sigops, tapleaf_hash, verify_input,
    witness_sigops,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that are often opcodes and pushes.
fn script() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..60),
        vec(prop_oneof![0x4fu8..=0xba, 0u8..6, Just(0xac), Just(0xae), Just(0x51)], 0..80),
    ]
}

fn items() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(prop_oneof![vec(any::<u8>(), 0..4), vec(any::<u8>(), 60..75), vec(any::<u8>(), 0..600)], 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn verify_gives_a_verdict(
        script_sig in script(), script in script(), items in items(), kind in 0..6, flags: u32, sequence: u32,
        lock_time: u32, version in -1..4, outputs in 0usize..3,
    ) {
        let mut witness = items;
        let mut script_sig = script_sig;
        let script_pubkey = match kind {
            0 => script.clone(),
            1 => {
                build::push_bytes(&script, &mut script_sig);
                build::p2sh_of(&script)
            }
            2 => {
                witness.push(script.clone());
                script_sig.clear();
                build::p2wsh_of(&script)
            }
            3 => build::p2tr(&tapleaf_hash(0xc0, &script)),
            4 => build::witness((sequence % 17) as u8, &script[..script.len().min(40)]),
            _ => build::p2wpkh(&[7; 20]),
        };
        let all = Flags::NAMES.iter().enumerate().filter(|(at, _)| flags >> at & 1 == 1);
        let flags = all.fold(Flags::NONE, |sum, (_, (_, flag))| sum | *flag);
        let input = TxIn { prevout: OutPoint::default(), script_sig, sequence, witness: Witness(witness) };
        let output = TxOut { value: Amount::from_sat(1), script_pubkey };
        let outputs = vec![output.clone(); outputs];
        let tx = Transaction { version, inputs: vec![input], outputs, lock_time, data: None };
        let sighashes = TxSighashes::new(&tx, [&output]);
        let strict = verify_input(&sighashes, 0, flags | Flags::STANDARD, None);
        if strict.is_ok() {
            prop_assert_eq!(verify_input(&sighashes, 0, Flags::MANDATORY, None), Ok(()));
            prop_assert_eq!(verify_input(&sighashes, 0, Flags::NONE, None), Ok(()));
        }
        let _ = verify_input(&sighashes, 0, flags, None);
        let (input, script) = (&tx.inputs[0], &output.script_pubkey);
        let _ = (asm(script), classify(script), count_sigops(script, true), p2sh_sigops(&input.script_sig, script));
        let _ = witness_sigops(&input.script_sig, script, &input.witness);
    }
}
