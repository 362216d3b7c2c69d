//! The order in which to mine a cluster's transactions: best feerate first, parents before children.
//!
//! A cluster is cut into chunks: the set of transactions, closed under parents, of the greatest feerate is the first;
//! what is left is cut likewise. The result is optimal: no other order has earned more fees at any size. The set is
//! found as a closure of greatest weight, by minimum cuts (Picard 1976) under Dinkelbach's iteration; clusters have at
//! most 64 transactions, so sets are words.

use std::cmp::Ordering;

/// A set of a cluster's transactions, by index.
type Set = u64;

/// Fee and size of a transaction or chunk; a feerate when compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FeeSize {
    /// Satoshi, with what `prioritisetransaction` adds; may be negative.
    pub fee: i64,
    /// Weight units, or the weight that its sigops count for where that is more.
    pub weight: u64,
}

impl FeeSize {
    /// Compares fee by weight, exactly.
    pub fn cmp_rate(&self, other: &Self) -> Ordering {
        let product = |fee: i64, weight: u64| i128::from(fee) * i128::from(weight);
        product(self.fee, other.weight).cmp(&product(other.fee, self.weight))
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self { fee: self.fee.saturating_add(other.fee), weight: self.weight.saturating_add(other.weight) }
    }
}

/// One transaction of a cluster to put in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub rate: FeeSize,
    /// The direct parents in the cluster.
    pub parents: Set,
}

/// The most transactions in a cluster (reference client: `DEFAULT_CLUSTER_LIMIT`).
pub const MAX_CLUSTER_COUNT: usize = 64;

/// A cluster in order: indexes into the nodes given, and for each chunk where it ends in them and what it pays.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Linearization {
    pub order: Vec<usize>,
    pub chunks: Vec<(usize, FeeSize)>,
}

fn members(set: Set) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(set), |rest| Some(rest & rest.wrapping_sub(1)))
        .take_while(|rest| *rest != 0)
        .map(|rest| rest.trailing_zeros() as usize)
}

/// Puts at most [`MAX_CLUSTER_COUNT`] nodes in order. Parents must not form a circle (transactions cannot).
pub(crate) fn linearize(nodes: &[Node]) -> Linearization {
    debug_assert!(nodes.len() <= MAX_CLUSTER_COUNT);
    if let [node] = nodes {
        return Linearization { order: vec![0], chunks: vec![(1, node.rate)] };
    }
    let ancestors = ancestor_sets(nodes);
    let mut left: Set = if nodes.len() == 64 { !0 } else { (1 << nodes.len()) - 1 };
    let mut result = Linearization::default();
    while left != 0 {
        let (chunk, rate) = best_closure(nodes, &ancestors, left);
        append_in_order(&ancestors, left, chunk, &mut result.order);
        result.chunks.push((result.order.len(), rate));
        left &= !chunk;
    }
    result
}

/// Each node's ancestors, itself among them.
fn ancestor_sets(nodes: &[Node]) -> Vec<Set> {
    let mut sets: Vec<Set> = (0..nodes.len()).map(|at| 1 << at | nodes[at].parents).collect();
    // Sets grow until nothing changes: at most as many rounds as the longest chain, few in practice.
    loop {
        let mut changed = false;
        for at in 0..sets.len() {
            let grown = members(sets[at]).fold(sets[at], |set, ancestor| set | sets[ancestor]);
            changed |= grown != sets[at];
            sets[at] = grown;
        }
        if !changed {
            return sets;
        }
    }
}

/// Ancestors have fewer ancestors than what descends from them: sorting by their number is a topological order.
fn append_in_order(ancestors: &[Set], left: Set, chunk: Set, order: &mut Vec<usize>) {
    let start = order.len();
    order.extend(members(chunk));
    order[start..].sort_by_key(|&at| ((ancestors[at] & left).count_ones(), at));
}

fn rate_of(nodes: &[Node], set: Set) -> FeeSize {
    members(set).fold(FeeSize::default(), |sum, at| sum.plus(nodes[at].rate))
}

/// The subset of `left`, closed under parents, of the greatest feerate.
fn best_closure(nodes: &[Node], ancestors: &[Set], left: Set) -> (Set, FeeSize) {
    // The best ancestor set is a good start, and often the answer.
    let mut best = (0, FeeSize::default());
    for at in members(left) {
        let set = ancestors[at] & left;
        let rate = rate_of(nodes, set);
        if best.0 == 0 || rate.cmp_rate(&best.1).is_gt() {
            best = (set, rate);
        }
    }
    loop {
        let better = heaviest_closure(nodes, left, best.1);
        let rate = rate_of(nodes, better);
        if better == 0 || rate.cmp_rate(&best.1).is_le() {
            return best;
        }
        best = (better, rate);
    }
}

