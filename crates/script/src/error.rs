//! Why a script does not let an input spend.

/// One variant per rule. The message is the reference client's, because it is part of reject reasons that other
/// software reads; [`ScriptError::name`] is the short name its test vectors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ScriptError {
    /// `EVAL_FALSE`: Script evaluated without error but finished with a false/empty top stack element.
    #[error("Script evaluated without error but finished with a false/empty top stack element")]
    EvalFalse,
    /// `OP_RETURN`: OP_RETURN was encountered.
    #[error("OP_RETURN was encountered")]
    OpReturn,
    /// `SCRIPT_SIZE`: Script is too big.
    #[error("Script is too big")]
    ScriptSize,
    /// `PUSH_SIZE`: Push value size limit exceeded.
    #[error("Push value size limit exceeded")]
    PushSize,
    /// `OP_COUNT`: Operation limit exceeded.
    #[error("Operation limit exceeded")]
    OpCount,
    /// `STACK_SIZE`: Stack size limit exceeded.
    #[error("Stack size limit exceeded")]
    StackSize,
    /// `SIG_COUNT`: Signature count negative or greater than pubkey count.
    #[error("Signature count negative or greater than pubkey count")]
    SigCount,
    /// `PUBKEY_COUNT`: Pubkey count negative or limit exceeded.
    #[error("Pubkey count negative or limit exceeded")]
    PubkeyCount,
    /// `VERIFY`: Script failed an OP_VERIFY operation.
    #[error("Script failed an OP_VERIFY operation")]
    Verify,
    /// `EQUALVERIFY`: Script failed an OP_EQUALVERIFY operation.
    #[error("Script failed an OP_EQUALVERIFY operation")]
    EqualVerify,
    /// `CHECKMULTISIGVERIFY`: Script failed an OP_CHECKMULTISIGVERIFY operation.
    #[error("Script failed an OP_CHECKMULTISIGVERIFY operation")]
    CheckMultisigVerify,
    /// `CHECKSIGVERIFY`: Script failed an OP_CHECKSIGVERIFY operation.
    #[error("Script failed an OP_CHECKSIGVERIFY operation")]
    CheckSigVerify,
    /// `NUMEQUALVERIFY`: Script failed an OP_NUMEQUALVERIFY operation.
    #[error("Script failed an OP_NUMEQUALVERIFY operation")]
    NumEqualVerify,
    /// `BAD_OPCODE`: Opcode missing or not understood.
    #[error("Opcode missing or not understood")]
    BadOpcode,
    /// `DISABLED_OPCODE`: Attempted to use a disabled opcode.
    #[error("Attempted to use a disabled opcode")]
    DisabledOpcode,
    /// `INVALID_STACK_OPERATION`: Operation not valid with the current stack size.
    #[error("Operation not valid with the current stack size")]
    InvalidStackOperation,
    /// `INVALID_ALTSTACK_OPERATION`: Operation not valid with the current altstack size.
    #[error("Operation not valid with the current altstack size")]
    InvalidAltstackOperation,
    /// `UNBALANCED_CONDITIONAL`: Invalid OP_IF construction.
    #[error("Invalid OP_IF construction")]
    UnbalancedConditional,
    /// `NEGATIVE_LOCKTIME`: Negative locktime.
    #[error("Negative locktime")]
    NegativeLocktime,
    /// `UNSATISFIED_LOCKTIME`: Locktime requirement not satisfied.
    #[error("Locktime requirement not satisfied")]
    UnsatisfiedLocktime,
    /// `SCRIPTNUM`: Script number overflowed or is non-minimally encoded.
    #[error("Script number overflowed or is non-minimally encoded")]
    ScriptNum,
    /// `SIG_HASHTYPE`: Signature hash type missing or not understood.
    #[error("Signature hash type missing or not understood")]
    SigHashtype,
    /// `SIG_DER`: Non-canonical DER signature.
    #[error("Non-canonical DER signature")]
    SigDer,
    /// `MINIMALDATA`: Data push larger than necessary.
    #[error("Data push larger than necessary")]
    MinimalData,
    /// `SIG_PUSHONLY`: Only push operators allowed in signatures.
    #[error("Only push operators allowed in signatures")]
    SigPushOnly,
    /// `SIG_HIGH_S`: Non-canonical signature: S value is unnecessarily high.
    #[error("Non-canonical signature: S value is unnecessarily high")]
    SigHighS,
    /// `SIG_NULLDUMMY`: Dummy CHECKMULTISIG argument must be zero.
    #[error("Dummy CHECKMULTISIG argument must be zero")]
    SigNullDummy,
    /// `PUBKEYTYPE`: Public key is neither compressed or uncompressed.
    #[error("Public key is neither compressed or uncompressed")]
    PubkeyType,
    /// `CLEANSTACK`: Stack size must be exactly one after execution.
    #[error("Stack size must be exactly one after execution")]
    CleanStack,
    /// `MINIMALIF`: OP_IF/NOTIF argument must be minimal.
    #[error("OP_IF/NOTIF argument must be minimal")]
    MinimalIf,
    /// `NULLFAIL`: Signature must be zero for failed CHECK(MULTI)SIG operation.
    #[error("Signature must be zero for failed CHECK(MULTI)SIG operation")]
    SigNullFail,
    /// `DISCOURAGE_UPGRADABLE_NOPS`: NOPx reserved for soft-fork upgrades.
    #[error("NOPx reserved for soft-fork upgrades")]
    DiscourageUpgradableNops,
    /// `DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM`: Witness version reserved for soft-fork upgrades.
    #[error("Witness version reserved for soft-fork upgrades")]
    DiscourageUpgradableWitnessProgram,
    /// `DISCOURAGE_UPGRADABLE_TAPROOT_VERSION`: Taproot version reserved for soft-fork upgrades.
    #[error("Taproot version reserved for soft-fork upgrades")]
    DiscourageUpgradableTaprootVersion,
    /// `DISCOURAGE_OP_SUCCESS`: OP_SUCCESSx reserved for soft-fork upgrades.
    #[error("OP_SUCCESSx reserved for soft-fork upgrades")]
    DiscourageOpSuccess,
    /// `DISCOURAGE_UPGRADABLE_PUBKEYTYPE`: Public key version reserved for soft-fork upgrades.
    #[error("Public key version reserved for soft-fork upgrades")]
    DiscourageUpgradablePubkeyType,
    /// `WITNESS_PROGRAM_WRONG_LENGTH`: Witness program has incorrect length.
    #[error("Witness program has incorrect length")]
    WitnessProgramWrongLength,
    /// `WITNESS_PROGRAM_WITNESS_EMPTY`: Witness program was passed an empty witness.
    #[error("Witness program was passed an empty witness")]
    WitnessProgramWitnessEmpty,
    /// `WITNESS_PROGRAM_MISMATCH`: Witness program hash mismatch.
    #[error("Witness program hash mismatch")]
    WitnessProgramMismatch,
    /// `WITNESS_MALLEATED`: Witness requires empty scriptSig.
    #[error("Witness requires empty scriptSig")]
    WitnessMalleated,
    /// `WITNESS_MALLEATED_P2SH`: Witness requires only-redeemscript scriptSig.
    #[error("Witness requires only-redeemscript scriptSig")]
    WitnessMalleatedP2sh,
    /// `WITNESS_UNEXPECTED`: Witness provided for non-witness script.
    #[error("Witness provided for non-witness script")]
    WitnessUnexpected,
    /// `WITNESS_PUBKEYTYPE`: Using non-compressed keys in segwit.
    #[error("Using non-compressed keys in segwit")]
    WitnessPubkeyType,
    /// `SCHNORR_SIG_SIZE`: Invalid Schnorr signature size.
    #[error("Invalid Schnorr signature size")]
    SchnorrSigSize,
    /// `SCHNORR_SIG_HASHTYPE`: Invalid Schnorr signature hash type.
    #[error("Invalid Schnorr signature hash type")]
    SchnorrSigHashtype,
    /// `SCHNORR_SIG`: Invalid Schnorr signature.
    #[error("Invalid Schnorr signature")]
    SchnorrSig,
    /// `TAPROOT_WRONG_CONTROL_SIZE`: Invalid Taproot control block size.
    #[error("Invalid Taproot control block size")]
    TaprootWrongControlSize,
    /// `TAPSCRIPT_VALIDATION_WEIGHT`: Too much signature validation relative to witness weight.
    #[error("Too much signature validation relative to witness weight")]
    TapscriptValidationWeight,
    /// `TAPSCRIPT_CHECKMULTISIG`: OP_CHECKMULTISIG(VERIFY) is not available in tapscript.
    #[error("OP_CHECKMULTISIG(VERIFY) is not available in tapscript")]
    TapscriptCheckMultisig,
    /// `TAPSCRIPT_MINIMALIF`: OP_IF/NOTIF argument must be minimal in tapscript.
    #[error("OP_IF/NOTIF argument must be minimal in tapscript")]
    TapscriptMinimalIf,
    /// `TAPSCRIPT_EMPTY_PUBKEY`: Empty public key in tapscript.
    #[error("Empty public key in tapscript")]
    TapscriptEmptyPubkey,
    /// `OP_CODESEPARATOR`: Using OP_CODESEPARATOR in non-witness script.
    #[error("Using OP_CODESEPARATOR in non-witness script")]
    OpCodeSeparator,
    /// `SIG_FINDANDDELETE`: Signature is found in scriptCode.
    #[error("Signature is found in scriptCode")]
    SigFindAndDelete,
}

