//! A set of bounded size that forgets the oldest.

use std::collections::HashSet;
use std::hash::Hash;

/// Two generations: when the younger is full it becomes the older, and what was older is forgotten.
#[derive(Debug)]
pub(crate) struct Rolling<T> {
    young: HashSet<T>,
    old: HashSet<T>,
    generation: usize,
}

impl<T: Hash + Eq> Rolling<T> {
    /// A set that never holds more than `max`, and always the last `max / 2`.
    pub(crate) fn new(max: usize) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), generation: (max / 2).max(1) }
    }

    /// Remembers `item`; false where it was remembered already.
    pub(crate) fn insert(&mut self, item: T) -> bool {
        if self.contains(&item) {
            return false;
        }
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(item)
    }

    pub(crate) fn contains(&self, item: &T) -> bool {
        self.young.contains(item) || self.old.contains(item)
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_and_no_more_than_it_may() {
        let mut set = Rolling::new(100);
        for i in 0..1_000 {
            assert!(set.insert(i));
            assert!(!set.insert(i));
            assert!(set.young.len() + set.old.len() <= 100);
        }
        assert!((950..1_000).all(|i| set.contains(&i)));
        assert!(!set.contains(&800));
    }
}