/// The subset of `left`, closed under parents, whose fees are the most above what they would be at feerate `at_rate`;
/// empty where none is above. As a cut: the source feeds nodes that pay more than the rate, those that pay less drain
/// to the sink, and a child may always pass on to its parents.
fn heaviest_closure(nodes: &[Node], left: Set, at_rate: FeeSize) -> Set {
    let excess = |at: usize| {
        let rate = nodes[at].rate;
        i128::from(rate.fee) * i128::from(at_rate.weight) - i128::from(at_rate.fee) * i128::from(rate.weight)
    };
    let mut flow = Flow::new(nodes.len());
    for at in members(left) {
        flow.excess[at] = excess(at);
    }
    flow.run(nodes, left)
}

/// Flow from nodes with an excess to nodes with a lack, along child-to-parent edges without bound and back along what
/// was sent. Augments along shortest paths.
struct Flow {
    excess: Vec<i128>,
    /// What was sent from child to parent: `sent[parent]` lists (child, amount).
    sent: Vec<Vec<(usize, i128)>>,
}

impl Flow {
    fn new(nodes: usize) -> Self {
        Self { excess: vec![0; nodes], sent: vec![Vec::new(); nodes] }
    }

    /// Sends what can be sent; gives the nodes that an excess still reaches.
    fn run(&mut self, nodes: &[Node], left: Set) -> Set {
        loop {
            let sources =
                members(left).filter(|&at| self.excess[at] > 0).fold(0, |set: Set, at| set | 1 << at);
            if sources == 0 {
                return 0;
            }
            match self.path(nodes, left, sources) {
                Ok(path) => self.send(nodes, &path),
                Err(reached) => return reached,
            }
        }
    }

    /// A shortest path from a source to a node with a lack, or all that the sources reach.
    fn path(&self, nodes: &[Node], left: Set, sources: Set) -> Result<Vec<usize>, Set> {
        let mut from = [usize::MAX; MAX_CLUSTER_COUNT];
        let mut seen = sources;
        let mut queue: Vec<usize> = members(sources).collect();
        let mut next = 0;
        while let Some(&at) = queue.get(next) {
            next += 1;
            if self.excess[at] < 0 {
                let mut path = vec![at];
                let mut step = at;
                while from[step] != usize::MAX {
                    step = from[step];
                    path.push(step);
                }
                path.reverse();
                return Ok(path);
            }
            let back = self.sent[at].iter().filter(|(_, amount)| *amount > 0);
            let back = back.fold(0, |set: Set, (child, _)| set | 1 << child);
            for to in members((nodes[at].parents | back) & left & !seen) {
                seen |= 1 << to;
                from[to] = at;
                queue.push(to);
            }
        }
        Err(seen)
    }

    fn send(&mut self, nodes: &[Node], path: &[usize]) {
        let (Some(&first), Some(&last)) = (path.first(), path.last()) else { return };
        let mut amount = self.excess[first].min(-self.excess[last]);
        let is_forward = |from: usize, to: usize| nodes[from].parents >> to & 1 == 1;
        for step in path.windows(2) {
            if !is_forward(step[0], step[1]) {
                amount = amount.min(self.sent_amount(step[1], step[0]));
            }
        }
        self.excess[first] -= amount;
        self.excess[last] += amount;
        for step in path.windows(2) {
            let (from, to) = (step[0], step[1]);
            if is_forward(from, to) {
                match self.sent[to].iter_mut().find(|(child, _)| *child == from) {
                    Some((_, sent)) => *sent += amount,
                    None => self.sent[to].push((from, amount)),
                }
            } else if let Some((_, sent)) = self.sent[from].iter_mut().find(|(child, _)| *child == to) {
                *sent -= amount;
            }
        }
    }

    fn sent_amount(&self, child: usize, parent: usize) -> i128 {
        self.sent[parent].iter().find(|(at, _)| *at == child).map_or(0, |(_, amount)| *amount)
    }
}

/// Compares two sets of chunks as feerate diagrams (fees earned at every size, best chunks first). `Greater`: `a` is
/// nowhere below `b` and somewhere above; `None`: each is above the other somewhere.
pub(crate) fn compare_diagrams(a: &mut [FeeSize], b: &mut [FeeSize]) -> Option<Ordering> {
    a.sort_by(|x, y| y.cmp_rate(x));
    b.sort_by(|x, y| y.cmp_rate(x));
    let above_b = is_somewhere_above(a, b);
    let above_a = is_somewhere_above(b, a);
    match (above_b, above_a) {
        (false, false) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Greater),
        (false, true) => Some(Ordering::Less),
        (true, true) => None,
    }
}

