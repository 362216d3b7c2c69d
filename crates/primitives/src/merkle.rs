//! Merkle trees over transaction ids: root, branch, and partial trees (BIP37).

use crate::encode::{Decode, DecodeError, Encode, Form, Reader, encode_bytes, encode_compact_size};
use crate::{MerkleNode, Txid};

/// The root over `leaves`, and whether the tree was mutated: two equal nodes side by side where an honest tree has
/// none, by which different transaction lists can share a root (CVE-2012-2459). No leaves give zero.
pub fn root(leaves: Vec<[u8; 32]>) -> (MerkleNode, bool) {
    let mut level = leaves;
    let mut mutated = false;
    if level.is_empty() {
        return (MerkleNode::ZERO, false);
    }
    while level.len() > 1 {
        mutated |= level.chunks_exact(2).any(|pair| pair[0] == pair[1]);
        level = next_level(level);
    }
    (MerkleNode(level[0]), mutated)
}

/// Hashes pairs into the next level; an odd last node is paired with itself.
fn next_level(mut level: Vec<[u8; 32]>) -> Vec<[u8; 32]> {
    if level.len() % 2 == 1 {
        level.extend(level.last().copied());
    }
    let pairs: Vec<[u8; 64]> = level
        .chunks_exact(2)
        .map(|pair| {
            let mut both = [0; 64];
            both[..32].copy_from_slice(&pair[0]);
            both[32..].copy_from_slice(&pair[1]);
            both
        })
        .collect();
    level.truncate(pairs.len());
    bitcoin_hashes::sha256d::Hash::hash_64_many(&mut level, &pairs);
    level
}

/// SHA-256d of two nodes side by side.
pub fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    crate::sha256d(&both)
}

/// The branch of the leaf at `index`: its sibling on each level, from the leaves upwards. For index 0 this is what a
/// miner needs to put another coinbase into the tree; the first leaf's own value does not matter then.
///
/// # Panics
/// Where `index` is not below the number of leaves.
pub fn branch(leaves: Vec<[u8; 32]>, mut index: usize) -> Vec<[u8; 32]> {
    assert!(index < leaves.len(), "leaf {index} of {}", leaves.len());
    let mut level = leaves;
    let mut branch = Vec::new();
    while level.len() > 1 {
        let sibling = (index ^ 1).min(level.len() - 1);
        branch.push(level[sibling]);
        level = next_level(level);
        index /= 2;
    }
    branch
}

/// The root that `leaf` at `index` and its `branch` lead to.
pub fn root_from_branch(leaf: [u8; 32], branch: &[[u8; 32]], mut index: usize) -> MerkleNode {
    let mut node = leaf;
    for sibling in branch {
        node = if index & 1 == 1 { parent(sibling, &node) } else { parent(&node, sibling) };
        index >>= 1;
    }
    MerkleNode(node)
}

/// A Merkle tree cut down to the branches of some matched leaves, as `merkleblock` messages and `gettxoutproof`
/// carry it (BIP37).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialTree {
    total: u32,
    flags: Vec<bool>,
    hashes: Vec<[u8; 32]>,
}

/// Why a partial tree proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartialTreeError {
    /// No transactions at all, or more than a block can hold.
    #[error("a partial tree over {0} transactions")]
    Count(u32),
    /// Hashes or flag bits missing.
    #[error("hashes or flag bits are missing")]
    Short,
    /// Hashes or flag bits left over.
    #[error("hashes or flag bits are left over")]
    Trailing,
    /// Two equal nodes side by side.
    #[error("two equal nodes side by side")]
    Duplicate,
}

/// Leaf bound for partial trees: a block's weight over the least weight of a transaction (BIP37 with BIP141).
const MAX_LEAVES: u32 = 4_000_000 / 240;

impl PartialTree {
    /// How many leaves the whole tree is said to have.
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// The tree over `txids` cut down to the leaves for which `matches` is true.
    ///
    /// # Panics
    /// Where the lengths differ or there is no transaction.
    pub fn new(txids: &[Txid], matches: &[bool]) -> Self {
        assert!(!txids.is_empty() && txids.len() == matches.len());
        let mut levels = vec![txids.iter().map(|txid| txid.0).collect::<Vec<_>>()];
        while levels[levels.len() - 1].len() > 1 {
            levels.push(next_level(levels[levels.len() - 1].clone()));
        }
        let mut tree = Self { total: txids.len() as u32, flags: Vec::new(), hashes: Vec::new() };
        tree.build(&levels, levels.len() - 1, 0, matches);
        tree
    }

    fn build(&mut self, levels: &[Vec<[u8; 32]>], height: usize, position: usize, matches: &[bool]) {
        let first = position << height;
        let last = ((position + 1) << height).min(matches.len());
        let matched = matches[first..last].contains(&true);
        self.flags.push(matched);
        if height == 0 || !matched {
            self.hashes.push(levels[height][position]);
            return;
        }
        self.build(levels, height - 1, position * 2, matches);
        if position * 2 + 1 < levels[height - 1].len() {
            self.build(levels, height - 1, position * 2 + 1, matches);
        }
    }

