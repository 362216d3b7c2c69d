//! Jobs: a template with a coinbase that pays the miners, encoded once for all who get it.
//!
//! A job is made by the service for each template and at a regular interval, and shared by all front threads. It exists
//! in one coinbase per size class; each is built the first time a miner of its class needs it, and its `notify` line is
//! encoded once and its bytes shared. The payouts are those of the moment the job was made, in every class.
//!
//! The coinbase, without witness: version, one null input, script, outputs, lock time. The script is the height
//! (BIP34), a push of extranonce 1 and 2, and the pool's tag; the payouts come first among the outputs, the witness
//! commitment is the last. Lock time is the height less one and the input not final (BIP54), which makes coinbases unique
//! for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use lode_coins::Coin;
use lode_ledger::{Account, Limits, PayoutSnapshot, Split, TemplateRef};
use lode_primitives::{
    Amount, Decode as _, Encode as _, Multiplier, OutPoint, Transaction, TxIn, TxOut, Witness, encode_bytes,
    encode_compact_size, merkle,
};
use lode_stratum::{Difficulty, Goal, Notify};

use crate::class::CoinbaseClass;
use crate::template::Template;

/// Bytes of extranonce 1: four billion connections before one comes again.
pub const EXTRANONCE1_SIZE: usize = 4;
/// Bytes of extranonce 2: what Whatsminers take at most and every proxy can split.
pub const EXTRANONCE2_SIZE: usize = 8;
/// Both.
pub const EXTRANONCE_SIZE: usize = EXTRANONCE1_SIZE + EXTRANONCE2_SIZE;

/// Longest pool tag in bytes: script at most 100 bytes, less height (6), extranonce (13) and the tag's own push.
pub const MAX_TAG: usize = 60;

/// Bytes of a coinbase that leaves nothing of its fees out, at most (see `Coin::reward`): some 25 payouts.
const FREE_COINBASE: usize = 999;

/// Input sequence that keeps the lock time in force (BIP54).
const SEQUENCE_NOT_FINAL: u32 = 0xffff_fffe;

/// Whom a job's coinbases pay.
pub enum Pays {
    /// Those with work in the payout window.
    Window(Arc<Split>),
    /// Each miner itself: solo mining, or nobody has work in the window yet. Gives the split for an account; `None` where the
    /// books cannot say.
    Own(OwnSplit),
}

/// The split that pays one account alone.
pub type OwnSplit = Box<dyn Fn(&Arc<Account>) -> Option<Arc<Split>> + Send + Sync>;

/// What a job that pays each miner itself was built as, by class and payout script.
type OwnJobs = HashMap<(CoinbaseClass, Box<[u8]>), Arc<ClassJob>>;

/// Accounts for which a job that pays each miner itself is built at most. Beyond it a miner waits for the next job.
const OWN_MAX: usize = 100_000;

/// Why a job could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The template's compact target is none.
    #[error("the template for height {height} has target bits {bits:#010x}: {source}")]
    Bits {
        /// The template's height.
        height: u32,
        /// Its bits.
        bits: u32,
        /// What is wrong with them.
        source: lode_primitives::CompactTargetError,
    },
}

/// What a job is made of.
pub struct JobParts {
    /// The coin.
    pub coin: &'static Coin,
    /// What is mined.
    pub template: Arc<Template>,
    /// The same, as the ledger names it.
    pub reference: Arc<TemplateRef>,
    /// The job's number: greater than all before.
    pub seq: u32,
    /// The header's time to send, Unix seconds.
    pub time: u32,
    /// Whether the jobs before it are void.
    pub clean: bool,
    /// The pool's tag.
    pub tag: String,
    /// Whom it pays.
    pub pays: Pays,
}

/// One job.
pub struct Job {
    /// Its number, increasing; in hex it is the job id on the wire.
    pub seq: u32,
    /// What is mined.
    pub template: Arc<Template>,
    /// What shares of it are recorded under.
    pub reference: Arc<TemplateRef>,
    /// The network's difficulty by Stratum's convention for the coin's work.
    pub network_difficulty: Difficulty,
    /// What a block must reach.
    pub network_goal: Goal,
    /// The header's time as sent, Unix seconds: the template's, gone on with the clock.
    pub time: u32,
    /// True where the job before it is void for everyone: the previous block changed.
    pub clean: bool,
    branch: Vec<[u8; 32]>,
    tag: Vec<u8>,
    coin: &'static Coin,
    pays: Pays,
    classes: [OnceLock<Arc<ClassJob>>; CoinbaseClass::COUNT],
    own: Mutex<OwnJobs>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "job {:x} at height {}", self.seq, self.template.height)
    }
}

