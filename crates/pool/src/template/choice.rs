//! Which node's template is mined on: the rule, without IO and with time as an argument.
//!
//! The highest block wins, from whichever node had it first: being a moment ahead is worth more than a node's place in
//! the list. Among nodes that are level the one in use stays, and the first in the list takes over again once it has
//! been level for [`HOME_MS`]. Nodes at one height on different blocks disagree; the one in use stays, and it is said.

use std::sync::Arc;

use lode_primitives::BlockHash;

use super::Template;

/// A better-placed node must have been well for so long before the pool goes back to it, in milliseconds.
pub(super) const HOME_MS: u64 = 15_000;

/// What a node has to offer.
#[derive(Clone, Debug)]
pub(super) enum Health {
    /// Nothing was heard yet.
    Starting,
    /// A template to mine on.
    Ready(Arc<Template>),
    /// No template, and why.
    Failing(String),
}

/// Why the node in use is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// No node has a template.
    NoTemplate,
    /// The first in the list, and no other is ahead of it.
    First,
    /// It had the highest block first.
    Ahead,
    /// Those before it in the list have no template.
    FailedOver,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoTemplate => "no node has a template",
            Self::First => "first in the list",
            Self::Ahead => "it had the newest block first",
            Self::FailedOver => "those before it in the list have no template",
        })
    }
}

/// Two nodes at one height on different blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disagreement {
    /// Height of the block that both seek.
    pub height: u32,
    /// The node in use and the block it builds on.
    pub used: (usize, BlockHash),
    /// The other node and the block it builds on.
    pub other: (usize, BlockHash),
}

/// What changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// A template to publish: of another node, or the node's next one. `Some(None)`: there is none any more.
    pub template: Option<Option<Arc<Template>>>,
    /// The node in use is another than before.
    pub moved: bool,
    /// Nodes began to disagree.
    pub disagreement: Option<Disagreement>,
}

/// The nodes as last heard of, and which is in use.
#[derive(Debug)]
pub(super) struct Choice {
    nodes: Vec<(Health, u64)>,
    used: Option<usize>,
    reason: Reason,
    published: Option<Arc<Template>>,
    disagreement: Option<Disagreement>,
}

