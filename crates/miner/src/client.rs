//! The miner's end of a Stratum V1 connection as a state machine: lines in, lines out, no sockets and no clock.
//! Driven by [`crate::connection`].
//!
//! Order of the login: `configure` and `subscribe` at once, `authorize` when the extranonce is there. Jobs that come
//! before the user is authorised wait, as a pool refuses shares until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lode_pow::PowAlgorithm;
use lode_stratum::{
    Difficulty, Goal, Notify, ServerMessage, write_authorize, write_configure, write_prime_submit,
    write_submit, write_subscribe, write_suggest_difficulty, write_suggest_target,
};
use serde_json::Value;

use crate::work::{Share, Work};

/// Version bits this miner offers to roll (BIP320).
const VERSION_MASK: u32 = 0x1fff_e000;
/// Requests a pool may leave unanswered at a time; more, and shares are no longer sent.
const PENDING_MAX: usize = 4096;
/// Longest wait for the answer to any request.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest silence of a pool; they send a job at least every minute or two.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Stratum's error code of a share whose job is over.
const CODE_STALE: i64 = 21;
/// What counts as the pool telling us that the user name is wrong.
const CODE_UNAUTHORIZED: i64 = 24;

/// What a login needs.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) agent: String,
    pub(crate) algorithm: PowAlgorithm,
    pub(crate) suggested: Option<Difficulty>,
}

/// What a line from the pool means for the rest of the miner.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Logged in; work follows.
    LoggedIn,
    /// Search this now.
    Work(Arc<Work>),
    /// A share was taken.
    Accepted { difficulty: Difficulty, answered_in: Duration },
    /// A share was refused.
    Refused { code: i64, reason: String, stale: bool, answered_in: Duration },
    /// Text for people.
    Message(String),
    /// The pool asks to come back.
    Reconnect { host: String, port: u16, wait: Duration },
    /// The pool does not take this user: trying again is of no use.
    LoginRefused(String),
    /// The other end does not do what a pool does: the connection is of no use.
    Broken(String),
}

#[derive(Debug)]
enum Asked {
    Configure,
    Subscribe,
    Authorize,
    Other,
    Share(Difficulty),
}

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Client {
    login: Login,
    next_id: u64,
    pending: HashMap<u64, (Asked, Instant)>,
    extranonce: Option<(Vec<u8>, usize)>,
    version_mask: u32,
    difficulty: Difficulty,
    goal: Goal,
    authorized: bool,
    /// The last job, while it cannot be worked on yet.
    waiting: Option<Notify>,
    /// Sequence number of the next job; goes on from connection to connection.
    next_sequence: u64,
    /// Jobs before this one are void.
    oldest_valid: u64,
    heard: Instant,
}

impl Client {
    /// A connection just made. `first_sequence` must be above that of all work of earlier connections.
    pub(crate) fn new(login: Login, first_sequence: u64, now: Instant) -> Self {
        Self {
            goal: Goal::of_difficulty(login.algorithm, Difficulty::ONE),
            login,
            next_id: 1,
            pending: HashMap::new(),
            extranonce: None,
            version_mask: 0,
            difficulty: Difficulty::ONE,
            authorized: false,
            waiting: None,
            next_sequence: first_sequence,
            oldest_valid: first_sequence,
            heard: now,
        }
    }

    /// The sequence number that a next connection may begin with.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Shares sent and not answered.
    pub(crate) fn unanswered_shares(&self) -> u64 {
        self.pending.values().filter(|(asked, _)| matches!(asked, Asked::Share(_))).count() as u64
    }