/// A job as one class of miners gets it.
#[derive(Debug)]
pub struct ClassJob {
    /// The coinbase up to extranonce 1.
    pub coinbase1: Vec<u8>,
    /// The coinbase behind extranonce 2.
    pub coinbase2: Vec<u8>,
    /// What it pays.
    pub payouts: PayoutSnapshot,
    notify: Bytes,
    notify_other: OnceLock<Bytes>,
}

/// What a miner chose: with a job and a class it makes a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Solution {
    /// The connection's extranonce 1.
    pub extranonce1: [u8; EXTRANONCE1_SIZE],
    /// Extranonce 2.
    pub extranonce2: [u8; EXTRANONCE2_SIZE],
    /// The header's time, Unix seconds.
    pub time: u32,
    /// The header's nonce.
    pub nonce: u32,
    /// The header's version, rolled bits included.
    pub version: u32,
    /// On a prime chain the multiplier.
    pub multiplier: Option<Multiplier>,
}

impl Job {
    /// A job on `template`. `time` is the header's time to send, Unix seconds.
    pub fn new(parts: JobParts) -> Result<Self, JobError> {
        let JobParts { coin, template, reference, seq, time, clean, tag, pays } = parts;
        let leaves: Vec<[u8; 32]> =
            std::iter::once([0; 32]).chain(template.transactions.iter().map(|tx| tx.txid.0)).collect();
        Ok(Self {
            seq,
            network_goal: network_goal(coin, &template)?,
            network_difficulty: Self::network_difficulty(coin, &template)?,
            time: time.max(template.min_time),
            clean,
            branch: merkle::branch(leaves, 0),
            tag: tag.as_bytes()[..tag.len().min(MAX_TAG)].to_vec(),
            coin,
            pays,
            classes: Default::default(),
            own: Mutex::default(),
            template,
            reference,
        })
    }

    /// The network's difficulty for a template, by Stratum's convention for the coin's work.
    pub fn network_difficulty(coin: &Coin, template: &Template) -> Result<Difficulty, JobError> {
        Ok(network_goal(coin, template)?.difficulty(coin.pow))
    }

    /// The id on the wire.
    pub fn id(&self) -> String {
        format!("{:x}", self.seq)
    }

    /// The job as `class` gets it, built the first time it is asked for. `miner` matters only where each is paid itself.
    /// `None` where the books cannot say what to pay.
    pub fn class(&self, class: CoinbaseClass, miner: &Arc<Account>) -> Option<Arc<ClassJob>> {
        match &self.pays {
            Pays::Window(split) => {
                let slot = &self.classes[class.index()];
                Some(Arc::clone(slot.get_or_init(|| Arc::new(self.build(class, split)))))
            }
            Pays::Own(splits) => {
                let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
                let key = (class, Box::from(miner.script()));
                if let Some(job) = own.get(&key) {
                    return Some(Arc::clone(job));
                }
                if own.len() >= OWN_MAX {
                    return None;
                }
                let job = Arc::new(self.build(class, &splits(miner)?));
                own.insert(key, Arc::clone(&job));
                Some(job)
            }
        }
    }

    /// True where every miner is paid itself.
    pub fn pays_own(&self) -> bool {
        matches!(self.pays, Pays::Own(_))
    }

    /// What the job pays by its window, where it pays by one.
    pub fn split(&self) -> Option<&Arc<Split>> {
        match &self.pays {
            Pays::Window(split) => Some(split),
            Pays::Own(_) => None,
        }
    }

    /// The classes built so far, of a job that pays by the window.
    pub fn built(&self) -> impl Iterator<Item = (CoinbaseClass, &Arc<ClassJob>)> {
        CoinbaseClass::ALL.into_iter().filter_map(|class| Some((class, self.classes[class.index()].get()?)))
    }