impl Choice {
    /// `nodes` nodes of which nothing is known.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![(Health::Starting, 0); nodes],
            used: None,
            reason: Reason::NoTemplate,
            published: None,
            disagreement: None,
        }
    }

    /// The node in use, and why.
    pub(super) fn used(&self) -> (Option<usize>, &Reason) {
        (self.used, &self.reason)
    }

    /// Nodes at one height on different blocks, while there are any.
    pub(super) fn disagreement(&self) -> Option<&Disagreement> {
        self.disagreement.as_ref()
    }

    /// What a node offers.
    pub(super) fn health(&self, node: usize) -> &Health {
        &self.nodes[node].0
    }

    /// News from a node. `now_ms`: any clock that runs forward.
    pub(super) fn update(&mut self, node: usize, health: Health, now_ms: u64) -> Change {
        let was_ready = matches!(self.nodes[node].0, Health::Ready(_));
        if !was_ready {
            self.nodes[node].1 = now_ms;
        }
        self.nodes[node].0 = health;
        self.choose(now_ms)
    }

    /// Time passed: perhaps the first in the list takes over again.
    pub(super) fn tick(&mut self, now_ms: u64) -> Change {
        self.choose(now_ms)
    }

    fn template(&self, node: usize) -> Option<&Arc<Template>> {
        match &self.nodes[node].0 {
            Health::Ready(template) => Some(template),
            _ => None,
        }
    }

    fn choose(&mut self, now_ms: u64) -> Change {
        let ready: Vec<(usize, &Arc<Template>)> =
            (0..self.nodes.len()).filter_map(|node| Some((node, self.template(node)?))).collect();
        let highest = ready.iter().map(|(_, template)| template.height).max();
        let level: Vec<usize> = ready
            .iter()
            .filter(|(_, template)| Some(template.height) == highest)
            .map(|(node, _)| *node)
            .collect();
        let before = self.used;
        let home =
            level.first().copied().filter(|node| now_ms.saturating_sub(self.nodes[*node].1) >= HOME_MS);
        // Going home changes the block that is mined on if the two disagree: then stay.
        let tips: Vec<Option<BlockHash>> =
            (0..self.nodes.len()).map(|node| self.template(node).map(|template| template.prev)).collect();
        let same_tip = |a: usize, b: usize| tips[a] == tips[b];
        self.used = match before.filter(|node| level.contains(node)) {
            Some(current) => {
                Some(home.filter(|home| *home < current && same_tip(*home, current)).unwrap_or(current))
            }
            None => level.first().copied(),
        };
        self.reason = match self.used {
            None => Reason::NoTemplate,
            Some(0) => Reason::First,
            Some(used) if (0..used).all(|node| self.template(node).is_none()) => Reason::FailedOver,
            Some(_) => Reason::Ahead,
        };
        let template = self.used.and_then(|used| self.template(used)).cloned();
        let changed = match (&template, &self.published) {
            (Some(new), Some(old)) => !Arc::ptr_eq(new, old),
            (None, None) => false,
            _ => true,
        };
        let disagreement = self.used.and_then(|used| {
            let mine = self.template(used)?;
            let other = level.iter().find(|node| !same_tip(**node, used))?;
            let theirs = self.template(*other)?.prev;
            Some(Disagreement { height: mine.height, used: (used, mine.prev), other: (*other, theirs) })
        });
        let news = disagreement.clone().filter(|_| disagreement != self.disagreement);
        self.disagreement = disagreement;
        if changed {
            self.published.clone_from(&template);
        }
        Change { template: changed.then_some(template), moved: self.used != before, disagreement: news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(height: u32, tip: u8) -> Health {
        Health::Ready(Arc::new(Template {
            height,
            prev: BlockHash([tip; 32]),
            version: 0,
            bits: 0,
            time: 0,
            min_time: 0,
            coinbase_value: lode_primitives::Amount::ZERO,
            transactions: Vec::new(),
            witness_commitment: None,
            mweb: None,
            coinbase_weight_max: 0,
            coinbase_sigops_max: 0,
            heard_us: 0,
        }))
    }

    fn down() -> Health {
        Health::Failing("down".into())
    }

    #[test]
    fn a_node_that_fails_is_left_and_returned_to_once_it_is_well_for_a_while() {
        let mut choice = Choice::new(2);
        choice.update(0, ready(10, 1), 0);
        choice.update(1, ready(10, 1), 0);
        assert_eq!(choice.used(), (Some(0), &Reason::First));
        let change = choice.update(0, down(), 1_000);
        assert!(change.moved && change.template.unwrap().is_some());
        assert_eq!(choice.used(), (Some(1), &Reason::FailedOver));
        choice.update(0, ready(10, 1), 60_000);
        assert_eq!(choice.used(), (Some(1), &Reason::Ahead));
        assert!(!choice.tick(60_000 + HOME_MS - 1).moved);
        assert!(choice.tick(60_000 + HOME_MS).moved);
        assert_eq!(choice.used(), (Some(0), &Reason::First));
    }

    #[test]
    fn whoever_has_the_next_block_first_is_followed_and_one_behind_is_not() {
        let mut choice = Choice::new(2);
        choice.update(0, ready(10, 1), 0);
        choice.update(1, ready(11, 2), 5);
        assert_eq!(choice.used(), (Some(1), &Reason::Ahead));
        // The first catches up: no new job because of that, until it has been well long enough.
        assert!(choice.update(0, ready(11, 2), 10).template.is_none());
        // And a node that lags behind for good is never gone back to.
        choice.update(1, ready(12, 3), 20);
        assert!(!choice.tick(10 * HOME_MS).moved);
        assert_eq!(choice.used().0, Some(1));
    }

    #[test]
    fn nodes_that_disagree_are_said_once_and_the_one_in_use_stays() {
        let mut choice = Choice::new(2);
        choice.update(0, ready(10, 1), 0);
        let change = choice.update(1, ready(10, 2), 0);
        let said = change.disagreement.unwrap();
        assert_eq!((said.used.0, said.other.0, said.height), (0, 1, 10));
        assert!(change.template.is_none());
        assert!(choice.tick(5 * HOME_MS).disagreement.is_none());
        // The other branch grows: it has more work, so it is followed.
        assert!(choice.update(1, ready(11, 3), 0).moved);
    }

    #[test]
    fn without_any_node_there_is_no_template() {
        let mut choice = Choice::new(1);
        assert!(choice.tick(0).template.is_none());
        choice.update(0, ready(1, 1), 0);
        let change = choice.update(0, down(), 0);
        assert!(matches!(change.template, Some(None)));
        assert_eq!(choice.used(), (None, &Reason::NoTemplate));
    }
}
