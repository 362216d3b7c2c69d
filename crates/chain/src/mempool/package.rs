//! Transactions that come together: parents that pay too little by themselves, and the child that pays for them; and
//! dependent transactions that are to be judged without being taken.
//!
//! The order of the rules is the reference client's, so that of several broken ones the same is named.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lode_primitives::{Transaction, Txid, Wtxid};

use super::accept::{Facts, Origin, check_max_rate};
use super::graph::Slot;
use super::linearize::FeeSize;
use super::{Mempool, MempoolError, Removal, Tested, truc};
use crate::ChainView;
use crate::policy::FeeRate;

/// Transactions of a package at most (reference client: `MAX_PACKAGE_COUNT`).
pub const MAX_PACKAGE_COUNT: usize = 25;

/// Weight units of a package at most (reference client: `MAX_PACKAGE_WEIGHT`).
const MAX_PACKAGE_WEIGHT: usize = 404_000;

/// Why a package was refused as a whole; [`PackageError::reject_reason`] is the reference client's short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// One of the transactions was refused: its own verdict says why.
    #[error("a transaction of it was refused")]
    Transaction,
    /// One leaves dust of its parent unspent: its own verdict says which.
    #[error("a transaction of it leaves dust of its parent unspent")]
    UnspentDust,
    /// Too many transactions.
    #[error("{0} transactions; 25 are the most")]
    TooMany(usize),
    /// Too heavy.
    #[error("weight {0}; 404000 is the most")]
    TooLarge(usize),
    /// The same transaction twice, with the same witnesses or others.
    #[error("it holds a transaction twice")]
    Duplicates,
    /// A child before its parent.
    #[error("a child comes before its parent")]
    NotSorted,
    /// Two spend the same output.
    #[error("two of its transactions spend the same output")]
    Conflict,
    /// Not a child, as the last, and parents of it.
    #[error("not all others are parents of the last")]
    NotChildWithParents,
    /// A rule of version 3 transactions (BIP431); which.
    #[error("version 3 rule: {0}")]
    Truc(&'static str),
    /// Its cluster would be larger than 64 transactions or 101 kvB.
    #[error("would make a cluster of more than 64 transactions or 101 kvB")]
    ClusterTooLarge,
    /// It would replace transactions, which only a parent and a child by themselves may, if they pay for it.
    #[error("it would replace transactions, but {}", .0)]
    Replacement(&'static str),
}

impl PackageError {
    /// The reference client's short name.
    pub fn reject_reason(&self) -> String {
        match self {
            Self::Transaction => "transaction failed",
            Self::UnspentDust => "unspent-dust",
            Self::TooMany(_) => "package-too-many-transactions",
            Self::TooLarge(_) => "package-too-large",
            Self::Duplicates => "package-contains-duplicates",
            Self::NotSorted => "package-not-sorted",
            Self::Conflict => "conflict-in-package",
            Self::NotChildWithParents => "package-not-child-with-parents",
            Self::Truc(_) => "TRUC-violation",
            Self::ClusterTooLarge => "too-large-cluster",
            Self::Replacement(why) => return format!("package RBF failed: {why}"),
        }
        .to_owned()
    }

    /// True where no transaction by itself was at fault.
    pub const fn is_of_package(&self) -> bool {
        !matches!(self, Self::Transaction | Self::UnspentDust)
    }
}

/// What became of one transaction of a package.
#[derive(Debug)]
pub enum PackageVerdict {
    /// Taken, or it would be.
    Taken {
        /// What was found of it.
        tested: Tested,
        /// What those pay together whose fees counted as one: satoshi, with what priority adds.
        fee: i64,
        /// Their virtual bytes.
        vsize: usize,
        /// Their ids with witnesses.
        includes: Arc<[Wtxid]>,
    },
    /// It is here already.
    Here(Tested),
    /// It is here with other witnesses, by this id; those that came were not looked at.
    OtherWitness(Wtxid),
    /// Not taken.
    Refused(MempoolError),
}

/// What became of a package.
#[derive(Debug, Default)]
pub struct PackageReport {
    /// `None` where all its transactions were taken, or would be.
    pub error: Option<PackageError>,
    /// One for each transaction, in order; `None` where it was not judged, because of others.
    pub verdicts: Vec<Option<PackageVerdict>>,
    /// What left the mempool for it.
    pub removed: Vec<(Arc<Transaction>, Removal)>,
}

impl PackageReport {
    fn of(count: usize, error: Option<PackageError>) -> Self {
        let verdicts = std::iter::repeat_with(|| None).take(count).collect();
        Self { error, verdicts, removed: Vec::new() }
    }

    fn refuse(&mut self, at: usize, error: MempoolError) {
        let dust = matches!(error, MempoolError::DustUnspent(_));
        self.error = Some(if dust { PackageError::UnspentDust } else { PackageError::Transaction });
        self.verdicts[at] = Some(PackageVerdict::Refused(error));
    }
}

/// How transactions are gone through together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Judged as if each came by itself, after those before it; nothing stays.
    Test,
    /// Taken, by what all pay together.
    Submit,
}

