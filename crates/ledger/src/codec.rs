//! Bytes of payout snapshots and balance states: for the balances file, and for the pool's journal of found blocks.
//!
//! Little-endian, no padding. A reader gets accounts by script and name from the registry, so that equal accounts stay
//! one.

use std::sync::Arc;

use lode_primitives::{Amount, BlockHash, DecodeError, Reader};

use crate::balances::{Balance, State};
use crate::payout::{Line, PayoutSnapshot, Split};
use crate::registry::{Account, MAX_ACCOUNT_NAME, MAX_SCRIPT, Registry, RegistryError};
use crate::window::Sum;

/// First byte of an encoded snapshot.
const SNAPSHOT_VERSION: u8 = 1;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Cut short, or left over.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of another version.
    #[error("payout snapshot of version {0}, this program knows {SNAPSHOT_VERSION}")]
    Version(u8),
    /// A name that is not UTF-8, or a line that is not there.
    #[error("a payout snapshot with {0}")]
    Nonsense(&'static str),
    /// An account that cannot be entered.
    #[error(transparent)]
    Account(#[from] RegistryError),
}

impl PayoutSnapshot {
    /// As bytes, complete in themselves; [`crate::Ledger::read_snapshot`] reads them back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let split = &*self.split;
        let mut out = Vec::with_capacity(200 + split.lines.len() * 120);
        out.push(SNAPSHOT_VERSION);
        out.extend_from_slice(split.tip.as_bytes());
        out.extend_from_slice(&split.height.to_le_bytes());
        out.extend_from_slice(split.base.as_bytes());
        out.extend_from_slice(&split.made_ms.to_le_bytes());
        out.extend_from_slice(&split.window.units.to_le_bytes());
        out.extend_from_slice(&split.window.shares.to_le_bytes());
        for amount in [split.reward, split.fee, split.payout_min] {
            out.extend_from_slice(&amount.to_sat().to_le_bytes());
        }
        let fee_script = split.fee_script.as_deref().unwrap_or_default();
        out.push(fee_script.len() as u8);
        out.extend_from_slice(fee_script);
        out.extend_from_slice(&(split.lines.len() as u32).to_le_bytes());
        for line in &split.lines {
            encode_account(&line.account, &mut out);
            out.extend_from_slice(&line.units.to_le_bytes());
            out.extend_from_slice(&line.earned.to_le_bytes());
            out.extend_from_slice(&line.before.to_le_bytes());
            out.extend_from_slice(&line.waiting_since.to_le_bytes());
            out.extend_from_slice(&line.seen.to_le_bytes());
            out.push(u8::from(line.written_off));
        }
        out.extend_from_slice(&(self.paid.len() as u32).to_le_bytes());
        for (line, amount) in &self.paid {
            out.extend_from_slice(&line.to_le_bytes());
            out.extend_from_slice(&amount.to_le_bytes());
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8], registry: &mut Registry) -> Result<Self, SnapshotError> {
        let reader = &mut Reader::new(bytes);
        match reader.u8()? {
            SNAPSHOT_VERSION => {}
            version => return Err(SnapshotError::Version(version)),
        }
        let tip = BlockHash(reader.array()?);
        let height = reader.u32_le()?;
        let base = BlockHash(reader.array()?);
        let made_ms = reader.u64_le()?;
        let window = Sum { units: u128::from_le_bytes(reader.array()?), shares: reader.u64_le()? };
        let reward = Amount::from_sat(reader.i64_le()?);
        let fee = Amount::from_sat(reader.i64_le()?);
        let payout_min = Amount::from_sat(reader.i64_le()?);
        let fee_len = usize::from(reader.u8()?);
        let fee_script = reader.take(fee_len)?.to_vec();
        let count = reader.u32_le()? as usize;
        let mut lines = Vec::with_capacity(count.min(reader.remaining() / LINE_MIN));
        for _ in 0..count {
            lines.push(Line {
                account: decode_account(reader, registry)?,
                units: u128::from_le_bytes(reader.array()?),
                earned: reader.i64_le()?,
                before: reader.i64_le()?,
                waiting_since: reader.u32_le()?,
                seen: reader.u32_le()?,
                written_off: reader.u8()? != 0,
            });
        }
        let count = reader.u32_le()? as usize;
        let mut paid = Vec::with_capacity(count.min(reader.remaining() / 12));
        for _ in 0..count {
            let (line, amount) = (reader.u32_le()?, reader.i64_le()?);
            if line as usize >= lines.len() {
                return Err(SnapshotError::Nonsense("a payment to a line it does not have"));
            }
            paid.push((line, amount));
        }
        reader.finish()?;
        let split = Split {
            tip,
            height,
            reward,
            fee,
            fee_script: (!fee_script.is_empty()).then_some(fee_script),
            base,
            lines,
            window,
            made_ms,
            payout_min,
            // Outputs are chosen: it is of no further use.
            output_min: Amount::ZERO,
        };
        Ok(Self { split: Arc::new(split), paid })
    }
}

