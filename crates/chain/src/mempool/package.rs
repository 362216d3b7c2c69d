//! Transactions that come together: parents that pay too little by themselves, and the child that pays for them.

use lode_primitives::{Transaction, Txid};

use super::accept::Origin;
use super::{Accepted, Mempool, MempoolError, Removal};
use crate::ChainView;

/// Transactions of a package at most (reference client: `MAX_PACKAGE_COUNT`).
pub const MAX_PACKAGE_COUNT: usize = 25;

impl Mempool {
    /// Takes parents and, as the last, their child, where they are acceptable one by one or, for what pays too little
    /// alone, together: by fees and size of all that is not taken alone. What is taken together may replace nothing.
    /// One verdict per transaction, in order.
    pub fn accept_package(
        &mut self,
        transactions: Vec<Transaction>,
        view: &dyn ChainView,
        now: u32,
    ) -> Vec<Result<Accepted, MempoolError>> {
        let count = transactions.len();
        let mut verdicts: Vec<Option<Result<Accepted, MempoolError>>> = Vec::new();
        verdicts.resize_with(count, || None);
        let mut together = Vec::new();
        for (at, tx) in transactions.into_iter().enumerate() {
            if at >= MAX_PACKAGE_COUNT {
                verdicts[at] = Some(Err(MempoolError::PackageTooLarge(count)));
                continue;
            }
            let spends_waiting =
                tx.inputs.iter().any(|input| together.iter().any(|(_, txid, _)| *txid == input.prevout.txid));
            match self.accept(tx.clone(), view, now) {
                Err(error) if error.is_fee() || (spends_waiting && is_missing(&error)) => {
                    together.push((at, tx.txid(), tx));
                }
                verdict => verdicts[at] = Some(verdict),
            }
        }
        self.accept_together(together, view, now, &mut verdicts);
        verdicts.into_iter().map(|verdict| verdict.unwrap_or(Err(MempoolError::PackageFailed))).collect()
    }

    fn accept_together(
        &mut self,
        transactions: Vec<(usize, Txid, Transaction)>,
        view: &dyn ChainView,
        now: u32,
        verdicts: &mut [Option<Result<Accepted, MempoolError>>],
    ) {
        let (mut fees, mut vsize) = (0i64, 0);
        let mut taken: Vec<(usize, Accepted)> = Vec::new();
        let mut failed = None;
        for (at, _, tx) in transactions {
            let conflict = tx.inputs.iter().any(|input| self.spends.contains_key(&input.prevout));
            let checked = match self.check(&tx, view, now, Origin::Package) {
                Ok(_) if conflict => Err(MempoolError::PackageReplaces),
                checked => checked,
            };
            match checked {
                Ok(checked) => {
                    fees = fees.saturating_add(checked.candidate.rate.fee);
                    vsize += checked.tested.vsize;
                    let accepted = checked.tested.accepted();
                    self.add(tx, checked, view, now);
                    taken.push((at, accepted));
                }
                Err(error) => {
                    failed = Some((at, error));
                    break;
                }
            }
        }
        if failed.is_none() && !taken.is_empty() {
            failed = self.check_fee(fees, vsize, now).err().map(|error| (taken[taken.len() - 1].0, error));
        }
        if let Some((at, error)) = failed {
            // None of them replaced anything, so taking them out is undoing it all.
            let slots: Vec<_> =
                taken.iter().filter_map(|(_, accepted)| self.by_txid.get(&accepted.txid)).copied().collect();
            self.remove(&slots);
            verdicts[at] = Some(Err(error));
            return;
        }
        let mut removed = self.expire(now);
        removed.extend(self.trim(now));
        for (at, accepted) in taken {
            let here = self.by_txid.contains_key(&accepted.txid);
            let removed: Vec<(_, Removal)> = std::mem::take(&mut removed);
            verdicts[at] =
                Some(if here { Ok(Accepted { removed, ..accepted }) } else { Err(MempoolError::Full) });
        }
    }
}

const fn is_missing(error: &MempoolError) -> bool {
    matches!(error, MempoolError::MissingInputs(_))
}