    /// The root, and the matched transactions with their places in the block.
    pub fn extract(&self) -> Result<(MerkleNode, Vec<(u32, Txid)>), PartialTreeError> {
        if self.total == 0 || self.total > MAX_LEAVES {
            return Err(PartialTreeError::Count(self.total));
        }
        if self.hashes.len() > self.total as usize || self.flags.len() < self.hashes.len() {
            return Err(PartialTreeError::Short);
        }
        let mut height = 0;
        while self.width(height) > 1 {
            height += 1;
        }
        let mut walk = Walk { tree: self, flag: 0, hash: 0, matched: Vec::new() };
        let root = walk.descend(height, 0)?;
        if walk.flag.div_ceil(8) != self.flags.len().div_ceil(8) || walk.hash != self.hashes.len() {
            return Err(PartialTreeError::Trailing);
        }
        Ok((MerkleNode(root), walk.matched))
    }

    fn width(&self, height: u32) -> u32 {
        (self.total + (1 << height) - 1) >> height
    }
}

struct Walk<'a> {
    tree: &'a PartialTree,
    flag: usize,
    hash: usize,
    matched: Vec<(u32, Txid)>,
}

impl Walk<'_> {
    fn descend(&mut self, height: u32, position: u32) -> Result<[u8; 32], PartialTreeError> {
        let matched = *self.tree.flags.get(self.flag).ok_or(PartialTreeError::Short)?;
        self.flag += 1;
        if height == 0 || !matched {
            let hash = *self.tree.hashes.get(self.hash).ok_or(PartialTreeError::Short)?;
            self.hash += 1;
            if height == 0 && matched {
                self.matched.push((position, Txid(hash)));
            }
            return Ok(hash);
        }
        let left = self.descend(height - 1, position * 2)?;
        if position * 2 + 1 >= self.tree.width(height - 1) {
            return Ok(parent(&left, &left));
        }
        let right = self.descend(height - 1, position * 2 + 1)?;
        if left == right {
            return Err(PartialTreeError::Duplicate);
        }
        Ok(parent(&left, &right))
    }
}

impl Encode for PartialTree {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.total.to_le_bytes());
        encode_compact_size(self.hashes.len() as u64, out);
        for hash in &self.hashes {
            out.extend_from_slice(hash);
        }
        let mut bits = vec![0u8; self.flags.len().div_ceil(8)];
        for (i, _) in self.flags.iter().enumerate().filter(|(_, flag)| **flag) {
            bits[i / 8] |= 1 << (i % 8);
        }
        encode_bytes(&bits, out);
    }
}

impl Decode for PartialTree {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        let total = reader.u32_le()?;
        let count = reader.count(32)?;
        let hashes = (0..count).map(|_| reader.array()).collect::<Result<Vec<_>, _>>()?;
        let bits = reader.bytes("flag bits", MAX_LEAVES as usize)?;
        let flags = bits.iter().flat_map(|byte| (0..8).map(move |i| byte >> i & 1 == 1)).collect();
        Ok(Self { total, flags, hashes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(n: usize) -> Vec<[u8; 32]> {
        (0..n).map(|i| crate::sha256d(&(i as u64).to_le_bytes())).collect()
    }

    #[test]
    fn one_leaf_is_the_root_and_a_doubled_tail_is_seen() {
        assert_eq!(root(leaves(1)), (MerkleNode(leaves(1)[0]), false));
        let mut doubled = leaves(6);
        doubled.extend_from_slice(&leaves(6)[4..]);
        let (honest, clean) = root(leaves(6));
        let (same, mutated) = root(doubled);
        assert_eq!(honest, same);
        assert!(!clean && mutated);
    }

    proptest! {
        #[test]
        fn every_branch_leads_to_the_root(n in 1usize..70, pick: prop::sample::Index) {
            let index = pick.index(n);
            let path = branch(leaves(n), index);
            prop_assert_eq!(root_from_branch(leaves(n)[index], &path, index), root(leaves(n)).0);
        }

        #[test]
        fn partial_trees_prove_what_they_match(matches in prop::collection::vec(any::<bool>(), 1..70)) {
            let txids: Vec<Txid> = leaves(matches.len()).into_iter().map(Txid).collect();
            let tree = PartialTree::new(&txids, &matches);
            let read = PartialTree::from_bytes(&tree.to_bytes(), Form::default()).unwrap();
            let (found_root, found) = read.extract().unwrap();
            prop_assert_eq!(found_root, root(leaves(matches.len())).0);
            let wanted: Vec<_> =
                (0..matches.len()).filter(|&i| matches[i]).map(|i| (i as u32, txids[i])).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn strangers_trees_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), total in 0u32..20) {
            let mut whole = total.to_le_bytes().to_vec();
            whole.extend_from_slice(&bytes);
            if let Ok(tree) = PartialTree::decode(&mut Reader::new(&whole), Form::default()) {
                let _ = tree.extract();
            }
        }
    }
}