/// Least bytes of a line.
const LINE_MIN: usize = 4 + 16 + 8 + 8 + 4 + 4 + 1;

pub(crate) fn encode_state(state: &State, out: &mut Vec<u8>) {
    out.extend_from_slice(state.id.as_bytes());
    out.extend_from_slice(&state.height.to_le_bytes());
    out.extend_from_slice(&(state.entries.len() as u32).to_le_bytes());
    for entry in &state.entries {
        encode_account(&entry.account, out);
        out.extend_from_slice(&entry.amount.to_le_bytes());
        out.extend_from_slice(&entry.waiting_since.to_le_bytes());
        out.extend_from_slice(&entry.seen.to_le_bytes());
    }
}

pub(crate) fn decode_state(bytes: &[u8], registry: &mut Registry) -> Result<State, SnapshotError> {
    let reader = &mut Reader::new(bytes);
    let id = BlockHash(reader.array()?);
    let height = reader.u32_le()?;
    let count = reader.u32_le()? as usize;
    let mut entries = Vec::with_capacity(count.min(reader.remaining() / 18));
    for _ in 0..count {
        entries.push(Balance {
            account: decode_account(reader, registry)?,
            amount: reader.i64_le()?,
            waiting_since: reader.u32_le()?,
            seen: reader.u32_le()?,
        });
    }
    reader.finish()?;
    Ok(State { id, height, entries })
}

fn encode_account(account: &Account, out: &mut Vec<u8>) {
    const { assert!(MAX_ACCOUNT_NAME < 256 && MAX_SCRIPT < 256) };
    out.extend_from_slice(&[account.name().len() as u8, account.script().len() as u8]);
    out.extend_from_slice(account.name().as_bytes());
    out.extend_from_slice(account.script());
}

fn decode_account(reader: &mut Reader<'_>, registry: &mut Registry) -> Result<Arc<Account>, SnapshotError> {
    let (name_len, script_len) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
    let name = std::str::from_utf8(reader.take(name_len)?)
        .map_err(|_| SnapshotError::Nonsense("a name that is not UTF-8"))?
        .to_owned();
    Ok(registry.account(&name, reader.take(script_len)?)?)
}

/// A found block as the file of the balances keeps it.
pub(crate) fn encode_found(hash: &BlockHash, snapshot: &PayoutSnapshot) -> Vec<u8> {
    let mut body = hash.as_bytes().to_vec();
    body.extend_from_slice(&snapshot.to_bytes());
    body
}

pub(crate) fn decode_found(
    body: &[u8],
    registry: &mut Registry,
) -> Result<(BlockHash, PayoutSnapshot), SnapshotError> {
    let (hash, snapshot) =
        body.split_first_chunk::<32>().ok_or(SnapshotError::Nonsense("no block hash before it"))?;
    Ok((BlockHash(*hash), PayoutSnapshot::from_bytes(snapshot, registry)?))
}