/// Transactions that are gone through together, and what they are judged by.
#[derive(Clone, Copy)]
struct Together<'a> {
    transactions: &'a [Transaction],
    mode: Mode,
    /// What pays a higher rate is refused.
    max_rate: Option<FeeRate>,
    view: &'a dyn ChainView,
    now: u32,
}

impl Mempool {
    /// Takes parents and, as the last, their child, where they are acceptable one by one or, for what pays too little
    /// alone, together: by fees and size of all that is not taken alone. A parent and a child may replace others that
    /// way. `max_rate`: refuse what pays a higher rate.
    pub fn accept_package(
        &mut self,
        transactions: &[Transaction],
        max_rate: Option<FeeRate>,
        view: &dyn ChainView,
        now: u32,
    ) -> PackageReport {
        let txids: Vec<Txid> = transactions.iter().map(Transaction::txid).collect();
        let formed = check_form(transactions, &txids).and_then(|()| check_child(transactions, &txids));
        let mut report = PackageReport::of(transactions.len(), formed.err());
        if report.error.is_some() {
            return report;
        }
        let mut together = Vec::new();
        let mut failed = false;
        for (at, (tx, txid)) in transactions.iter().zip(&txids).enumerate() {
            if let Some(entry) = self.get(txid) {
                report.verdicts[at] = Some(if entry.wtxid == tx.wtxid() {
                    let (wtxid, vsize) = (entry.wtxid, entry.vsize());
                    PackageVerdict::Here(Tested { txid: *txid, wtxid, vsize, fee: entry.fee })
                } else {
                    PackageVerdict::OtherWitness(entry.wtxid)
                });
                continue;
            }
            match self.accept_alone(tx.clone(), view, now, max_rate) {
                Ok((tested, removed)) => {
                    report.removed.extend(removed);
                    report.verdicts[at] = Some(self.taken_alone(tested));
                }
                Err(error) => {
                    let again = error.is_fee() || matches!(error, MempoolError::MissingInputs(_));
                    failed |= !again || transactions.len() == 1;
                    together.push(at);
                    report.verdicts[at] = Some(PackageVerdict::Refused(error));
                }
            }
        }
        if failed {
            report.error = Some(PackageError::Transaction);
        } else if let [at] = *together {
            // What stood in its way alone may be gone: its parent has come since.
            match self.accept_alone(transactions[at].clone(), view, now, max_rate) {
                Ok((tested, removed)) => {
                    report.removed.extend(removed);
                    report.verdicts[at] = Some(self.taken_alone(tested));
                }
                Err(error) => report.refuse(at, error),
            }
        } else if !together.is_empty() {
            let package = Together { transactions, mode: Mode::Submit, max_rate, view, now };
            self.accept_together(package, &together, &mut report);
        }
        report.removed.extend(self.expire(now));
        report.removed.extend(self.trim(now));
        for (verdict, txid) in report.verdicts.iter_mut().zip(&txids) {
            if !matches!(verdict, None | Some(PackageVerdict::Refused(_))) && !self.contains(txid) {
                *verdict = Some(PackageVerdict::Refused(MempoolError::Full));
                report.error = Some(PackageError::Transaction);
            }
        }
        report
    }

    /// Whether transactions would be taken one after the other, parents before children; nothing of them stays.
    pub fn test_package(
        &mut self,
        transactions: &[Transaction],
        view: &dyn ChainView,
        now: u32,
    ) -> PackageReport {
        let txids: Vec<Txid> = transactions.iter().map(Transaction::txid).collect();
        let mut report = PackageReport::of(transactions.len(), check_form(transactions, &txids).err());
        if report.error.is_none() {
            let counters = (self.changes, self.sequence);
            let all: Vec<usize> = (0..transactions.len()).collect();
            let package = Together { transactions, mode: Mode::Test, max_rate: None, view, now };
            self.accept_together(package, &all, &mut report);
            (self.changes, self.sequence) = counters;
        }
        report
    }

