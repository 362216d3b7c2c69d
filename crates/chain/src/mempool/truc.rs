//! Transactions of version 3 (BIP431, "topologically restricted until confirmation"): at most one parent and one child
//! of their own kind, both small, so that replacing them is always cheap to judge.

use std::collections::BTreeSet;

use lode_primitives::Transaction;

use super::MempoolError;
use super::graph::{Graph, Slot};

const VERSION: i32 = 3;
/// Virtual bytes of a version 3 transaction at most.
const MAX_VSIZE: usize = 10_000;
/// Virtual bytes of one with a parent that is not in a block yet.
const MAX_CHILD_VSIZE: usize = 1_000;

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
        _ => Err(MempoolError::Truc("the parent has a child already")),
    }
}