impl ScriptError {
    /// The rule's short name, as in the reference client's `script_tests.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EvalFalse => "EVAL_FALSE",
            Self::OpReturn => "OP_RETURN",
            Self::ScriptSize => "SCRIPT_SIZE",
            Self::PushSize => "PUSH_SIZE",
            Self::OpCount => "OP_COUNT",
            Self::StackSize => "STACK_SIZE",
            Self::SigCount => "SIG_COUNT",
            Self::PubkeyCount => "PUBKEY_COUNT",
            Self::Verify => "VERIFY",
            Self::EqualVerify => "EQUALVERIFY",
            Self::CheckMultisigVerify => "CHECKMULTISIGVERIFY",
            Self::CheckSigVerify => "CHECKSIGVERIFY",
            Self::NumEqualVerify => "NUMEQUALVERIFY",
            Self::BadOpcode => "BAD_OPCODE",
            Self::DisabledOpcode => "DISABLED_OPCODE",
            Self::InvalidStackOperation => "INVALID_STACK_OPERATION",
            Self::InvalidAltstackOperation => "INVALID_ALTSTACK_OPERATION",
            Self::UnbalancedConditional => "UNBALANCED_CONDITIONAL",
            Self::NegativeLocktime => "NEGATIVE_LOCKTIME",
            Self::UnsatisfiedLocktime => "UNSATISFIED_LOCKTIME",
            Self::ScriptNum => "SCRIPTNUM",
            Self::SigHashtype => "SIG_HASHTYPE",
            Self::SigDer => "SIG_DER",
            Self::MinimalData => "MINIMALDATA",
            Self::SigPushOnly => "SIG_PUSHONLY",
            Self::SigHighS => "SIG_HIGH_S",
            Self::SigNullDummy => "SIG_NULLDUMMY",
            Self::PubkeyType => "PUBKEYTYPE",
            Self::CleanStack => "CLEANSTACK",
            Self::MinimalIf => "MINIMALIF",
            Self::SigNullFail => "NULLFAIL",
            Self::DiscourageUpgradableNops => "DISCOURAGE_UPGRADABLE_NOPS",
            Self::DiscourageUpgradableWitnessProgram => "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM",
            Self::DiscourageUpgradableTaprootVersion => "DISCOURAGE_UPGRADABLE_TAPROOT_VERSION",
            Self::DiscourageOpSuccess => "DISCOURAGE_OP_SUCCESS",
            Self::DiscourageUpgradablePubkeyType => "DISCOURAGE_UPGRADABLE_PUBKEYTYPE",
            Self::WitnessProgramWrongLength => "WITNESS_PROGRAM_WRONG_LENGTH",
            Self::WitnessProgramWitnessEmpty => "WITNESS_PROGRAM_WITNESS_EMPTY",
            Self::WitnessProgramMismatch => "WITNESS_PROGRAM_MISMATCH",
            Self::WitnessMalleated => "WITNESS_MALLEATED",
            Self::WitnessMalleatedP2sh => "WITNESS_MALLEATED_P2SH",
            Self::WitnessUnexpected => "WITNESS_UNEXPECTED",
            Self::WitnessPubkeyType => "WITNESS_PUBKEYTYPE",
            Self::SchnorrSigSize => "SCHNORR_SIG_SIZE",
            Self::SchnorrSigHashtype => "SCHNORR_SIG_HASHTYPE",
            Self::SchnorrSig => "SCHNORR_SIG",
            Self::TaprootWrongControlSize => "TAPROOT_WRONG_CONTROL_SIZE",
            Self::TapscriptValidationWeight => "TAPSCRIPT_VALIDATION_WEIGHT",
            Self::TapscriptCheckMultisig => "TAPSCRIPT_CHECKMULTISIG",
            Self::TapscriptMinimalIf => "TAPSCRIPT_MINIMALIF",
            Self::TapscriptEmptyPubkey => "TAPSCRIPT_EMPTY_PUBKEY",
            Self::OpCodeSeparator => "OP_CODESEPARATOR",
            Self::SigFindAndDelete => "SIG_FINDANDDELETE",
        }
    }
}
