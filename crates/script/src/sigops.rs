//! How many signature checks a script may ask for, counted without executing it.

use lode_primitives::{Transaction, TxOut, Witness};

use crate::instruction::Instructions;
use crate::opcode::*;
use crate::{Flags, MAX_MULTISIG_KEYS, ScriptKind, WITNESS_SCALE, classify, is_push_only, witness_program};

/// Signature checks in `script`. A multisig counts as 20, or if `accurate` as the number pushed right before it. What
/// follows an instruction that runs out of bytes does not count.
pub fn count_sigops(script: &[u8], accurate: bool) -> usize {
    let mut count = 0;
    let mut last = OP_INVALIDOPCODE;
    for op in Instructions::new(script) {
        let Ok(op) = op else { break };
        match op.opcode {
            OP_CHECKSIG | OP_CHECKSIGVERIFY => count += 1,
            OP_CHECKMULTISIG | OP_CHECKMULTISIGVERIFY => {
                count += match last {
                    OP_1..=OP_16 if accurate => usize::from(last - OP_1) + 1,
                    _ => MAX_MULTISIG_KEYS,
                };
            }
            _ => {}
        }
        last = op.opcode;
    }
    count
}

/// What a push-only script pushes last (empty for a number opcode or an empty script); `None` where it does more than push.
pub fn last_push(script: &[u8]) -> Option<&[u8]> {
    let mut last: &[u8] = &[];
    for op in Instructions::new(script) {
        let op = op.ok().filter(|op| op.opcode <= OP_16)?;
        last = op.data;
    }
    Some(last)
}

/// Sigops in the scripts of a transaction's own inputs and outputs: what counted before BIP16, and still does.
pub fn tx_legacy_sigops(tx: &Transaction) -> usize {
    let inputs = tx.inputs.iter().map(|input| &input.script_sig);
    let outputs = tx.outputs.iter().map(|output| &output.script_pubkey);
    inputs.chain(outputs).map(|script| count_sigops(script, false)).sum()
}

/// Sigops in the script that `script_sig` reveals, where `script_pubkey` pays to a script (BIP16); else 0.
pub fn p2sh_sigops(script_sig: &[u8], script_pubkey: &[u8]) -> usize {
    match classify_p2sh(script_pubkey) {
        true => last_push(script_sig).map_or(0, |redeem| count_sigops(redeem, true)),
        false => 0,
    }
}

/// Sigops in a version-0 witness program, bare or in P2SH (BIP141); other versions count none.
pub fn witness_sigops(script_sig: &[u8], script_pubkey: &[u8], witness: &Witness) -> usize {
    let in_program = |program| match program {
        (0, program) if <[u8]>::len(program) == 20 => 1,
        (0, program) if <[u8]>::len(program) == 32 => {
            witness.0.last().map_or(0, |script| count_sigops(script, true))
        }
        _ => 0,
    };
    if let Some(program) = witness_program(script_pubkey) {
        return in_program(program);
    }
    if classify_p2sh(script_pubkey) && is_push_only(script_sig) {
        return last_push(script_sig).and_then(witness_program).map_or(0, in_program);
    }
    0
}

/// A transaction's sigop cost (BIP141): four for each outside witnesses, one for each within. `spent` are the outputs
/// it spends, in order; a coinbase has none.
pub fn tx_sigop_cost<'a>(
    tx: &Transaction,
    spent: impl IntoIterator<Item = &'a TxOut>,
    flags: Flags,
) -> usize {
    let mut cost = tx_legacy_sigops(tx) * WITNESS_SCALE;
    if tx.is_coinbase() {
        return cost;
    }
    for (input, output) in tx.inputs.iter().zip(spent) {
        if flags.contains(Flags::P2SH) {
            cost += p2sh_sigops(&input.script_sig, &output.script_pubkey) * WITNESS_SCALE;
        }
        if flags.contains(Flags::WITNESS) {
            cost += witness_sigops(&input.script_sig, &output.script_pubkey, &input.witness);
        }
    }
    cost
}

fn classify_p2sh(script_pubkey: &[u8]) -> bool {
    script_pubkey.len() == 23 && matches!(classify(script_pubkey), ScriptKind::ScriptHash(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;

    #[test]
    fn multisig_counts_its_keys_only_where_they_are_known() {
        let key = [&[2][..], &[7; 32]].concat();
        let two = build::multisig(1, &[&key, &key]);
        assert_eq!((count_sigops(&two, false), count_sigops(&two, true)), (20, 2));
        let mut script_sig = vec![OP_0];
        build::push_bytes(&two, &mut script_sig);
        assert_eq!(p2sh_sigops(&script_sig, &build::p2sh_of(&two)), 2);
        assert_eq!(p2sh_sigops(&script_sig, &build::p2wsh_of(&two)), 0);
        script_sig.push(OP_NOP);
        assert_eq!(p2sh_sigops(&script_sig, &build::p2sh_of(&two)), 0);
        let witness = Witness(vec![vec![], two.clone()]);
        assert_eq!(witness_sigops(&[], &build::p2wsh_of(&two), &witness), 2);
        let mut nested = vec![];
        build::push_bytes(&build::p2wsh_of(&two), &mut nested);
        assert_eq!(witness_sigops(&nested, &build::p2sh_of(&build::p2wsh_of(&two)), &witness), 2);
        assert_eq!(witness_sigops(&[], &build::p2wpkh(&[0; 20]), &witness), 1);
        assert_eq!(witness_sigops(&[], &build::p2tr(&[0; 32]), &witness), 0);
    }
}
