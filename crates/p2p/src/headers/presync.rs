//! A chain of headers looked at without storing it, until it has shown enough work (as the reference client's
//! "headers presync").
//!
//! First pass: work is added up, and one salted bit of every 600th header is kept. Once the work suffices the
//! headers are downloaded again from the start and checked against the bits; they are given out for storing when
//! enough bits behind them were right, so that a peer cannot show one chain and then send another.

use std::collections::VecDeque;

use lode_coins::Coin;
use lode_primitives::{BlockHash, Header, Work};

use crate::message::MAX_HEADERS;
use crate::{Time, View};

/// One bit is kept of so many headers (Core: about 600).
const COMMIT_EVERY: u64 = 600;
/// Headers held back on the second pass: 24 bits must be right behind what is given out (Core: about 14,000).
const HELD_BACK: usize = 14_400;
/// By the rule of median time a chain gains a second in six blocks at least, so one longer than this cannot be valid.
const MAX_BLOCKS_PER_SECOND: u64 = 6;
/// Headers may be this far ahead of our clock, seconds.
const MAX_FUTURE: u64 = 2 * 60 * 60;

/// What came of a batch.
#[derive(Debug)]
pub(crate) enum Fed {
    /// Ask for what follows [`Presync::last`].
    More,
    /// The chain ended, or changed, before it had shown enough.
    Exhausted,
    /// These are to be stored. `done`: the chain has proven itself, all that follows is handled as usual.
    Ready { headers: Vec<Header>, done: bool },
    /// The peer breaks the rules.
    Invalid(&'static str),
}

/// One peer's chain under inspection.
#[derive(Debug)]
pub(crate) struct Presync {
    coin: &'static Coin,
    start: BlockHash,
    start_work: Work,
    least: Work,
    salt: u64,
    max_count: u64,
    bits: VecDeque<bool>,
    second_pass: bool,
    last: BlockHash,
    work: Work,
    count: u64,
    held: VecDeque<Header>,
}

impl Presync {
    /// A look at the chain behind the known block `start`, whose chain has `start_work`, for at least `least` work.
    pub(crate) fn new(
        coin: &'static Coin,
        start: BlockHash,
        start_work: Work,
        start_time: u32,
        least: Work,
        now: Time,
        salt: u64,
    ) -> Self {
        let seconds = (now.as_secs() + MAX_FUTURE).saturating_sub(u64::from(start_time));
        Self {
            coin,
            start,
            start_work,
            least,
            salt,
            max_count: MAX_BLOCKS_PER_SECOND * seconds,
            bits: VecDeque::new(),
            second_pass: false,
            last: start,
            work: start_work,
            count: 0,
            held: VecDeque::new(),
        }
    }

    /// The header behind which to go on.
    pub(crate) fn last(&self) -> BlockHash {
        self.last
    }

    /// The known block it starts from.
    pub(crate) fn start(&self) -> BlockHash {
        self.start
    }

    /// Takes a batch that the peer sent, known to be in a row.
    pub(crate) fn feed(&mut self, headers: &[Header], view: &dyn View) -> Fed {
        if headers.first().is_none_or(|first| first.prev != self.last) {
            return Fed::Exhausted;
        }
        if self.second_pass { self.feed_again(headers) } else { self.feed_first(headers, view) }
    }

    fn feed_first(&mut self, headers: &[Header], view: &dyn View) -> Fed {
        for header in headers {
            let Some(work) = self.coin.block_work(header.bits) else {
                return Fed::Invalid("header with a target that is none");
            };
            if !view.check_pow(header) {
                return Fed::Invalid("header without proof of work");
            }
            self.last = header.hash();
            self.work = self.work + work;
            self.count += 1;
            if self.count > self.max_count {
                return Fed::Invalid("more headers than time allows");
            }
            if self.count % COMMIT_EVERY == self.salt % COMMIT_EVERY {
                self.bits.push_back(self.bit(&self.last));
            }
        }
        if self.work >= self.least {
            self.second_pass = true;
            self.last = self.start;
            self.work = self.start_work;
            self.count = 0;
            return Fed::More;
        }
        if headers.len() < MAX_HEADERS { Fed::Exhausted } else { Fed::More }
    }

    fn feed_again(&mut self, headers: &[Header]) -> Fed {
        for header in headers {
            let Some(work) = self.coin.block_work(header.bits) else {
                return Fed::Invalid("header with a target that is none");
            };
            self.last = header.hash();
            self.count += 1;
            let committed = self.count % COMMIT_EVERY == self.salt % COMMIT_EVERY;
            if committed && self.work < self.least && self.bits.pop_front() != Some(self.bit(&self.last)) {
                return Fed::Invalid("another chain of headers than it showed first");
            }
            self.work = self.work + work;
            self.held.push_back(header.clone());
        }
        if self.work >= self.least {
            return Fed::Ready { headers: std::mem::take(&mut self.held).into(), done: true };
        }
        if headers.len() < MAX_HEADERS {
            return Fed::Exhausted;
        }
        let ready = self.held.len().saturating_sub(HELD_BACK).min(MAX_HEADERS);
        if ready == 0 {
            Fed::More
        } else {
            Fed::Ready { headers: self.held.drain(..ready).collect(), done: false }
        }
    }

    fn bit(&self, hash: &BlockHash) -> bool {
        bitcoin_hashes::siphash24::Hash::hash_to_u64_with_keys(self.salt, !self.salt, hash.as_bytes()) & 1
            == 1
    }
}
