//! Signatures and lock times of one input, checked against its transaction.

use std::borrow::Cow;

use lode_primitives::SEQUENCE_FINAL;
use secp256k1::{Message, PublicKey, SECP256K1, XOnlyPublicKey, ecdsa, schnorr};

use crate::instruction::Instructions;
use crate::sighash::{SighashMemo, SighashType, TapLeaf, TxSighashes};
use crate::{Flags, ScriptError, build};

/// Signatures found good before, so that a block need not check again what the mempool has checked. Shared among
/// threads; the implementor bounds it. A key commits to hash, key and signature; salt it against chosen collisions
/// of a table's buckets.
pub trait SignatureCache: Sync {
    /// True where `key` was inserted and is still kept.
    fn contains(&self, key: &[u8; 32]) -> bool;
    /// Keeps `key`.
    fn insert(&self, key: [u8; 32]);
}

/// Which rules an executed script is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SigVersion {
    /// Outside witnesses.
    Base,
    /// In a version-0 witness program (BIP143).
    WitnessV0,
    /// BIP342.
    Tapscript,
}

/// One input of a transaction, as scripts see it.
#[derive(Clone, Copy)]
pub struct Checker<'a> {
    sighashes: &'a TxSighashes<'a>,
    index: usize,
    cache: Option<&'a dyn SignatureCache>,
}

/// Sequence bits of relative lock times (BIP68).
const SEQUENCE_DISABLED: u32 = 1 << 31;
const SEQUENCE_TIME: u32 = 1 << 22;
const SEQUENCE_MASK: u32 = 0xffff;
/// Lock times below are heights, others Unix times.
const LOCK_TIME_THRESHOLD: i64 = 500_000_000;

impl<'a> Checker<'a> {
    /// Checks for input `index` of the transaction.
    ///
    /// # Panics
    /// Where there is no such input.
    pub fn new(sighashes: &'a TxSighashes<'a>, index: usize, cache: Option<&'a dyn SignatureCache>) -> Self {
        assert!(index < sighashes.tx().inputs.len(), "input index within the transaction");
        Self { sighashes, index, cache }
    }

    /// An ECDSA signature with its type byte, by a key in any encoding, over `script_code`.
    pub(crate) fn ecdsa(
        &self,
        signature: &[u8],
        key: &[u8],
        script_code: &[u8],
        version: SigVersion,
        memo: &mut SighashMemo,
    ) -> bool {
        let Some((&hash_type, der)) = signature.split_last() else { return false };
        if !is_valid_key_size(key) {
            return false;
        }
        let hash_type = SighashType(u32::from(hash_type));
        let witness = version == SigVersion::WitnessV0;
        let hash = memo.sighash(self.sighashes, self.index, script_code, hash_type, witness);
        self.cached(b'E', &hash, key, der, || {
            let (Ok(key), Ok(mut signature)) =
                (PublicKey::from_slice(key), ecdsa::Signature::from_der_lax(der))
            else {
                return false;
            };
            signature.normalize_s();
            SECP256K1.verify_ecdsa(&Message::from_digest(hash), &signature, &key).is_ok()
        })
    }

    /// A Schnorr signature (BIP340) of 64 bytes, or 65 with a type.
    pub(crate) fn schnorr(
        &self,
        signature: &[u8],
        key: &[u8],
        annex_hash: Option<&[u8; 32]>,
        leaf: Option<TapLeaf>,
    ) -> Result<(), ScriptError> {
        let (signature, hash_type) = match signature.len() {
            64 => (signature, 0),
            65 if signature[64] != 0 => (&signature[..64], signature[64]),
            65 => return Err(ScriptError::SchnorrSigHashtype),
            _ => return Err(ScriptError::SchnorrSigSize),
        };
        let hash = self
            .sighashes
            .taproot_with_annex_hash(self.index, hash_type, annex_hash, leaf)
            .ok_or(ScriptError::SchnorrSigHashtype)?;
        let good = self.cached(b'S', &hash, key, signature, || {
            let (Ok(key), Ok(signature)) =
                (XOnlyPublicKey::from_slice(key), schnorr::Signature::from_slice(signature))
            else {
                return false;
            };
            SECP256K1.verify_schnorr(&signature, &Message::from_digest(hash), &key).is_ok()
        });
        if good { Ok(()) } else { Err(ScriptError::SchnorrSig) }
    }

    fn cached(
        &self,
        kind: u8,
        hash: &[u8; 32],
        key: &[u8],
        signature: &[u8],
        check: impl FnOnce() -> bool,
    ) -> bool {
        let Some(cache) = self.cache else { return check() };
        let mut bytes = Vec::with_capacity(34 + key.len() + signature.len());
        bytes.push(kind);
        bytes.extend_from_slice(hash);
        bytes.push(key.len() as u8); // 32, 33 or 65 here
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(signature);
        let entry = lode_primitives::sha256(&bytes);
        if cache.contains(&entry) {
            return true;
        }
        let good = check();
        if good {
            cache.insert(entry);
        }
        good
    }

    /// BIP65: whether the transaction cannot be mined before `lock_time`.
    pub(crate) fn lock_time(&self, lock_time: i64) -> bool {
        let tx = self.sighashes.tx();
        let of_tx = i64::from(tx.lock_time);
        (of_tx < LOCK_TIME_THRESHOLD) == (lock_time < LOCK_TIME_THRESHOLD)
            && lock_time <= of_tx
            && tx.inputs[self.index].sequence != SEQUENCE_FINAL
    }

