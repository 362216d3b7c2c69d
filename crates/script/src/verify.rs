//! Whether an input may spend an output: the scripts of both and the witness, by the rules in force.

use lode_primitives::{Witness, compact_size_len};
use secp256k1::{Parity, SECP256K1, Scalar, XOnlyPublicKey};

use crate::checker::{Checker, SigVersion, SignatureCache};
use crate::eval::{TapscriptData, eval};
use crate::instruction::Instructions;
use crate::item::Item;
use crate::opcode::{OP_CHECKSIG, OP_DUP, OP_EQUALVERIFY, OP_HASH160, is_op_success};
use crate::sighash::{TxSighashes, annex_hash, tapbranch_hash, tapleaf_hash};
use crate::{
    ANNEX_TAG, Flags, MAX_ITEM_SIZE, MAX_STACK_ITEMS, ScriptError, ScriptKind, TAPSCRIPT_LEAF, build,
    classify, is_push_only, witness_program,
};

/// Weight that a tapscript's signature checks have for nothing (BIP342).
const TAPSCRIPT_WEIGHT_OFFSET: i64 = 50;
/// Leaf version and internal key of a control block; then up to 128 nodes (BIP341).
const CONTROL_BASE_SIZE: usize = 33;
const CONTROL_NODE_SIZE: usize = 32;
const CONTROL_MAX_SIZE: usize = CONTROL_BASE_SIZE + 128 * CONTROL_NODE_SIZE;

/// Whether input `index` may spend its output: [`verify`] with the scripts taken from the transaction.
///
/// # Errors
/// The first rule broken.
///
/// # Panics
/// Where there is no such input.
pub fn verify_input(
    sighashes: &TxSighashes<'_>,
    index: usize,
    flags: Flags,
    cache: Option<&dyn SignatureCache>,
) -> Result<(), ScriptError> {
    let checker = Checker::new(sighashes, index, cache);
    let input = &sighashes.tx().inputs[index];
    verify(&input.script_sig, &sighashes.spent(index).script_pubkey, &input.witness, flags, &checker)
}

/// Whether `script_sig` and `witness` satisfy `script_pubkey`.
///
/// # Errors
/// The first rule broken.
pub fn verify(
    script_sig: &[u8],
    script_pubkey: &[u8],
    witness: &Witness,
    flags: Flags,
    checker: &Checker<'_>,
) -> Result<(), ScriptError> {
    // Without these CLEANSTACK and WITNESS would not be soft forks of what they imply.
    let mut flags = flags;
    if flags.contains(Flags::CLEANSTACK) {
        flags |= Flags::WITNESS;
    }
    if flags.contains(Flags::WITNESS) {
        flags |= Flags::P2SH;
    }
    if flags.contains(Flags::SIGPUSHONLY) && !is_push_only(script_sig) {
        return Err(ScriptError::SigPushOnly);
    }

    let mut stack = Vec::with_capacity(16);
    eval(&mut stack, script_sig, flags, checker, SigVersion::Base, None)?;
    let pays_to_script =
        flags.contains(Flags::P2SH) && matches!(classify(script_pubkey), ScriptKind::ScriptHash(_));
    let mut redeem_stack = if pays_to_script { stack.clone() } else { Vec::new() };
    eval(&mut stack, script_pubkey, flags, checker, SigVersion::Base, None)?;
    expect_true(&stack)?;

    let mut had_witness = false;
    if flags.contains(Flags::WITNESS)
        && let Some((version, program)) = witness_program(script_pubkey)
    {
        had_witness = true;
        if !script_sig.is_empty() {
            return Err(ScriptError::WitnessMalleated);
        }
        verify_witness_program(version, program, witness, flags, checker, false)?;
        stack.truncate(1);
    }

    if pays_to_script {
        if !is_push_only(script_sig) {
            return Err(ScriptError::SigPushOnly);
        }
        // The output's script has found an item to hash, and pushes are always borrowed.
        let Some(Item::Borrowed(redeem)) = redeem_stack.pop() else { return Err(ScriptError::EvalFalse) };
        stack = redeem_stack;
        eval(&mut stack, redeem, flags, checker, SigVersion::Base, None)?;
        expect_true(&stack)?;
        if flags.contains(Flags::WITNESS)
            && let Some((version, program)) = witness_program(redeem)
        {
            had_witness = true;
            if !build::is_single_push_of(script_sig, redeem) {
                return Err(ScriptError::WitnessMalleatedP2sh);
            }
            verify_witness_program(version, program, witness, flags, checker, true)?;
            stack.truncate(1);
        }
    }

    if flags.contains(Flags::CLEANSTACK) && stack.len() != 1 {
        return Err(ScriptError::CleanStack);
    }
    if flags.contains(Flags::WITNESS) && !had_witness && !witness.is_empty() {
        return Err(ScriptError::WitnessUnexpected);
    }
    Ok(())
}

