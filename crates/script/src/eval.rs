//! The interpreter: one script executed on a stack.

use bitcoin_hashes::{Ripemd160, Sha1};
use lode_primitives::{hash160, sha256, sha256d};

use crate::checker::{Checker, SigVersion, check_key_encoding, check_signature_encoding, find_and_delete};
use crate::instruction::Instructions;
use crate::item::Item;
use crate::opcode::*;
use crate::sighash::{SighashMemo, TapLeaf};
use crate::{
    Flags, MAX_ITEM_SIZE, MAX_MULTISIG_KEYS, MAX_OPS, MAX_SCRIPT_SIZE, MAX_STACK_ITEMS, ScriptError, num,
};

/// Weight that a signature checked in tapscript uses up (BIP342).
const TAPSCRIPT_SIGOP_WEIGHT: i64 = 50;

/// What a tapscript is executed with, beside its stack.
pub(crate) struct TapscriptData {
    /// Hash of the annex, where there is one.
    pub annex_hash: Option<[u8; 32]>,
    /// Hash of the executed leaf.
    pub leaf_hash: [u8; 32],
    /// Weight left for signature checks: 50 plus the size of the witness, at first.
    pub weight_left: i64,
}

/// The nesting of `OP_IF`: how deep, and where the outermost branch that is not taken is. Constant in size.
#[derive(Default)]
struct Conditions {
    depth: usize,
    first_false: Option<usize>,
}

impl Conditions {
    const fn all_true(&self) -> bool {
        self.first_false.is_none()
    }

    const fn push(&mut self, taken: bool) {
        if !taken && self.first_false.is_none() {
            self.first_false = Some(self.depth);
        }
        self.depth += 1;
    }

    fn toggle(&mut self) -> Result<(), ScriptError> {
        let top = self.depth.checked_sub(1).ok_or(ScriptError::UnbalancedConditional)?;
        match self.first_false {
            None => self.first_false = Some(top),
            Some(at) if at == top => self.first_false = None,
            Some(_) => {} // inside a branch that is not taken: nothing to see
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<(), ScriptError> {
        self.depth = self.depth.checked_sub(1).ok_or(ScriptError::UnbalancedConditional)?;
        if self.first_false == Some(self.depth) {
            self.first_false = None;
        }
        Ok(())
    }
}

/// One script being executed.
pub(crate) struct Eval<'a, 'e> {
    script: &'a [u8],
    stack: &'e mut Vec<Item<'a>>,
    alt: Vec<Item<'a>>,
    flags: Flags,
    minimal: bool,
    checker: &'e Checker<'e>,
    version: SigVersion,
    tapscript: Option<&'e mut TapscriptData>,
    conditions: Conditions,
    ops: usize,
    /// Where the script code starts: behind the last code separator executed.
    code_start: usize,
    /// The same as an opcode's index, for tapscript.
    codeseparator: u32,
    memo: SighashMemo,
}

/// Executes `script` on `stack`. `tapscript` must be there for [`SigVersion::Tapscript`].
pub(crate) fn eval<'a>(
    stack: &mut Vec<Item<'a>>,
    script: &'a [u8],
    flags: Flags,
    checker: &Checker<'_>,
    version: SigVersion,
    tapscript: Option<&mut TapscriptData>,
) -> Result<(), ScriptError> {
    if version != SigVersion::Tapscript && script.len() > MAX_SCRIPT_SIZE {
        return Err(ScriptError::ScriptSize);
    }
    Eval {
        script,
        stack,
        alt: Vec::new(),
        flags,
        minimal: flags.contains(Flags::MINIMALDATA),
        checker,
        version,
        tapscript,
        conditions: Conditions::default(),
        ops: 0,
        code_start: 0,
        codeseparator: u32::MAX,
        memo: SighashMemo::default(),
    }
    .run()
}

impl<'a> Eval<'a, '_> {
    fn run(mut self) -> Result<(), ScriptError> {
        let mut instructions = Instructions::new(self.script);
        let mut index = 0u32;
        while let Some(instruction) = instructions.next() {
            let instruction = instruction?;
            let opcode = instruction.opcode;
            if instruction.data.len() > MAX_ITEM_SIZE {
                return Err(ScriptError::PushSize);
            }
            if self.version != SigVersion::Tapscript && opcode > OP_16 {
                self.ops += 1;
                if self.ops > MAX_OPS {
                    return Err(ScriptError::OpCount);
                }
            }
            if is_disabled(opcode) {
                return Err(ScriptError::DisabledOpcode);
            }
            if opcode == OP_CODESEPARATOR
                && self.version == SigVersion::Base
                && self.flags.contains(Flags::CONST_SCRIPTCODE)
            {
                return Err(ScriptError::OpCodeSeparator);
            }
            let executed = self.conditions.all_true();
            if executed && instruction.is_data_push() {
                if self.minimal && !instruction.is_minimal_push() {
                    return Err(ScriptError::MinimalData);
                }
                self.stack.push(Item::Borrowed(instruction.data));
            } else if executed || matches!(opcode, OP_IF..=OP_ENDIF) {
                match opcode {
                    OP_CODESEPARATOR => {
                        self.code_start = instructions.position();
                        self.codeseparator = index;
                    }
                    OP_IF..=OP_ENDIF => self.control(opcode, executed)?,
                    _ => self.step(opcode)?,
                }
            }
            if self.stack.len() + self.alt.len() > MAX_STACK_ITEMS {
                return Err(ScriptError::StackSize);
            }
            index = index.wrapping_add(1);
        }
        if self.conditions.depth == 0 { Ok(()) } else { Err(ScriptError::UnbalancedConditional) }
    }