    /// The `mining.notify` line of a class of this job; `clean` where the session is new to it whatever the job says.
    pub fn notify<'a>(&self, class: &'a ClassJob, clean: bool) -> &'a Bytes {
        if clean == self.clean {
            &class.notify
        } else {
            class.notify_other.get_or_init(|| self.encode_notify(&class.coinbase1, &class.coinbase2, clean))
        }
    }

    fn encode_notify(&self, coinbase1: &[u8], coinbase2: &[u8], clean: bool) -> Bytes {
        let notify = Notify {
            job_id: self.id(),
            prev: self.template.prev,
            coinbase1: coinbase1.to_vec(),
            coinbase2: coinbase2.to_vec(),
            branch: self.branch.clone(),
            version: self.template.version,
            bits: self.template.bits,
            time: self.time,
            clean_jobs: clean,
        };
        let mut line = Vec::new();
        notify.write(&mut line);
        Bytes::from(line)
    }

    fn build(&self, class: CoinbaseClass, split: &Arc<Split>) -> ClassJob {
        let mut coinbase = self.coinbase();
        let payouts = split.snapshot(self.room(class, &coinbase));
        let commitment = std::mem::replace(&mut coinbase.outputs, payouts.outputs());
        coinbase.outputs.extend(commitment);
        let mut bytes = Vec::with_capacity(coinbase.base_size());
        coinbase.encode_without_witness(&mut bytes);
        let (extranonce_at, _) = self.script();
        // Version, input count, outpoint, script length (one byte: at most 100), then the script.
        let at = 4 + 1 + 36 + 1 + extranonce_at;
        let coinbase1 = bytes[..at].to_vec();
        let coinbase2 = bytes[at + EXTRANONCE_SIZE..].to_vec();
        let notify = self.encode_notify(&coinbase1, &coinbase2, self.clean);
        ClassJob { coinbase1, coinbase2, payouts, notify, notify_other: OnceLock::new() }
    }

    /// The coinbase without payouts: extranonces zero, and its witness commitment.
    fn coinbase(&self) -> Transaction {
        let (_, script_sig) = self.script();
        let commitment = self.template.witness_commitment.iter();
        let commitment =
            commitment.map(|script| TxOut { value: Amount::ZERO, script_pubkey: script.clone() });
        Transaction {
            version: 2,
            inputs: vec![TxIn {
                prevout: OutPoint::NULL,
                script_sig,
                sequence: SEQUENCE_NOT_FINAL,
                witness: Witness::default(),
            }],
            outputs: commitment.collect(),
            lock_time: self.template.height.saturating_sub(1),
            data: self.coin.form.data.then(Vec::new),
        }
    }

    /// Where the extranonces begin in the input script, and the script with zeros in their place.
    fn script(&self) -> (usize, Vec<u8>) {
        let mut script = height_push(self.template.height);
        script.push(EXTRANONCE_SIZE as u8);
        let at = script.len();
        script.extend_from_slice(&[0; EXTRANONCE_SIZE]);
        if !self.tag.is_empty() {
            // At most MAX_TAG bytes: a direct push.
            script.push(self.tag.len() as u8);
            script.extend_from_slice(&self.tag);
        }
        (at, script)
    }

    /// What is left for payouts of what the firmware, the block's weight and its signature operations allow.
    fn room(&self, class: CoinbaseClass, empty: &Transaction) -> Limits {
        // The output count takes one byte in `empty`; more than 252 outputs take three.
        let fixed = empty.base_size() + 2;
        // The witness (marker, flag, count, length, 32 bytes) weighs 36 units.
        let by_weight = self.template.coinbase_weight_max.saturating_sub(36) / 4;
        // Where transactions must pay a fee, a coinbase of 1,000 bytes would have to leave some of it out.
        let free = if self.coin.min_fee > Amount::ZERO { FREE_COINBASE } else { usize::MAX };
        Limits {
            bytes: class.max_bytes().min(by_weight).min(free).saturating_sub(fixed),
            sigops: self.template.coinbase_sigops_max,
            outputs: usize::MAX,
        }
    }

    /// The 80 header bytes of a solution. `scratch` is room to work in, for use again and again.
    pub fn header(&self, class: &ClassJob, solution: &Solution, scratch: &mut Vec<u8>) -> [u8; 80] {
        let coinbase = class.coinbase_in(solution, scratch);
        let root = merkle::root_from_branch(lode_primitives::sha256d(coinbase), &self.branch, 0);
        let mut header = [0; 80];
        header[..4].copy_from_slice(&solution.version.to_le_bytes());
        header[4..36].copy_from_slice(self.template.prev.as_bytes());
        header[36..68].copy_from_slice(root.as_bytes());
        header[68..72].copy_from_slice(&solution.time.to_le_bytes());
        header[72..76].copy_from_slice(&self.template.bits.to_le_bytes());
        header[76..80].copy_from_slice(&solution.nonce.to_le_bytes());
        header
    }

    /// The whole header of a solution: the 80 bytes, and on a prime chain the multiplier. Its hash is the block's id.
    pub fn whole_header(&self, class: &ClassJob, solution: &Solution) -> Vec<u8> {
        let mut header = self.header(class, solution, &mut Vec::new()).to_vec();
        if let Some(multiplier) = &solution.multiplier {
            encode_bytes(multiplier.as_bytes(), &mut header);
        }
        header
    }

    /// The whole block of a solution, as it goes to the node.
    pub fn block(&self, class: &ClassJob, solution: &Solution) -> Vec<u8> {
        let header = self.whole_header(class, solution);
        let coinbase = class.coinbase(solution);
        let template = &self.template;
        let size: usize = template.transactions.iter().map(|tx| tx.bytes.len()).sum();
        let mut block = Vec::with_capacity(size + coinbase.len() + header.len() + 200);
        block.extend_from_slice(&header);
        encode_compact_size(template.transactions.len() as u64 + 1, &mut block);
        let mut coinbase = Transaction::from_bytes(&coinbase, self.coin.form)
            .expect("the coinbase was encoded here; the extranonces do not change its form");
        if template.witness_commitment.is_some() {
            coinbase.inputs[0].witness = Witness(vec![vec![0; 32]]);
        }
        coinbase.encode(&mut block);
        for tx in &template.transactions {
            block.extend_from_slice(&tx.bytes);
        }
        if let Some(mweb) = &template.mweb {
            block.push(1);
            block.extend_from_slice(mweb);
        }
        block
    }
}

