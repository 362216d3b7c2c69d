//! Script: the interpreter up to taproot, signature hashes, sigop counts, standard templates.
//!
//! Floor 2 of the house: no IO, no clock, no coin's name. `chain` calls [`verify_input`] once per input of a block or
//! of a transaction for the mempool, with the [`Flags`] that are in force there, and shares one [`TxSighashes`]
//! among the inputs of a transaction. `wallet`, `pool` and the RPC use [`classify`], the builders in [`build`], [`asm`]
//! and [`sign`].
//!
//! The rules are those of BIP16, 65, 66, 112, 141, 143, 147, 341 and 342, and of the reference client where no BIP
//! says it. Scripts are borrowed from the transaction all the way: executing one allocates its stack, once.
//!
//! ```
//! use lode_primitives::{Amount, OutPoint, Transaction, TxIn, TxOut, Witness};
//! use lode_script::{Flags, TxSighashes, verify_input};
//!
//! // An output anyone can spend (OP_1), and a spend of it.
//! let spent = TxOut { value: Amount::from_sat(50), script_pubkey: vec![0x51] };
//! let input =
//!     TxIn { prevout: OutPoint::default(), script_sig: vec![], sequence: 0, witness: Witness::default() };
//! let tx = Transaction { version: 2, inputs: vec![input], outputs: vec![], lock_time: 0, data: None };
//! let sighashes = TxSighashes::new(&tx, [&spent]);
//! assert_eq!(verify_input(&sighashes, 0, Flags::MANDATORY, None), Ok(()));
//! ```

mod asm;
pub mod build;
mod checker;
mod classify;
mod error;
mod eval;
mod flags;
mod instruction;
mod item;
pub mod num;
pub mod opcode;
mod sighash;
pub mod sign;
mod sigops;
mod verify;

pub use asm::{asm, asm_with_sighash_types};
pub use checker::{Checker, SignatureCache, is_valid_der_signature};
pub use classify::{ScriptKind, classify, is_push_only, is_unspendable, witness_program};
pub use error::ScriptError;
pub use flags::Flags;
pub use instruction::{Instruction, Instructions, has_valid_ops};
pub use sighash::{SighashType, TapLeaf, TxSighashes, legacy_sighash, tapbranch_hash, tapleaf_hash};
pub use sigops::{count_sigops, last_push, p2sh_sigops, tx_legacy_sigops, tx_sigop_cost, witness_sigops};
pub use verify::{verify, verify_input};

/// The longest script executed outside tapscript, in bytes.
pub const MAX_SCRIPT_SIZE: usize = 10_000;
/// The longest stack item, in bytes.
pub const MAX_ITEM_SIZE: usize = 520;
/// The most operations above `OP_16` in one script outside tapscript; a multisig counts its keys too.
pub const MAX_OPS: usize = 201;
/// The most items on the stack and the alternative stack together.
pub const MAX_STACK_ITEMS: usize = 1_000;
/// The most keys of one `OP_CHECKMULTISIG`.
pub const MAX_MULTISIG_KEYS: usize = 20;
/// How many weight units one sigop outside witnesses costs, and base bytes weigh (BIP141).
pub const WITNESS_SCALE: usize = 4;
/// First byte of a taproot annex (BIP341).
pub const ANNEX_TAG: u8 = 0x50;
/// The leaf version of tapscript (BIP342).
pub const TAPSCRIPT_LEAF: u8 = 0xc0;
