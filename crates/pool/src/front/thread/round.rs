//! A round's results: shares to the log, then answers to their connections.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use lode_ledger::Share;
use lode_stratum::{Reject, write_error};

use super::super::connection::Gone;
use super::Thread;
use crate::session::Found;

/// Answers of a round are sent when they come to this many bytes, however many connections are still ready: enough for
/// three thousand shares, and little to hold.
pub(super) const ROUND_BYTES: usize = 128 * 1024;
/// Shares of a round are recorded when there are this many: under the log's own bound for a batch.
pub(super) const ROUND_SHARES: usize = 16_384;
/// How long the answers of a round with a found block wait for the disk.
const BLOCK_SAFE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a round has gathered and not sent yet.
#[derive(Default)]
pub(super) struct Round {
    pub(super) out: Vec<u8>,
    /// Whose bytes of `out`, in the order they came.
    pub(super) parts: Vec<(usize, Range<usize>)>,
    pub(super) shares: Vec<Share>,
    /// Where in `out` each share's answer is.
    pub(super) answers: Vec<Range<usize>>,
    pub(super) found: Vec<Found>,
    /// Blocks handed on; each says when it is safe on disk.
    pub(super) unsafe_blocks: Vec<Receiver<()>>,
    pub(super) refused: [u64; Reject::ALL.len()],
}

impl Thread {
    /// Records the round's shares, then sends its answers.
    pub(super) fn commit(&mut self) {
        if self.round.parts.is_empty() {
            return;
        }
        let stats = Arc::clone(&self.shared.stats);
        let mut round = std::mem::take(&mut self.round);
        if !round.shares.is_empty() {
            match self.shared.books.record(&round.shares) {
                Ok(()) => {
                    stats.accepted.fetch_add(round.shares.len() as u64, Relaxed);
                    let units = round
                        .shares
                        .iter()
                        .fold(0u64, |sum, share| sum.wrapping_add(share.credit.to_units()));
                    stats.accepted_units.fetch_add(units, Relaxed);
                    stats.log_failed.store(false, Relaxed);
                    metrics::counter!("lode_shares_accepted_total").increment(round.shares.len() as u64);
                }
                Err(error) => {
                    stats.log_failed.store(true, Relaxed);
                    let count = round.shares.len();
                    self.complain(format_args!("{count} shares refused, the log cannot be written: {error}"));
                    refuse_all(&mut round);
                }
            }
        }
        for safe in round.unsafe_blocks.drain(..) {
            if safe.recv_timeout(BLOCK_SAFE_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                self.complain(format_args!(
                    "a found block is not on disk after {} s",
                    BLOCK_SAFE_TIMEOUT.as_secs()
                ));
            }
        }
        for (reject, count) in Reject::ALL.into_iter().zip(round.refused).filter(|(_, count)| *count > 0) {
            stats.refused[reject.index()].fetch_add(count, Relaxed);
            metrics::counter!("lode_shares_refused_total", "reason" => reject.label()).increment(count);
        }
        for (key, range) in round.parts.drain(..) {
            // Closed in the same round: its slot is empty, since no connection was accepted meanwhile.
            if let Some(connection) = self.connections.get_mut(key)
                && let Err(Gone(why)) = connection.send(&round.out[range])
            {
                self.close(key, why);
            }
        }
        round.out.clear();
        round.shares.clear();
        round.answers.clear();
        round.refused = [0; Reject::ALL.len()];
        self.round = round;
    }
}

/// Turns all acceptances of a round into refusals.
fn refuse_all(round: &mut Round) {
    let (mut out, mut parts) =
        (Vec::with_capacity(round.out.len() * 2), Vec::with_capacity(round.parts.len()));
    let mut answers = round.answers.drain(..).peekable();
    for (key, range) in round.parts.drain(..) {
        let start = out.len();
        let mut at = range.start;
        while let Some(answer) = answers.next_if(|answer| answer.start < range.end) {
            out.extend_from_slice(&round.out[at..answer.start]);
            let line = &round.out[answer.clone()];
            let id = line
                .strip_prefix(b"{\"id\":")
                .and_then(|rest| rest.strip_suffix(b",\"result\":true,\"error\":null}\n"));
            write_error(
                id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("null"),
                Reject::Unavailable,
                &mut out,
            );
            at = answer.end;
        }
        out.extend_from_slice(&round.out[at..range.end]);
        parts.push((key, start..out.len()));
    }
    round.refused[Reject::Unavailable.index()] += round.shares.len() as u64;
    drop(answers);
    (round.out, round.parts) = (out, parts);
}