fn network_goal(coin: &Coin, template: &Template) -> Result<Goal, JobError> {
    Goal::of_bits(coin.pow, template.bits).map_err(|source| JobError::Bits {
        height: template.height,
        bits: template.bits,
        source,
    })
}

impl ClassJob {
    /// The coinbase of a solution without witness, in `scratch`.
    fn coinbase_in<'a>(&self, solution: &Solution, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        scratch.clear();
        scratch.extend_from_slice(&self.coinbase1);
        scratch.extend_from_slice(&solution.extranonce1);
        scratch.extend_from_slice(&solution.extranonce2);
        scratch.extend_from_slice(&self.coinbase2);
        scratch
    }

    /// The coinbase of a solution, without witness.
    pub fn coinbase(&self, solution: &Solution) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.coinbase_size());
        self.coinbase_in(solution, &mut bytes);
        bytes
    }

    /// Bytes of the coinbase without witness.
    pub fn coinbase_size(&self) -> usize {
        self.coinbase1.len() + EXTRANONCE_SIZE + self.coinbase2.len()
    }
}

/// The height as the shortest push of a script number (BIP34, as the reference client's `CScript << nHeight`).
fn height_push(height: u32) -> Vec<u8> {
    match height {
        0 => vec![0],
        1..=16 => vec![0x50 + height as u8],
        _ => {
            let bytes = height.to_le_bytes();
            let mut used = 4 - height.leading_zeros() as usize / 8;
            // A top bit set would read as negative: one more zero byte.
            let negative = bytes[used - 1] & 0x80 != 0;
            let mut push = vec![0; 1 + used];
            push[1..].copy_from_slice(&bytes[..used]);
            if negative {
                push.push(0);
                used += 1;
            }
            push[0] = used as u8;
            push
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::template::TemplateTx;
    use lode_primitives::{Block, BlockHash, Txid, sha256d};

    pub(crate) fn coin() -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").unwrap()
    }

    pub(crate) fn template() -> Template {
        let tx = Transaction {
            version: 2,
            inputs: vec![TxIn {
                prevout: OutPoint { txid: Txid([7; 32]), vout: 1 },
                script_sig: vec![],
                sequence: 1,
                witness: Witness(vec![vec![1, 2]]),
            }],
            outputs: vec![],
            lock_time: 0,
            data: None,
        };
        Template {
            height: 1000,
            prev: BlockHash([9; 32]),
            version: 0x2000_0000,
            bits: 0x207f_ffff,
            time: 1_700_000_000,
            min_time: 1_600_000_000,
            coinbase_value: Amount::from_sat(5_000_000_123),
            transactions: vec![TemplateTx { bytes: tx.to_bytes().into(), txid: tx.txid() }],
            witness_commitment: Some([&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[5; 32]].concat()),
            mweb: None,
            coinbase_weight_max: 8_000,
            coinbase_sigops_max: 400,
            heard_us: 0,
        }
    }

    /// Books of a single test, with one account that has work in the window.
    pub(crate) struct TestBooks {
        pub(crate) ledger: lode_ledger::Ledger,
        pub(crate) worker: Arc<lode_ledger::Worker>,
        _dir: tempfile::TempDir,
    }

    pub(crate) fn script(n: u32) -> Vec<u8> {
        [&[0, 20][..], &[3; 16], &n.to_be_bytes()].concat()
    }

    pub(crate) fn books(payees: u32) -> TestBooks {
        let dir = tempfile::tempdir().unwrap();
        let options = lode_ledger::LedgerOptions::new(dir.path(), "bitcoin/regtest");
        let (mut ledger, _) = lode_ledger::Ledger::open(options, NOW).unwrap();
        let template = TemplateRef::new(1000, BlockHash([9; 32]), 1.0);
        let worker = ledger.worker("a0", &script(0), "rig").unwrap();
        let shares: Vec<_> = (0..payees)
            .map(|n| lode_ledger::Share {
                worker: ledger.worker(&format!("a{n}"), &script(n), "rig").unwrap(),
                template: Arc::clone(&template),
                credit: lode_ledger::Credit::from_difficulty(1.0).unwrap(),
                time_ms: NOW,
            })
            .collect();
        ledger.record(&shares).unwrap();
        TestBooks { ledger, worker, _dir: dir }
    }

    pub(crate) const NOW: u64 = 1_700_000_000_000;

    pub(crate) fn job_paying(books: &mut TestBooks, seq: u32, template: Template) -> Job {
        let reference = TemplateRef::new(template.height, template.prev, 1.0);
        let split = books
            .ledger
            .split(&reference, template.coinbase_value, &lode_ledger::Payees::Window, NOW)
            .unwrap();
        Job::new(JobParts {
            coin: coin(),
            reference,
            seq,
            time: template.time,
            clean: true,
            tag: "/lode/".into(),
            pays: Pays::Window(split),
            template: Arc::new(template),
        })
        .unwrap()
    }

    fn class(books: &TestBooks, job: &Job, class: CoinbaseClass) -> Arc<ClassJob> {
        job.class(class, books.worker.account()).unwrap()
    }

    fn solution() -> Solution {
        Solution {
            extranonce1: [1, 2, 3, 4],
            extranonce2: [5; 8],
            time: 1_700_000_001,
            nonce: 77,
            version: 0x2000_2000,
            multiplier: None,
        }
    }

    #[test]
    fn a_block_is_what_the_miner_hashed() {
        let mut books = books(1);
        let job = job_paying(&mut books, 1, template());
        let plain = class(&books, &job, CoinbaseClass::Plain);
        let header = job.header(&plain, &solution(), &mut Vec::new());
        let block = Block::from_bytes(&job.block(&plain, &solution()), coin().form).unwrap();
        assert_eq!(block.header.pow_bytes(), header);
        assert_eq!(block.header.version, 0x2000_2000, "a block is rebuilt with the rolled version");
        let leaves: Vec<_> = block.transactions.iter().map(|tx| tx.txid().0).collect();
        assert_eq!(merkle::root(leaves).0, block.header.merkle_root);
        let coinbase = &block.transactions[0];
        assert!(coinbase.is_coinbase() && coinbase.inputs[0].script_sig.starts_with(&[2, 0xe8, 3]));
        assert_eq!(coinbase.inputs[0].witness, Witness(vec![vec![0; 32]]));
        assert_eq!(coinbase.outputs[0].value, Amount::from_sat(5_000_000_123));
        plain.payouts.check(coinbase).unwrap();
    }

    #[test]
    fn what_the_miner_is_sent_leads_to_the_same_header() {
        let mut books = books(3);
        let job = job_paying(&mut books, 0xab, template());
        let full = class(&books, &job, CoinbaseClass::Full);
        let body = job.notify(&full, true).strip_suffix(b"\n").unwrap();
        let lode_stratum::ServerMessage::Notify(sent) = lode_stratum::ServerMessage::parse(body).unwrap()
        else {
            panic!()
        };
        assert_eq!(sent.job_id, "ab");
        let solution = solution();
        let coinbase =
            [&sent.coinbase1[..], &solution.extranonce1, &solution.extranonce2, &sent.coinbase2].concat();
        let root = merkle::root_from_branch(sha256d(&coinbase), &sent.branch, 0);
        assert_eq!(job.header(&full, &solution, &mut Vec::new())[36..68], root.0);
        assert_eq!(sent.prev, BlockHash([9; 32]));
    }

    #[test]
    fn a_line_is_encoded_once_per_class() {
        let mut books = books(1);
        let job = job_paying(&mut books, 1, template());
        let plain = class(&books, &job, CoinbaseClass::Plain);
        let again = class(&books, &job, CoinbaseClass::Plain);
        assert_eq!(job.notify(&plain, true).as_ptr(), job.notify(&again, true).as_ptr());
        assert_ne!(job.notify(&plain, true), job.notify(&plain, false));
        assert_eq!(job.built().count(), 1);
    }

    #[test]
    fn payouts_fill_the_room_of_each_class_and_no_more() {
        let mut template = template();
        template.coinbase_weight_max = 100_000;
        template.coinbase_sigops_max = 10_000;
        let mut books = books(1_000);
        let job = job_paying(&mut books, 1, template);
        for size in CoinbaseClass::ALL {
            let built = class(&books, &job, size);
            let bytes = built.coinbase_size();
            assert!(bytes <= size.max_bytes() && bytes + 34 > size.max_bytes(), "{size}: {bytes}");
            let sum: i64 = built.payouts.outputs().iter().map(|output| output.value.to_sat()).sum();
            assert_eq!(sum, 5_000_000_123);
        }
        assert_eq!(class(&books, &job, CoinbaseClass::Strict).payouts.outputs().len(), 8);
    }

    #[test]
    fn the_nodes_reserve_bounds_the_coinbase_too() {
        let mut books = books(1);
        let job = job_paying(&mut books, 1, template());
        let room = job.room(CoinbaseClass::Full, &job.coinbase());
        assert!(room.bytes < 2_000 && room.sigops == 400);
    }

    #[test]
    fn where_each_is_paid_itself_each_has_a_coinbase_of_its_own() {
        let mut books = books(0);
        let other = books.ledger.account("b", &script(7)).unwrap();
        let template = template();
        let value = template.coinbase_value;
        let reference = TemplateRef::new(template.height, template.prev, 1.0);
        let splits = [books.worker.account(), &other].map(|account| {
            let payees = lode_ledger::Payees::Account(Arc::clone(account));
            books.ledger.split(&reference, value, &payees, NOW).unwrap()
        });
        let mine = script(0);
        let job = Job::new(JobParts {
            coin: coin(),
            reference,
            seq: 1,
            time: template.time,
            clean: true,
            tag: String::new(),
            pays: Pays::Own(Box::new(move |account| {
                Some(Arc::clone(&splits[usize::from(account.script() != mine)]))
            })),
            template: Arc::new(template),
        })
        .unwrap();
        for account in [books.worker.account(), &other] {
            let built = job.class(CoinbaseClass::Plain, account).unwrap();
            assert_eq!(built.payouts.outputs(), [TxOut { value, script_pubkey: account.script().to_vec() }]);
            assert!(Arc::ptr_eq(&built, &job.class(CoinbaseClass::Plain, account).unwrap()));
        }
    }

    #[test]
    fn an_extension_block_is_passed_on_behind_a_one() {
        let mut template = template();
        template.mweb = Some(Bytes::from_static(b"mweb"));
        let mut books = books(1);
        let job = job_paying(&mut books, 1, template);
        let block = job.block(&class(&books, &job, CoinbaseClass::Plain), &solution());
        assert!(block.ends_with(b"\x01mweb"));
    }

    #[test]
    fn heights_are_pushed_as_bip34_says() {
        for (height, push) in [
            (1, vec![0x51]),
            (16, vec![0x60]),
            (17, vec![1, 17]),
            (127, vec![1, 127]),
            (128, vec![2, 128, 0]),
            (32_767, vec![2, 0xff, 0x7f]),
            (32_768, vec![3, 0, 0x80, 0]),
            (900_000, vec![3, 0xa0, 0xbb, 0x0d]),
        ] {
            assert_eq!(height_push(height), push, "{height}");
        }
    }
}