fn expect_true(stack: &[Item<'_>]) -> Result<(), ScriptError> {
    if stack.last().is_some_and(Item::is_true) { Ok(()) } else { Err(ScriptError::EvalFalse) }
}

fn verify_witness_program(
    version: u8,
    program: &[u8],
    witness: &Witness,
    flags: Flags,
    checker: &Checker<'_>,
    in_p2sh: bool,
) -> Result<(), ScriptError> {
    match (version, program.len()) {
        (0, 32) => {
            let (script, stack) = witness.0.split_last().ok_or(ScriptError::WitnessProgramWitnessEmpty)?;
            if lode_primitives::sha256(script) != program {
                return Err(ScriptError::WitnessProgramMismatch);
            }
            execute(stack, script, flags, checker, SigVersion::WitnessV0, None)
        }
        (0, 20) => {
            if witness.0.len() != 2 {
                return Err(ScriptError::WitnessProgramMismatch);
            }
            let mut script = [0; 25];
            script[..3].copy_from_slice(&[OP_DUP, OP_HASH160, 20]);
            script[3..23].copy_from_slice(program);
            script[23..].copy_from_slice(&[OP_EQUALVERIFY, OP_CHECKSIG]);
            execute(&witness.0, &script, flags, checker, SigVersion::WitnessV0, None)
        }
        (0, _) => Err(ScriptError::WitnessProgramWrongLength),
        (1, 32) if !in_p2sh => {
            if flags.contains(Flags::TAPROOT) {
                verify_taproot(program, witness, flags, checker)
            } else {
                Ok(())
            }
        }
        (1, 2) if !in_p2sh && program == build::ANCHOR_PROGRAM => Ok(()),
        _ if flags.contains(Flags::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM) => {
            Err(ScriptError::DiscourageUpgradableWitnessProgram)
        }
        _ => Ok(()),
    }
}

/// BIP341: a witness of one item is a signature by the output's key; else the last two are a script and the proof that
/// the key commits to it. An annex, before all this, is set aside.
fn verify_taproot(
    program: &[u8],
    witness: &Witness,
    flags: Flags,
    checker: &Checker<'_>,
) -> Result<(), ScriptError> {
    let (stack, annex) = match witness.0.as_slice() {
        [] => return Err(ScriptError::WitnessProgramWitnessEmpty),
        [stack @ .., last] if !stack.is_empty() && last.first() == Some(&ANNEX_TAG) => (stack, Some(last)),
        stack => (stack, None),
    };
    let annex_hash = annex.map(|annex| annex_hash(annex));
    let (stack, script, control) = match stack {
        [signature] => return checker.schnorr(signature, program, annex_hash.as_ref(), None),
        [stack @ .., script, control] => (stack, script, control),
        [] => return Err(ScriptError::WitnessProgramWitnessEmpty), // an annex is never alone
    };
    if !(CONTROL_BASE_SIZE..=CONTROL_MAX_SIZE).contains(&control.len())
        || !(control.len() - CONTROL_BASE_SIZE).is_multiple_of(CONTROL_NODE_SIZE)
    {
        return Err(ScriptError::TaprootWrongControlSize);
    }
    let leaf_version = control[0] & 0xfe;
    let leaf_hash = tapleaf_hash(leaf_version, script);
    if !commits_to(program, control, leaf_hash) {
        return Err(ScriptError::WitnessProgramMismatch);
    }
    if leaf_version == TAPSCRIPT_LEAF {
        let weight_left = witness_size(witness) as i64 + TAPSCRIPT_WEIGHT_OFFSET;
        let data = TapscriptData { annex_hash, leaf_hash, weight_left };
        return execute(stack, script, flags, checker, SigVersion::Tapscript, Some(data));
    }
    if flags.contains(Flags::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION) {
        return Err(ScriptError::DiscourageUpgradableTaprootVersion);
    }
    Ok(())
}

/// True where the output's key is the control block's internal key, tweaked by the tree that the leaf is in.
fn commits_to(program: &[u8], control: &[u8], leaf_hash: [u8; 32]) -> bool {
    let (base, path) = control.split_at(CONTROL_BASE_SIZE);
    let root = path
        .as_chunks::<CONTROL_NODE_SIZE>()
        .0
        .iter()
        .fold(leaf_hash, |hash, node| tapbranch_hash(&hash, node));
    let internal = &base[1..];
    let tweak = lode_primitives::tagged_hash("TapTweak", &[internal, &root]);
    let (Ok(output), Ok(internal), Ok(tweak)) = (
        XOnlyPublicKey::from_slice(program),
        XOnlyPublicKey::from_slice(internal),
        Scalar::from_be_bytes(tweak),
    ) else {
        return false;
    };
    let parity = if base[0] & 1 == 0 { Parity::Even } else { Parity::Odd };
    internal.tweak_add_check(SECP256K1, &output, parity, tweak)
}

/// Bytes of a witness on the wire.
fn witness_size(witness: &Witness) -> usize {
    let items = witness.0.iter().map(|item| compact_size_len(item.len() as u64) + item.len());
    compact_size_len(witness.0.len() as u64) + items.sum::<usize>()
}

/// Executes a script from a witness: it must leave exactly one true item.
fn execute(
    items: &[Vec<u8>],
    script: &[u8],
    flags: Flags,
    checker: &Checker<'_>,
    version: SigVersion,
    mut tapscript: Option<TapscriptData>,
) -> Result<(), ScriptError> {
    if version == SigVersion::Tapscript {
        for instruction in Instructions::new(script) {
            if !is_op_success(instruction?.opcode) {
                continue;
            }
            if flags.contains(Flags::DISCOURAGE_OP_SUCCESS) {
                return Err(ScriptError::DiscourageOpSuccess);
            }
            return Ok(());
        }
        if items.len() > MAX_STACK_ITEMS {
            return Err(ScriptError::StackSize);
        }
    }
    if items.iter().any(|item| item.len() > MAX_ITEM_SIZE) {
        return Err(ScriptError::PushSize);
    }
    let mut stack = Vec::with_capacity(items.len() + 8);
    stack.extend(items.iter().map(|item| Item::Borrowed(item)));
    eval(&mut stack, script, flags, checker, version, tapscript.as_mut())?;
    if stack.len() != 1 {
        return Err(ScriptError::CleanStack);
    }
    expect_true(&stack)
}