    fn pop(&mut self) -> Result<Item<'a>, ScriptError> {
        self.stack.pop().ok_or(ScriptError::InvalidStackOperation)
    }

    /// The item `depth` from the top, which is 0.
    fn peek(&self, depth: usize) -> Result<Item<'a>, ScriptError> {
        let at = self.stack.len().checked_sub(depth + 1).ok_or(ScriptError::InvalidStackOperation)?;
        Ok(self.stack[at])
    }

    /// Refuses where fewer than `n` items are there.
    const fn need(&self, n: usize) -> Result<(), ScriptError> {
        if self.stack.len() < n { Err(ScriptError::InvalidStackOperation) } else { Ok(()) }
    }

    fn number(&self, depth: usize) -> Result<i64, ScriptError> {
        self.peek(depth)?.to_number(self.minimal)
    }

    fn drop_items(&mut self, n: usize) {
        self.stack.truncate(self.stack.len() - n);
    }

    /// Copies the item `depth` from the top onto it.
    fn copy(&mut self, depth: usize) -> Result<(), ScriptError> {
        let item = self.peek(depth)?;
        self.stack.push(item);
        Ok(())
    }

    /// Turns the top `n` items so that the lowest `by` of them come to the top.
    fn rotate(&mut self, n: usize, by: usize) -> Result<(), ScriptError> {
        self.need(n)?;
        let start = self.stack.len() - n;
        self.stack[start..].rotate_left(by);
        Ok(())
    }

    fn control(&mut self, opcode: u8, executed: bool) -> Result<(), ScriptError> {
        match opcode {
            OP_IF | OP_NOTIF => {
                let mut taken = false;
                if executed {
                    let condition = self.peek(0)?;
                    if !matches!(condition.bytes(), [] | [1]) {
                        match self.version {
                            SigVersion::Tapscript => return Err(ScriptError::TapscriptMinimalIf),
                            SigVersion::WitnessV0 if self.flags.contains(Flags::MINIMALIF) => {
                                return Err(ScriptError::MinimalIf);
                            }
                            _ => {}
                        }
                    }
                    taken = condition.is_true() == (opcode == OP_IF);
                    self.drop_items(1);
                }
                self.conditions.push(taken);
                Ok(())
            }
            OP_ELSE => self.conditions.toggle(),
            OP_ENDIF => self.conditions.pop(),
            // OP_VERIF and OP_VERNOTIF fail even where they are not executed.
            _ => Err(ScriptError::BadOpcode),
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), ScriptError> {
        match opcode {
            OP_1NEGATE => self.stack.push(Item::MINUS_ONE),
            OP_1..=OP_16 => self.stack.push(Item::small(opcode - OP_1 + 1)),
            OP_NOP => {}
            OP_CHECKLOCKTIMEVERIFY => self.check_lock_time()?,
            OP_CHECKSEQUENCEVERIFY => self.check_sequence()?,
            OP_NOP1 | OP_NOP4..=OP_NOP10 => {
                if self.flags.contains(Flags::DISCOURAGE_UPGRADABLE_NOPS) {
                    return Err(ScriptError::DiscourageUpgradableNops);
                }
            }
            OP_VERIFY => {
                if !self.peek(0)?.is_true() {
                    return Err(ScriptError::Verify);
                }
                self.drop_items(1);
            }
            OP_RETURN => return Err(ScriptError::OpReturn),
            OP_TOALTSTACK..=OP_TUCK | OP_SIZE => self.shuffle(opcode)?,
            OP_EQUAL | OP_EQUALVERIFY => {
                let equal = self.peek(1)?.bytes() == self.peek(0)?.bytes();
                self.drop_items(2);
                if opcode == OP_EQUAL {
                    self.stack.push(Item::bool(equal));
                } else if !equal {
                    return Err(ScriptError::EqualVerify);
                }
            }
            OP_1ADD..=OP_WITHIN => self.calculate(opcode)?,
            OP_RIPEMD160..=OP_HASH256 => {
                let item = self.pop()?;
                let bytes = item.bytes();
                self.stack.push(match opcode {
                    OP_RIPEMD160 => Item::made(&Ripemd160::hash(bytes).to_byte_array()),
                    OP_SHA1 => Item::made(&Sha1::hash(bytes).to_byte_array()),
                    OP_SHA256 => Item::made(&sha256(bytes)),
                    OP_HASH160 => Item::made(&hash160(bytes)),
                    _ => Item::made(&sha256d(bytes)),
                });
            }
            OP_CHECKSIG | OP_CHECKSIGVERIFY => {
                let (signature, key) = (self.peek(1)?, self.peek(0)?);
                let good = self.check_signature(signature, key)?;
                self.drop_items(2);
                if opcode == OP_CHECKSIG {
                    self.stack.push(Item::bool(good));
                } else if !good {
                    return Err(ScriptError::CheckSigVerify);
                }
            }
            OP_CHECKSIGADD if self.version == SigVersion::Tapscript => {
                self.need(3)?;
                let (signature, count, key) = (self.peek(2)?, self.number(1)?, self.peek(0)?);
                let good = self.check_signature(signature, key)?;
                self.drop_items(3);
                self.stack.push(Item::number(count + i64::from(good)));
            }
            OP_CHECKMULTISIG | OP_CHECKMULTISIGVERIFY => {
                if self.version == SigVersion::Tapscript {
                    return Err(ScriptError::TapscriptCheckMultisig);
                }
                let good = self.check_multisig()?;
                if opcode == OP_CHECKMULTISIG {
                    self.stack.push(Item::bool(good));
                } else if !good {
                    return Err(ScriptError::CheckMultisigVerify);
                }
            }
            _ => return Err(ScriptError::BadOpcode),
        }
        Ok(())
    }

    /// A lock time operand: five bytes, so that it reaches past 2038.
    fn lock_operand(&self) -> Result<i64, ScriptError> {
        let operand = num::decode(self.peek(0)?.bytes(), self.minimal, 5)?;
        if operand < 0 { Err(ScriptError::NegativeLocktime) } else { Ok(operand) }
    }

    fn check_lock_time(&self) -> Result<(), ScriptError> {
        if !self.flags.contains(Flags::CHECKLOCKTIMEVERIFY) {
            return Ok(()); // OP_NOP2
        }
        let lock_time = self.lock_operand()?;
        if self.checker.lock_time(lock_time) { Ok(()) } else { Err(ScriptError::UnsatisfiedLocktime) }
    }

    fn check_sequence(&self) -> Result<(), ScriptError> {
        if !self.flags.contains(Flags::CHECKSEQUENCEVERIFY) {
            return Ok(()); // OP_NOP3
        }
        let sequence = self.lock_operand()?;
        // With the disable bit set it asks for nothing.
        if sequence & (1 << 31) != 0 || self.checker.sequence(sequence) {
            Ok(())
        } else {
            Err(ScriptError::UnsatisfiedLocktime)
        }
    }

    /// Opcodes that only move items, and `OP_SIZE`, `OP_DEPTH`, `OP_IFDUP`.
    fn shuffle(&mut self, opcode: u8) -> Result<(), ScriptError> {
        match opcode {
            OP_TOALTSTACK => {
                let item = self.pop()?;
                self.alt.push(item);
            }
            OP_FROMALTSTACK => {
                let item = self.alt.pop().ok_or(ScriptError::InvalidAltstackOperation)?;
                self.stack.push(item);
            }
            OP_2DROP => {
                self.need(2)?;
                self.drop_items(2);
            }
            OP_2DUP => {
                self.need(2)?;
                (0..2).try_for_each(|_| self.copy(1))?;
            }
            OP_3DUP => {
                self.need(3)?;
                (0..3).try_for_each(|_| self.copy(2))?;
            }
            OP_2OVER => {
                self.need(4)?;
                (0..2).try_for_each(|_| self.copy(3))?;
            }
            OP_2ROT => self.rotate(6, 2)?,
            OP_2SWAP => self.rotate(4, 2)?,
            OP_IFDUP => {
                if self.peek(0)?.is_true() {
                    self.copy(0)?;
                }
            }
            OP_DEPTH => self.stack.push(Item::number(self.stack.len() as i64)),
            OP_DROP => {
                self.pop()?;
            }
            OP_DUP => self.copy(0)?,
            OP_NIP => {
                self.rotate(2, 1)?;
                self.drop_items(1);
            }
            OP_OVER => self.copy(1)?,
            OP_PICK | OP_ROLL => {
                self.need(2)?;
                let depth = self.number(0)?;
                self.drop_items(1);
                let depth = usize::try_from(depth)
                    .ok()
                    .filter(|&depth| depth < self.stack.len())
                    .ok_or(ScriptError::InvalidStackOperation)?;
                if opcode == OP_PICK {
                    self.copy(depth)?;
                } else {
                    self.rotate(depth + 1, 1)?;
                }
            }
            OP_ROT => self.rotate(3, 1)?,
            OP_SWAP => self.rotate(2, 1)?,
            OP_TUCK => {
                self.rotate(2, 1)?;
                self.copy(1)?;
            }
            OP_SIZE => {
                let size = self.peek(0)?.bytes().len();
                self.stack.push(Item::number(size as i64));
            }
            _ => return Err(ScriptError::BadOpcode),
        }
        Ok(())
    }

    /// Opcodes on numbers. Operands are at most four bytes, so sums fit in 64 bits by far.
    fn calculate(&mut self, opcode: u8) -> Result<(), ScriptError> {
        let bool = i64::from;
        let result = match opcode {
            OP_1ADD..=OP_0NOTEQUAL => {
                let a = self.number(0)?;
                self.drop_items(1);
                match opcode {
                    OP_1ADD => a + 1,
                    OP_1SUB => a - 1,
                    OP_NEGATE => -a,
                    OP_ABS => a.abs(),
                    OP_NOT => bool(a == 0),
                    OP_0NOTEQUAL => bool(a != 0),
                    _ => return Err(ScriptError::BadOpcode),
                }
            }
            OP_WITHIN => {
                self.need(3)?;
                let (value, min, max) = (self.number(2)?, self.number(1)?, self.number(0)?);
                self.drop_items(3);
                bool(min <= value && value < max)
            }
            _ => {
                self.need(2)?;
                let (a, b) = (self.number(1)?, self.number(0)?);
                self.drop_items(2);
                match opcode {
                    OP_ADD => a + b,
                    OP_SUB => a - b,
                    OP_BOOLAND => bool(a != 0 && b != 0),
                    OP_BOOLOR => bool(a != 0 || b != 0),
                    OP_NUMEQUAL => bool(a == b),
                    OP_NUMEQUALVERIFY if a == b => return Ok(()),
                    OP_NUMEQUALVERIFY => return Err(ScriptError::NumEqualVerify),
                    OP_NUMNOTEQUAL => bool(a != b),
                    OP_LESSTHAN => bool(a < b),
                    OP_GREATERTHAN => bool(a > b),
                    OP_LESSTHANOREQUAL => bool(a <= b),
                    OP_GREATERTHANOREQUAL => bool(a >= b),
                    OP_MIN => a.min(b),
                    OP_MAX => a.max(b),
                    _ => return Err(ScriptError::BadOpcode),
                }
            }
        };
        self.stack.push(Item::number(result));
        Ok(())
    }

    /// The script code of a signature: from the last code separator on, and outside witnesses without the signature.
    fn script_code(
        &self,
        code: std::borrow::Cow<'a, [u8]>,
        signature: &[u8],
    ) -> Result<std::borrow::Cow<'a, [u8]>, ScriptError> {
        if self.version != SigVersion::Base {
            return Ok(code);
        }
        let (deleted, found) = find_and_delete(&code, signature);
        if found && self.flags.contains(Flags::CONST_SCRIPTCODE) {
            return Err(ScriptError::SigFindAndDelete);
        }
        Ok(if found { deleted.into_owned().into() } else { code })
    }

    fn check_signature(&mut self, signature: Item<'a>, key: Item<'a>) -> Result<bool, ScriptError> {
        let (signature, key) = (signature.bytes(), key.bytes());
        if self.version == SigVersion::Tapscript {
            return self.check_tapscript_signature(signature, key);
        }
        let code = self.script_code(self.script[self.code_start..].into(), signature)?;
        check_signature_encoding(signature, self.flags)?;
        check_key_encoding(key, self.flags, self.version)?;
        let good = self.checker.ecdsa(signature, key, &code, self.version, &mut self.memo);
        if !good && self.flags.contains(Flags::NULLFAIL) && !signature.is_empty() {
            return Err(ScriptError::SigNullFail);
        }
        Ok(good)
    }

    /// BIP342: an empty signature is false, any other must be good; the weight is charged before all else.
    fn check_tapscript_signature(&mut self, signature: &[u8], key: &[u8]) -> Result<bool, ScriptError> {
        let Some(tapscript) = self.tapscript.as_deref_mut() else { return Err(ScriptError::BadOpcode) };
        let given = !signature.is_empty();
        if given {
            tapscript.weight_left -= TAPSCRIPT_SIGOP_WEIGHT;
            if tapscript.weight_left < 0 {
                return Err(ScriptError::TapscriptValidationWeight);
            }
        }
        match key.len() {
            0 => return Err(ScriptError::TapscriptEmptyPubkey),
            32 if given => {
                let leaf = TapLeaf { hash: tapscript.leaf_hash, codeseparator: self.codeseparator };
                self.checker.schnorr(signature, key, tapscript.annex_hash.as_ref(), Some(leaf))?;
            }
            32 => {}
            _ if self.flags.contains(Flags::DISCOURAGE_UPGRADABLE_PUBKEYTYPE) => {
                return Err(ScriptError::DiscourageUpgradablePubkeyType);
            }
            _ => {}
        }
        Ok(given)
    }

    /// A count on the stack that must be in `0..=max`.
    fn count(&self, depth: usize, max: usize, error: ScriptError) -> Result<usize, ScriptError> {
        usize::try_from(self.number(depth)?).ok().filter(|&count| count <= max).ok_or(error)
    }

    /// `dummy [signature ...] signatures [key ...] keys`, all taken off the stack. Signatures must come in the order
    /// of their keys; they are matched from the last.
    fn check_multisig(&mut self) -> Result<bool, ScriptError> {
        let keys = self.count(0, MAX_MULTISIG_KEYS, ScriptError::PubkeyCount)?;
        self.ops += keys;
        if self.ops > MAX_OPS {
            return Err(ScriptError::OpCount);
        }
        let signatures = self.count(keys + 1, keys, ScriptError::SigCount)?;
        let items = keys + signatures + 2;
        self.need(items + 1)?;
        let first_signature = keys + 2;

        let mut code = std::borrow::Cow::Borrowed(&self.script[self.code_start..]);
        for at in 0..signatures {
            code = self.script_code(code, self.peek(first_signature + at)?.bytes())?;
        }
        let (mut next_signature, mut next_key) = (0, 0);
        // While the keys left are enough for the signatures left.
        while next_signature < signatures && signatures - next_signature <= keys - next_key {
            let (signature, key) = (self.peek(first_signature + next_signature)?, self.peek(1 + next_key)?);
            let (signature, key) = (signature.bytes(), key.bytes());
            check_signature_encoding(signature, self.flags)?;
            check_key_encoding(key, self.flags, self.version)?;
            if self.checker.ecdsa(signature, key, &code, self.version, &mut self.memo) {
                next_signature += 1;
            }
            next_key += 1;
        }
        let good = next_signature == signatures;
        if !good && self.flags.contains(Flags::NULLFAIL) {
            for at in 0..signatures {
                if !self.peek(first_signature + at)?.bytes().is_empty() {
                    return Err(ScriptError::SigNullFail);
                }
            }
        }
        self.drop_items(items);
        let dummy = self.peek(0)?;
        if self.flags.contains(Flags::NULLDUMMY) && !dummy.bytes().is_empty() {
            return Err(ScriptError::SigNullDummy);
        }
        self.drop_items(1);
        Ok(good)
    }
}