    fn taken_alone(&self, tested: Tested) -> PackageVerdict {
        let fee = self.get(&tested.txid).map_or_else(|| tested.fee.to_sat(), super::Entry::modified_fee);
        PackageVerdict::Taken { tested, fee, vsize: tested.vsize, includes: [tested.wtxid].into() }
    }

    /// Goes through those of the package that `together` lists. Where one is refused none is taken.
    fn accept_together(&mut self, judged: Together<'_>, together: &[usize], report: &mut PackageReport) {
        let mut added = Vec::new();
        let verdict = self.try_together(judged, together, report, &mut added);
        let undo = match verdict {
            Ok(()) => judged.mode == Mode::Test,
            Err(Failure::Package(error)) => {
                report.error = Some(error);
                true
            }
            Err(Failure::Of(at, error)) => {
                report.refuse(at, error);
                true
            }
        };
        if undo {
            // None of them replaced anything, so taking them out is undoing it all.
            let slots: Vec<Slot> = added.iter().filter_map(|txid| self.by_txid.get(txid)).copied().collect();
            self.remove(&slots);
        }
    }

    /// The inner half of [`Self::accept_together`]; what it adds is in `added` whether it fails or not.
    fn try_together(
        &mut self,
        judged: Together<'_>,
        together: &[usize],
        report: &mut PackageReport,
        added: &mut Vec<Txid>,
    ) -> Result<(), Failure> {
        let Together { transactions, mode, max_rate, view, now } = judged;
        let origin = if mode == Mode::Test { Origin::PackageTest } else { Origin::Package };
        let mut package: HashMap<Txid, &Transaction> = HashMap::new();
        let mut all: Vec<(usize, Facts)> = Vec::new();
        for &at in together {
            let of = |error| Failure::Of(at, error);
            let facts = self.facts(&transactions[at], view, now, origin, &package).map_err(of)?;
            check_max_rate(&facts, max_rate).map_err(of)?;
            package.insert(facts.tested.txid, &transactions[at]);
            all.push((at, facts));
        }
        let described: Vec<_> = all
            .iter()
            .map(|(at, facts)| (&transactions[*at], facts.tested.txid, facts.tested.vsize, &facts.parents))
            .collect();
        truc::check_package(&self.graph, &described).map_err(PackageError::Truc)?;

        let sum = all.iter().fold(FeeSize::default(), |sum, (_, facts)| sum.plus(facts.rate()));
        let vsize = all.iter().map(|(_, facts)| facts.tested.vsize).sum();
        let last = together[together.len() - 1];
        if mode == Mode::Submit {
            self.check_fee(sum.fee, vsize, now).map_err(|error| Failure::Of(last, error))?;
        }
        let replaced = match &all[..] {
            _ if all.iter().all(|(_, facts)| facts.conflicts.is_empty()) => None,
            [(_, parent), (_, child)] => Some(self.check_pair(parent, child, vsize)?),
            _ => return Err(PackageError::Replacement("package must be 1-parent-1-child").into()),
        };
        if replaced.is_none() {
            self.add_all(judged, &all, added)?;
        }
        if self.options.require_standard {
            for (at, facts) in &all {
                let tx = &transactions[*at];
                let here = facts.parents.iter().map(|parent| &*self.graph.get(*parent).tx);
                let with = tx.inputs.iter().filter_map(|input| package.get(&input.prevout.txid)).copied();
                for parent in here.chain(with) {
                    self.check_dust_spent(tx, parent).map_err(|error| Failure::Of(*at, error))?;
                }
            }
        }
        let includes: Arc<[Wtxid]> = all.iter().map(|(_, facts)| facts.tested.wtxid).collect();
        let mut taken = Vec::new();
        for (at, facts) in &all {
            let checked = self.check_scripts(&transactions[*at], &facts.spent, view);
            checked.map_err(|error| Failure::Of(*at, error))?;
            let tested = facts.tested;
            if mode == Mode::Test {
                let (fee, includes) = (facts.rate().fee, [tested.wtxid].into());
                report.verdicts[*at] =
                    Some(PackageVerdict::Taken { tested, fee, vsize: tested.vsize, includes });
            } else {
                let includes = Arc::clone(&includes);
                taken.push((*at, PackageVerdict::Taken { tested, fee: sum.fee, vsize, includes }));
            }
        }
        if let Some(replaced) = replaced {
            report.removed.extend(self.remove(&replaced).into_iter().map(|tx| (tx, Removal::Replaced)));
            // Nothing is left that they conflict with, and two of them are no cluster too large.
            all.iter_mut().for_each(|(_, facts)| facts.conflicts.clear());
            self.add_all(judged, &all, added)?;
        }
        for (at, verdict) in taken {
            report.verdicts[at] = Some(verdict);
        }
        Ok(())
    }