    /// BIP112: whether the input's relative lock is at least `sequence`.
    pub(crate) fn sequence(&self, sequence: i64) -> bool {
        let tx = self.sighashes.tx();
        let of_input = tx.inputs[self.index].sequence;
        // Versions compare as unsigned numbers.
        if (tx.version as u32) < 2 || of_input & SEQUENCE_DISABLED != 0 {
            return false;
        }
        let mask = SEQUENCE_TIME | SEQUENCE_MASK;
        let (of_input, asked) = (of_input & mask, (sequence & i64::from(mask)) as u32);
        (of_input < SEQUENCE_TIME) == (asked < SEQUENCE_TIME) && asked <= of_input
    }
}

/// True where a key's first byte and its length fit: compressed, uncompressed or hybrid.
pub(crate) fn is_valid_key_size(key: &[u8]) -> bool {
    matches!((key.first(), key.len()), (Some(2 | 3), 33) | (Some(4 | 6 | 7), 65))
}

/// The signature's form, so far as `flags` ask for it (BIP66, BIP62).
pub(crate) fn check_signature_encoding(signature: &[u8], flags: Flags) -> Result<(), ScriptError> {
    let Some((&hash_type, der)) = signature.split_last() else { return Ok(()) };
    if flags.intersects(Flags::DERSIG | Flags::LOW_S | Flags::STRICTENC) && !is_valid_der_signature(signature)
    {
        return Err(ScriptError::SigDer);
    }
    if flags.contains(Flags::LOW_S) && !is_low_s(der) {
        return Err(ScriptError::SigHighS);
    }
    if flags.contains(Flags::STRICTENC) && !matches!(hash_type & 0x7f, 1..=3) {
        return Err(ScriptError::SigHashtype);
    }
    Ok(())
}

/// The key's form, so far as `flags` ask for it.
pub(crate) fn check_key_encoding(key: &[u8], flags: Flags, version: SigVersion) -> Result<(), ScriptError> {
    let compressed = matches!((key.first(), key.len()), (Some(2 | 3), 33));
    if flags.contains(Flags::STRICTENC) && !compressed && !matches!((key.first(), key.len()), (Some(4), 65)) {
        return Err(ScriptError::PubkeyType);
    }
    if flags.contains(Flags::WITNESS_PUBKEYTYPE) && version == SigVersion::WitnessV0 && !compressed {
        return Err(ScriptError::WitnessPubkeyType);
    }
    Ok(())
}

fn is_low_s(der: &[u8]) -> bool {
    let Ok(signature) = ecdsa::Signature::from_der_lax(der) else { return false };
    let mut low = signature;
    low.normalize_s();
    low == signature
}

/// BIP66: `signature`, its type byte included, is strict DER: `30 len 02 len R 02 len S`, both numbers positive and
/// in their shortest form.
pub fn is_valid_der_signature(signature: &[u8]) -> bool {
    fn integer(bytes: &[u8]) -> Option<&[u8]> {
        let (&[tag, len], rest) = bytes.split_first_chunk::<2>()?;
        let (number, rest) = rest.split_at_checked(usize::from(len))?;
        let good = tag == 2
            && match number {
                [] => false,
                [0, second, ..] => second & 0x80 != 0,
                [first, ..] => first & 0x80 == 0,
            };
        good.then_some(rest)
    }
    let (9..=73, [0x30, len, rest @ .., _]) = (signature.len(), signature) else { return false };
    usize::from(*len) == rest.len() && integer(rest).and_then(integer).is_some_and(<[u8]>::is_empty)
}

/// The script code a legacy signature signs: `script` without every push of the signature in it. The flag says
/// whether there was any.
pub(crate) fn find_and_delete<'s>(script: &'s [u8], signature: &[u8]) -> (Cow<'s, [u8]>, bool) {
    let mut pattern = Vec::with_capacity(signature.len() + 5);
    build::push_bytes(signature, &mut pattern);
    if !script.windows(pattern.len()).any(|window| window == pattern) {
        return (Cow::Borrowed(script), false);
    }
    let mut kept = Vec::with_capacity(script.len());
    let (mut at, mut found) = (0, false);
    loop {
        while script[at..].starts_with(&pattern) {
            at += pattern.len();
            found = true;
        }
        let mut ops = Instructions::new(&script[at..]);
        let step = ops.next();
        if !matches!(step, Some(Ok(_))) {
            kept.extend_from_slice(&script[at..]);
            break;
        }
        kept.extend_from_slice(&script[at..at + ops.position()]);
        at += ops.position();
    }
    if found { (Cow::Owned(kept), true) } else { (Cow::Borrowed(script), false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_only_whole_pushes_at_instruction_boundaries() {
        // A push of 02 03; the same bytes inside another push stay.
        let script = [2, 2, 3, 0x51, 3, 2, 2, 3, 2, 2, 3, 0x52];
        let (kept, found) = find_and_delete(&script, &[2, 3]);
        assert!(found);
        assert_eq!(*kept, [0x51, 3, 2, 2, 3, 0x52]);
        let inside = [3, 2, 2, 3];
        assert_eq!(find_and_delete(&inside, &[2, 3]), (Cow::Borrowed(&inside[..]), false));
        // A broken tail is kept as it is.
        let (kept, found) = find_and_delete(&[1, 9, 0x4c, 9], &[9]);
        assert!(found);
        assert_eq!(*kept, [0x4c, 9]);
    }
}