    fn ask(&mut self, asked: Asked, now: Instant) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(id, (asked, now));
        id
    }

    /// Writes the first requests.
    pub(crate) fn greet(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.login.algorithm != PowAlgorithm::PrimeChain {
            write_configure(self.ask(Asked::Configure, now), VERSION_MASK, out);
        }
        write_subscribe(self.ask(Asked::Subscribe, now), &self.login.agent, out);
    }

    /// Takes one line; writes what has to be answered.
    pub(crate) fn take_line(&mut self, line: &[u8], now: Instant, out: &mut Vec<u8>) -> Vec<Happening> {
        self.heard = now;
        match ServerMessage::parse(line) {
            Err(error) if self.extranonce.is_none() => vec![Happening::Broken(error.to_string())],
            Err(error) => vec![Happening::Message(error.to_string())],
            Ok(message) => self.take(message, now, out),
        }
    }

    fn take(&mut self, message: ServerMessage, now: Instant, out: &mut Vec<u8>) -> Vec<Happening> {
        match message {
            ServerMessage::Answer { id, result } => {
                let asked = id.and_then(|id| self.pending.remove(&id));
                return asked.map_or_else(Vec::new, |(asked, sent)| {
                    self.take_answer(asked, now.duration_since(sent), result, now, out)
                });
            }
            ServerMessage::Notify(job) => {
                self.waiting = Some(job);
                return self.begin_work().into_iter().collect();
            }
            ServerMessage::SetDifficulty(difficulty) => {
                self.difficulty = difficulty;
                self.goal = Goal::of_difficulty(self.login.algorithm, difficulty);
            }
            ServerMessage::SetTarget(length) => {
                self.goal = Goal::Length(length);
                self.difficulty = self.goal.difficulty(self.login.algorithm);
            }
            ServerMessage::SetVersionMask(mask) => self.version_mask = mask & VERSION_MASK,
            ServerMessage::SetExtranonce { extranonce1, extranonce2_size } => {
                self.extranonce = Some((extranonce1, extranonce2_size));
            }
            ServerMessage::Reconnect { host, port, wait_seconds } => {
                let wait = Duration::from_secs(wait_seconds);
                return vec![Happening::Reconnect { host, port, wait }];
            }
            ServerMessage::ShowMessage(text) => return vec![Happening::Message(text)],
            ServerMessage::GetVersion(id) => {
                let agent = Value::from(self.login.agent.as_str());
                out.extend_from_slice(
                    format!("{{\"id\":{id},\"result\":{agent},\"error\":null}}\n").as_bytes(),
                );
            }
            ServerMessage::Unknown(method) => tracing::debug!("the pool sent {method:?}, which is not known"),
        }
        Vec::new()
    }

    fn take_answer(
        &mut self,
        asked: Asked,
        answered_in: Duration,
        result: Result<Value, (i64, String)>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Vec<Happening> {
        match (asked, result) {
            (Asked::Configure, Ok(result)) => {
                self.version_mask = ServerMessage::granted_mask(&result) & VERSION_MASK;
                Vec::new()
            }
            // Many pools know no `configure`.
            (Asked::Configure | Asked::Other, _) => Vec::new(),
            (Asked::Subscribe, Ok(result)) => {
                let Some(extranonce) = ServerMessage::subscription(&result) else {
                    return vec![Happening::Broken(format!(
                        "its answer to mining.subscribe has no extranonce: {result}"
                    ))];
                };
                if let Some(reason) = self.other_work(&result) {
                    return vec![Happening::Broken(reason)];
                }
                // A `set_extranonce` that came before is the newer one.
                self.extranonce.get_or_insert(extranonce);
                if let Some(suggested) = self.login.suggested {
                    let id = self.ask(Asked::Other, now);
                    match Goal::of_difficulty(self.login.algorithm, suggested) {
                        Goal::Length(length) => write_suggest_target(id, length, out),
                        Goal::Target(_) => write_suggest_difficulty(id, suggested, out),
                    }
                }
                let id = self.ask(Asked::Authorize, now);
                write_authorize(id, &self.login.user, &self.login.password, out);
                Vec::new()
            }
            (Asked::Subscribe, Err((code, text))) => {
                vec![Happening::Broken(format!("mining.subscribe refused: {text} ({code})"))]
            }
            (Asked::Authorize, Ok(Value::Bool(true))) => {
                self.authorized = true;
                std::iter::once(Happening::LoggedIn).chain(self.begin_work()).collect()
            }
            (Asked::Authorize, Ok(_)) => vec![Happening::LoginRefused("user name not accepted".into())],
            (Asked::Authorize, Err((CODE_UNAUTHORIZED, text))) => vec![Happening::LoginRefused(text)],
            (Asked::Authorize, Err((code, text))) => {
                vec![Happening::Broken(format!("mining.authorize refused: {text} ({code})"))]
            }
            // Some pools answer a refused share with `false` and no error.
            (Asked::Share(_), Ok(Value::Bool(false))) => {
                vec![Happening::Refused {
                    code: 20,
                    reason: "no reason given".into(),
                    stale: false,
                    answered_in,
                }]
            }
            (Asked::Share(difficulty), Ok(_)) => vec![Happening::Accepted { difficulty, answered_in }],
            (Asked::Share(_), Err((code, reason))) => {
                let refused = Happening::Refused {
                    code,
                    stale: code == CODE_STALE,
                    answered_in,
                    reason: reason.clone(),
                };
                if code == CODE_UNAUTHORIZED {
                    return vec![refused, Happening::LoginRefused(reason)];
                }
                vec![refused]
            }
        }
    }

    /// What is wrong where the pool's answer to `subscribe` is for other work than ours.
    fn other_work(&self, subscription: &Value) -> Option<String> {
        match (self.login.algorithm, ServerMessage::is_prime(subscription)) {
            (PowAlgorithm::PrimeChain, false) => {
                Some("its shares are no prime chains; mine there with -a sha256d or -a scrypt".into())
            }
            (PowAlgorithm::Sha256d | PowAlgorithm::Scrypt, true) => {
                Some("its shares are prime chains; mine there with -a prime".into())
            }
            _ => None,
        }
    }

    /// The last job as work, once it can be worked on.
    fn begin_work(&mut self) -> Option<Happening> {
        let extranonce = self.extranonce.clone().filter(|_| self.authorized)?;
        let job = self.waiting.take()?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if job.clean_jobs {
            self.oldest_valid = sequence;
        }
        let difficulty = (self.difficulty, self.goal);
        Some(Happening::Work(Arc::new(Work::new(sequence, job, extranonce, self.version_mask, difficulty))))
    }

    /// Writes a share; false where its job is over or too much is unanswered already.
    pub(crate) fn submit(&mut self, share: &Share, now: Instant, out: &mut Vec<u8>) -> bool {
        if share.work.sequence < self.oldest_valid || self.pending.len() >= PENDING_MAX {
            return false;
        }
        let id = self.ask(Asked::Share(share.work.difficulty), now);
        let unit = &share.unit;
        let (user, job) = (&self.login.user, &share.work.job.job_id);
        match &share.multiplier {
            None => {
                let bits = unit.version_bits;
                write_submit(id, user, job, &unit.extranonce2, unit.time, share.nonce, bits, out);
            }
            Some(multiplier) => {
                write_prime_submit(id, user, job, &unit.extranonce2, unit.time, share.nonce, multiplier, out);
            }
        }
        true
    }

    /// Why the connection should be given up, if it should.
    pub(crate) fn overdue(&self, now: Instant) -> Option<String> {
        let silent = now.duration_since(self.heard);
        if silent > SILENCE_MAX {
            return Some(format!("the pool has been silent for {} s", silent.as_secs()));
        }
        let oldest = self.pending.values().map(|(_, sent)| now.duration_since(*sent)).max()?;
        (oldest > ANSWER_WAIT_MAX).then(|| format!("no answer for {} s", oldest.as_secs()))
    }
}

#[cfg(test)]
mod tests;
