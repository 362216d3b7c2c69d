//! Signing, for the wallet and for tests. Keys are the caller's; nothing is kept.

use lode_primitives::{Witness, hash160, tagged_hash};
use secp256k1::{Keypair, Message, SECP256K1, Scalar, SecretKey, XOnlyPublicKey};

use crate::{ScriptKind, SighashType, TxSighashes, build, classify};

/// Why an input was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The output is of a kind that one key alone does not sign for.
    #[error("an output of kind {0} is not signed for by one key")]
    Kind(&'static str),
    /// The output belongs to another key.
    #[error("the output belongs to another key than the one given")]
    OtherKey,
    /// The signature type is not defined for taproot, or has no output to cover.
    #[error("signature type {0:#x} does not fit the input")]
    HashType(u32),
    /// The tweaked key is not a key; happens with chance 2^-128.
    #[error("the key has no taproot tweak")]
    Tweak,
}

/// An ECDSA signature of `hash` with its type byte: strict DER, S low, as a script takes it.
pub fn ecdsa(hash: [u8; 32], key: &SecretKey, hash_type: SighashType) -> Vec<u8> {
    let signature = SECP256K1.sign_ecdsa(&Message::from_digest(hash), key);
    let mut bytes = signature.serialize_der().to_vec();
    bytes.push(hash_type.0 as u8);
    bytes
}

/// The tweak of an internal key (BIP341); `merkle_root` of its scripts, where it has any.
pub fn taproot_tweak(internal: &XOnlyPublicKey, merkle_root: Option<&[u8; 32]>) -> [u8; 32] {
    tagged_hash("TapTweak", &[&internal.serialize(), merkle_root.map_or(&[][..], |root| root)])
}

/// The output key of an internal key, and whether it has an odd Y (for a control block).
pub fn taproot_output_key(
    internal: &XOnlyPublicKey,
    merkle_root: Option<&[u8; 32]>,
) -> Result<(XOnlyPublicKey, bool), SignError> {
    let tweak = Scalar::from_be_bytes(taproot_tweak(internal, merkle_root)).map_err(|_| SignError::Tweak)?;
    let (key, parity) = internal.add_tweak(SECP256K1, &tweak).map_err(|_| SignError::Tweak)?;
    Ok((key, parity == secp256k1::Parity::Odd))
}

/// The secret key of the output key (BIP341).
pub fn taproot_tweaked_key(key: &SecretKey, merkle_root: Option<&[u8; 32]>) -> Result<Keypair, SignError> {
    let keypair = Keypair::from_secret_key(SECP256K1, key);
    let tweak = Scalar::from_be_bytes(taproot_tweak(&keypair.x_only_public_key().0, merkle_root))
        .map_err(|_| SignError::Tweak)?;
    keypair.add_xonly_tweak(SECP256K1, &tweak).map_err(|_| SignError::Tweak)
}

/// A Schnorr signature (BIP340, no auxiliary randomness) of `hash`, with its type byte unless it is the default.
pub fn schnorr(hash: [u8; 32], keypair: &Keypair, hash_type: SighashType) -> Vec<u8> {
    let signature = SECP256K1.sign_schnorr_no_aux_rand(&Message::from_digest(hash), keypair);
    let mut bytes = signature.as_ref().to_vec();
    if hash_type != SighashType::DEFAULT {
        bytes.push(hash_type.0 as u8);
    }
    bytes
}

/// Script and witness that let `key` spend input `index`: P2PK, P2PKH, P2WPKH, P2WPKH in P2SH, and P2TR by its key path
/// with no scripts. `ALL` is taken as taproot's default there. The transaction must be complete but for signatures.
pub fn input(
    sighashes: &TxSighashes<'_>,
    index: usize,
    key: &SecretKey,
    hash_type: SighashType,
) -> Result<(Vec<u8>, Witness), SignError> {
    let script = &sighashes.spent(index).script_pubkey;
    let public = key.public_key(SECP256K1);
    let (compressed, uncompressed) = (public.serialize(), public.serialize_uncompressed());
    let own_hash = hash160(&compressed);
    let own = |is: bool| if is { Ok(()) } else { Err(SignError::OtherKey) };
    let segwit = || {
        let hash = sighashes.segwit_v0(index, &build::p2pkh(&own_hash), hash_type);
        Witness(vec![ecdsa(hash, key, hash_type), compressed.to_vec()])
    };
    let legacy = || ecdsa(sighashes.legacy(index, script, hash_type), key, hash_type);
    let mut script_sig = Vec::new();
    match classify(script) {
        ScriptKind::PubKey(locked) => {
            own(locked == compressed || locked == uncompressed)?;
            build::push_bytes(&legacy(), &mut script_sig);
            Ok((script_sig, Witness::default()))
        }
        ScriptKind::PubKeyHash(hash) => {
            let shown = if *hash == own_hash { &compressed[..] } else { &uncompressed[..] };
            own(hash160(shown) == *hash)?;
            build::push_bytes(&legacy(), &mut script_sig);
            build::push_bytes(shown, &mut script_sig);
            Ok((script_sig, Witness::default()))
        }
        ScriptKind::WitnessV0KeyHash(hash) => {
            own(*hash == own_hash)?;
            Ok((script_sig, segwit()))
        }
        ScriptKind::ScriptHash(hash) => {
            let redeem = build::p2wpkh(&own_hash);
            own(hash160(&redeem) == *hash)?;
            build::push_bytes(&redeem, &mut script_sig);
            Ok((script_sig, segwit()))
        }
        ScriptKind::WitnessV1Taproot(output_key) => {
            let keypair = taproot_tweaked_key(key, None)?;
            own(keypair.x_only_public_key().0.serialize() == *output_key)?;
            let hash_type = if hash_type == SighashType::ALL { SighashType::DEFAULT } else { hash_type };
            let hash = sighashes
                .taproot(index, hash_type.0 as u8, None, None)
                .ok_or(SignError::HashType(hash_type.0))?;
            Ok((script_sig, Witness(vec![schnorr(hash, &keypair, hash_type)])))
        }
        other => Err(SignError::Kind(other.name())),
    }
}