    fn add_all(
        &mut self,
        judged: Together<'_>,
        all: &[(usize, Facts)],
        added: &mut Vec<Txid>,
    ) -> Result<(), PackageError> {
        for (at, facts) in all {
            let tx = &judged.transactions[*at];
            let (candidate, plan) =
                self.check_cluster(tx, facts).map_err(|_| PackageError::ClusterTooLarge)?;
            self.add(tx.clone(), facts, candidate, plan, judged.view, judged.now);
            added.push(facts.tested.txid);
        }
        Ok(())
    }

    /// What a parent and its child replace together, where they may: both stand alone, the child is what pays, and the
    /// mempool is the better for it.
    fn check_pair(&self, parent: &Facts, child: &Facts, vsize: usize) -> Result<Vec<Slot>, PackageError> {
        let refused = |why| Err(PackageError::Replacement(why));
        if !parent.parents.is_empty() || !child.parents.is_empty() {
            return refused("new transaction cannot have mempool ancestors");
        }
        let pair = parent.rate().plus(child.rate());
        let conflicts = parent.conflicts.iter().chain(&child.conflicts).copied();
        // Virtual bytes are counted transaction by transaction.
        let relayed = FeeSize { weight: 4 * vsize as u64, ..pair };
        let removed = match self.check_replaced(conflicts, relayed, false) {
            Ok(removed) => removed,
            Err(MempoolError::TooManyReplacements { .. }) => {
                return refused("too many potential replacements");
            }
            Err(_) => return refused("insufficient anti-DoS fees"),
        };
        let by_vsize = |facts: &Facts| FeeSize { weight: facts.tested.vsize as u64, ..facts.rate() };
        if by_vsize(parent).plus(by_vsize(child)).cmp_rate(&by_vsize(parent)).is_le() {
            return refused("package feerate is less than or equal to parent feerate");
        }
        if pair.weight > self.options.max_cluster_weight() {
            return Err(PackageError::ClusterTooLarge);
        }
        let plan = self.graph.plan(None, &removed, u64::MAX).map_err(|_| PackageError::ClusterTooLarge)?;
        match self.check_diagram(&plan, &[pair]) {
            Ok(()) => Ok(removed),
            Err(_) => refused("insufficient feerate: does not improve feerate diagram"),
        }
    }
}

/// Why transactions are not taken together.
enum Failure {
    /// As a whole.
    Package(PackageError),
    /// Because of the one at this place.
    Of(usize, MempoolError),
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        Self::Package(error)
    }
}

/// What a package must be by itself.
fn check_form(transactions: &[Transaction], txids: &[Txid]) -> Result<(), PackageError> {
    let count = transactions.len();
    if count > MAX_PACKAGE_COUNT {
        return Err(PackageError::TooMany(count));
    }
    let weight: usize = transactions.iter().map(Transaction::weight).sum();
    if count > 1 && weight > MAX_PACKAGE_WEIGHT {
        return Err(PackageError::TooLarge(weight));
    }
    let mut later: HashSet<&Txid> = txids.iter().collect();
    if later.len() != count {
        return Err(PackageError::Duplicates);
    }
    for (tx, txid) in transactions.iter().zip(txids) {
        if tx.inputs.iter().any(|input| later.contains(&input.prevout.txid)) {
            return Err(PackageError::NotSorted);
        }
        later.remove(txid);
    }
    let mut spent = HashSet::new();
    for tx in transactions {
        if tx.inputs.is_empty() || tx.inputs.iter().any(|input| spent.contains(&input.prevout)) {
            return Err(PackageError::Conflict);
        }
        // Twice in one transaction is that transaction's own fault, and told as such.
        spent.extend(tx.inputs.iter().map(|input| input.prevout));
    }
    Ok(())
}

/// That all but the last are parents of the last.
fn check_child(transactions: &[Transaction], txids: &[Txid]) -> Result<(), PackageError> {
    let Some((child, _)) = transactions.split_last() else { return Ok(()) };
    let spent: HashSet<&Txid> = child.inputs.iter().map(|input| &input.prevout.txid).collect();
    let parents = txids.len() - 1;
    if txids[..parents].iter().all(|txid| spent.contains(txid)) {
        Ok(())
    } else {
        Err(PackageError::NotChildWithParents)
    }
}