/// True where the diagram of `a` has a corner above the diagram of `b`. Both are concave, so corners suffice: where a
/// line of one is above the other, one of its corners is, unless the other's corner is below it, which is the same
/// comparison from the other side; so both kinds of corner are looked at.
fn is_somewhere_above(a: &[FeeSize], b: &[FeeSize]) -> bool {
    let corners = |chunks: &[FeeSize]| {
        let mut corners = vec![FeeSize::default()];
        for chunk in chunks {
            corners.push(corners[corners.len() - 1].plus(*chunk));
        }
        corners
    };
    let (a, b) = (corners(a), corners(b));
    // Above: fee(a at size) > fee(b at size), at each corner's size of either.
    a.iter().chain(&b).any(|corner| {
        let (fee_a, fee_b) = (fee_at(&a, corner.weight), fee_at(&b, corner.weight));
        // Fractions with positive denominators.
        fee_a.0 * fee_b.1 > fee_b.0 * fee_a.1
    })
}

/// The fee of a diagram at a size, as a fraction; flat behind its last corner.
fn fee_at(corners: &[FeeSize], weight: u64) -> (i128, i128) {
    let next = corners.partition_point(|corner| corner.weight < weight);
    match (next.checked_sub(1).map(|last| corners[last]), corners.get(next)) {
        (_, Some(corner)) if corner.weight == weight => (i128::from(corner.fee), 1),
        (Some(low), Some(high)) => {
            let span = i128::from(high.weight - low.weight);
            let rise = i128::from(high.fee) - i128::from(low.fee);
            (i128::from(low.fee) * span + rise * i128::from(weight - low.weight), span)
        }
        (Some(last), None) => (i128::from(last.fee), 1),
        (None, _) => (0, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(fee: i64, weight: u64, parents: &[usize]) -> Node {
        Node { rate: FeeSize { fee, weight }, parents: parents.iter().fold(0, |set, at| set | 1 << at) }
    }

    #[test]
    fn a_child_pays_for_its_parents() {
        let nodes = [node(0, 400, &[]), node(1_000, 400, &[0]), node(600, 400, &[]), node(50, 400, &[2])];
        let result = linearize(&nodes);
        assert_eq!(result.order, [2, 0, 1, 3]);
        assert_eq!(result.chunks.iter().map(|(end, _)| *end).collect::<Vec<_>>(), [1, 3, 4]);
    }

    #[test]
    fn two_children_pay_for_a_parent_together() {
        // Neither child's ancestor set is better than the third transaction; both together are.
        let nodes = [
            node(0, 400, &[]),
            node(500, 100, &[0]),
            node(500, 100, &[0]),
            node(130, 100, &[]),
            node(1, 100, &[3]),
        ];
        let result = linearize(&nodes);
        assert_eq!(result.chunks[0], (3, FeeSize { fee: 1_000, weight: 600 }));
        assert_eq!(&result.order[..1], [0]);
    }

    fn cluster() -> impl Strategy<Value = Vec<Node>> {
        proptest::collection::vec((-5i64..200, 1u64..20, any::<u16>()), 1..11).prop_map(|nodes| {
            let with_parents = |(at, (fee, weight, parents)): (usize, (i64, u64, u16))| Node {
                rate: FeeSize { fee, weight },
                parents: u64::from(parents) & u64::from(parents >> 3) & ((1 << at) - 1),
            };
            nodes.into_iter().enumerate().map(with_parents).collect()
        })
    }

    proptest! {
        #[test]
        fn each_chunk_is_the_best_there_is(nodes in cluster()) {
            let result = linearize(&nodes);
            let mut seen = 0u64;
            for &at in &result.order {
                prop_assert_eq!(nodes[at].parents & !seen, 0, "parents first");
                seen |= 1 << at;
            }
            prop_assert_eq!(seen.count_ones() as usize, nodes.len());
            let mut left: Set = (1 << nodes.len()) - 1;
            let mut start = 0;
            for (end, rate) in result.chunks {
                let best = (1..1u64 << nodes.len())
                    .filter(|set| set & !left == 0)
                    .filter(|set| members(*set).all(|at| nodes[at].parents & left & !set == 0))
                    .map(|set| rate_of(&nodes, set))
                    .max_by(FeeSize::cmp_rate)
                    .unwrap();
                prop_assert!(rate.cmp_rate(&best).is_eq(), "{rate:?} but {best:?} is possible");
                for &at in &result.order[start..end] {
                    left &= !(1 << at);
                }
                start = end;
            }
        }
    }

    #[test]
    fn diagrams() {
        let rate = |fee, weight| FeeSize { fee, weight };
        let compare = |a: &[FeeSize], b: &[FeeSize]| compare_diagrams(&mut a.to_vec(), &mut b.to_vec());
        assert_eq!(compare(&[rate(10, 10)], &[rate(10, 10)]), Some(Ordering::Equal));
        assert_eq!(compare(&[rate(11, 10)], &[rate(10, 10)]), Some(Ordering::Greater));
        assert_eq!(compare(&[rate(10, 10)], &[rate(5, 2), rate(5, 8)]), Some(Ordering::Less));
        // More in all, but less at first: neither is better.
        assert_eq!(compare(&[rate(20, 20)], &[rate(5, 2)]), None);
        assert_eq!(compare(&[], &[]), Some(Ordering::Equal));
    }
}
