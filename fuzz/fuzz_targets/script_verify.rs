//! Scripts and witnesses of a stranger, run under any set of rules: no panic, and rules that came by soft fork only
//! ever refuse more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lode_primitives::{Amount, OutPoint, Transaction, TxIn, TxOut, Witness};
use lode_script::{Flags, TxSighashes, asm, classify, count_sigops, verify_input};

/// The next piece of the input, its length in the first byte or, where that is 255, the two that follow.
fn piece<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let (len, rest) = match **data {
        [255, low, high, ref rest @ ..] => (usize::from(u16::from_le_bytes([low, high])), rest),
        [len, ref rest @ ..] => (usize::from(len), rest),
        [] => return &[],
    };
    let (piece, rest) = rest.split_at(len.min(rest.len()));
    *data = rest;
    piece
}

fuzz_target!(|data: &[u8]| {
    let Some((head, mut data)) = data.split_first_chunk::<12>() else { return };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let mut flags = Flags::default();
    for (bit, (_, flag)) in Flags::NAMES.iter().enumerate() {
        if number(0) >> bit & 1 == 1 {
            flags |= *flag;
        }
    }
    let script_sig = piece(&mut data).to_vec();
    let mut script_pubkey = piece(&mut data).to_vec();
    let mut items: Vec<Vec<u8>> = Vec::new();
    while !data.is_empty() && items.len() < 1_100 {
        items.push(piece(&mut data).to_vec());
    }
    // A witness script is found by its hash, which no fuzzer guesses.
    if head[11] & 1 == 1 && let Some(script) = items.last() {
        script_pubkey = [&[0, 32][..], &lode_primitives::sha256(script)].concat();
    }
    let output = TxOut { value: Amount::from_coins(1), script_pubkey };
    let tx = Transaction {
        version: 2,
        inputs: vec![TxIn {
            prevout: OutPoint { txid: lode_primitives::Txid([1; 32]), vout: 0 },
            script_sig,
            sequence: number(4),
            witness: Witness(items),
        }],
        outputs: vec![TxOut { value: Amount::from_coins(1), script_pubkey: vec![0x51] }],
        lock_time: number(8),
        data: None,
    };
    let _ = (asm(&output.script_pubkey), classify(&output.script_pubkey));
    let _ = count_sigops(&output.script_pubkey, true);
    let sighashes = TxSighashes::new(&tx, [&output]);
    if verify_input(&sighashes, 0, flags, None).is_ok() {
        assert_eq!(verify_input(&sighashes, 0, Flags::default(), None), Ok(()), "without rules it must pass too");
    }
});
