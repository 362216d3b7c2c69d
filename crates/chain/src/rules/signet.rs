//! Signet blocks are signed (BIP325): the coinbase's witness commitment carries a solution to the network's challenge.

use lode_primitives::{Amount, Decode, Form, OutPoint, Reader, Transaction, TxIn, TxOut, Witness, merkle};
use lode_script::build::push_bytes;
use lode_script::{Flags, Instructions, TxSighashes, verify_input};

use super::block::{Hashed, witness_commitment};

/// Begins the push that holds the solution.
const HEADER: [u8; 4] = [0xec, 0xc7, 0xda, 0xa2];

/// No script of a solution is longer: no block is.
const MAX_SOLUTION_BYTES: usize = 4_000_000;

const OP_RETURN: u8 = 0x6a;

/// True where the block carries a solution to `challenge`. A block without one satisfies a challenge that asks for
/// nothing.
pub(super) fn is_solved(hashed: &Hashed, challenge: &[u8]) -> bool {
    let Some((to_spend, to_sign)) = virtual_transactions(hashed, challenge) else { return false };
    let sighashes = TxSighashes::new(&to_sign, [&to_spend.outputs[0]]);
    let flags = Flags::P2SH | Flags::WITNESS | Flags::DERSIG | Flags::NULLDUMMY;
    verify_input(&sighashes, 0, flags, None).is_ok()
}

/// The pair of transactions, never on any chain, of which the second spends the first by the solution.
fn virtual_transactions(hashed: &Hashed, challenge: &[u8]) -> Option<(Transaction, Transaction)> {
    let header = &hashed.block.header;
    let mut coinbase = hashed.block.transactions.first()?.clone();
    let index = witness_commitment(&coinbase)?;
    let solution = take_solution(&mut coinbase.outputs[index].script_pubkey);

    let mut leaves: Vec<[u8; 32]> = hashed.txids.iter().map(|txid| txid.0).collect();
    leaves[0] = coinbase.txid().0;
    let (root, _) = merkle::root(leaves);
    let mut message = Vec::with_capacity(72);
    message.extend_from_slice(&header.version.to_le_bytes());
    message.extend_from_slice(header.prev.as_bytes());
    message.extend_from_slice(root.as_bytes());
    message.extend_from_slice(&header.time.to_le_bytes());

    let mut script_sig = vec![0];
    push_bytes(&message, &mut script_sig);
    let to_spend = transaction(OutPoint::NULL, script_sig, Witness::default(), challenge.to_vec());
    let (script_sig, witness) = match solution {
        Some(solution) => decode_solution(&solution)?,
        None => Default::default(),
    };
    let outpoint = OutPoint { txid: to_spend.txid(), vout: 0 };
    let to_sign = transaction(outpoint, script_sig, witness, vec![OP_RETURN]);
    Some((to_spend, to_sign))
}

fn transaction(
    prevout: OutPoint,
    script_sig: Vec<u8>,
    witness: Witness,
    script_pubkey: Vec<u8>,
) -> Transaction {
    Transaction {
        version: 0,
        inputs: vec![TxIn { prevout, script_sig, sequence: 0, witness }],
        outputs: vec![TxOut { value: Amount::ZERO, script_pubkey }],
        lock_time: 0,
        data: None,
    }
}

/// Takes the solution out of the commitment's script and leaves the four bytes before it, as it was when signed.
fn take_solution(script: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut solution = None;
    let mut without = Vec::with_capacity(script.len());
    for instruction in Instructions::new(script) {
        let Ok(instruction) = instruction else { break };
        let data = instruction.data;
        if data.is_empty() {
            without.push(instruction.opcode);
        } else if solution.is_none() && data.len() > HEADER.len() && data.starts_with(&HEADER) {
            solution = Some(data[HEADER.len()..].to_vec());
            push_bytes(&HEADER, &mut without);
        } else {
            push_bytes(data, &mut without);
        }
    }
    if solution.is_some() {
        *script = without;
    }
    solution
}

fn decode_solution(solution: &[u8]) -> Option<(Vec<u8>, Witness)> {
    let mut reader = Reader::new(solution);
    let script_sig = reader.bytes("script", MAX_SOLUTION_BYTES).ok()?.to_vec();
    let witness = Witness::decode(&mut reader, Form::default()).ok()?;
    reader.finish().ok()?;
    Some((script_sig, witness))
}
