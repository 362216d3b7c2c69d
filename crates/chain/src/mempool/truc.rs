//! Transactions of version 3 (BIP431, "topologically restricted until confirmation"): at most one parent and one child
//! of their own kind, both small, so that replacing them is always cheap to judge.

use std::collections::BTreeSet;

use lode_primitives::{Transaction, Txid};

use super::MempoolError;
use super::graph::{Graph, Slot};

const VERSION: i32 = 3;
/// Virtual bytes of a version 3 transaction at most.
const MAX_VSIZE: usize = 10_000;
/// Virtual bytes of one with a parent that is not in a block yet.
const MAX_CHILD_VSIZE: usize = 1_000;

/// Two children of one parent.
pub(super) const SECOND_CHILD: &str = "the parent has a child already";

/// Checks the rules against the parents in the mempool. `Some` is a sibling that must be replaced for this one to be
/// taken: the parent's only child.
pub(super) fn check(
    graph: &Graph,
    tx: &Transaction,
    vsize: usize,
    parents: &BTreeSet<Slot>,
    conflicts: &BTreeSet<Slot>,
) -> Result<Option<Slot>, MempoolError> {
    let is_truc = tx.version == VERSION;
    for parent in parents {
        let parent_is = graph.get(*parent).tx.version == VERSION;
        if parent_is && !is_truc {
            return Err(MempoolError::Truc("a child of a version 3 transaction must be of version 3"));
        }
        if is_truc && !parent_is {
            return Err(MempoolError::Truc("a parent of a version 3 transaction must be of version 3"));
        }
    }
    if !is_truc {
        return Ok(None);
    }
    if vsize > MAX_VSIZE {
        return Err(MempoolError::Truc("more than 10000 virtual bytes"));
    }
    let mut parents = parents.iter();
    let Some(&parent) = parents.next() else { return Ok(None) };
    if parents.next().is_some() || graph.ancestors(parent).len() > 1 {
        return Err(MempoolError::Truc("more than one ancestor"));
    }
    if vsize > MAX_CHILD_VSIZE {
        return Err(MempoolError::Truc("a child of more than 1000 virtual bytes"));
    }
    let siblings: Vec<Slot> = graph.descendants(parent).into_iter().filter(|slot| *slot != parent).collect();
    if siblings.is_empty() || siblings.iter().any(|slot| conflicts.contains(slot)) {
        return Ok(None);
    }
    match siblings.as_slice() {
        [sibling] if graph.ancestors(*sibling).len() == 2 => Ok(Some(*sibling)),
        _ => Err(MempoolError::Truc(SECOND_CHILD)),
    }
}

/// Checks the rules among transactions that come together and hold to [`check`] each by itself: their ids, virtual
/// bytes and parents in the mempool beside them, parents before children.
pub(super) fn check_package(
    graph: &Graph,
    package: &[(&Transaction, Txid, usize, &BTreeSet<Slot>)],
) -> Result<(), &'static str> {
    let spends = |tx: &Transaction, txid: &Txid| tx.inputs.iter().any(|input| input.prevout.txid == *txid);
    for (at, (tx, txid, vsize, here)) in package.iter().enumerate() {
        let with = || package[..at].iter().filter(|(_, parent, ..)| spends(tx, parent));
        let others = || package.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        if tx.version != VERSION {
            if with().any(|(parent, ..)| parent.version == VERSION) {
                return Err("a child of a version 3 transaction must be of version 3");
            }
            continue;
        }
        if here.len() + with().count() > 1 || here.iter().any(|parent| graph.ancestors(*parent).len() > 1) {
            return Err("more than one ancestor");
        }
        let parent = match (here.first(), with().next()) {
            (Some(slot), _) => (graph.get(*slot).txid, VERSION),
            (None, Some((parent, parent_id, ..))) => (*parent_id, parent.version),
            (None, None) => continue,
        };
        if *vsize > MAX_CHILD_VSIZE {
            return Err("a child of more than 1000 virtual bytes");
        }
        if parent.1 != VERSION {
            return Err("a parent of a version 3 transaction must be of version 3");
        }
        if others().any(|(other, ..)| spends(other, &parent.0)) {
            return Err(SECOND_CHILD);
        }
        if others().any(|(other, ..)| spends(other, txid)) {
            return Err("more than one ancestor");
        }
        if here.iter().any(|slot| graph.descendants(*slot).len() > 1) {
            return Err(SECOND_CHILD);
        }
    }
    Ok(())
}
