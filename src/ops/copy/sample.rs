//! A random part of the copy is read back and held against its names; what is wrong is put there anew.

use crate::event::Event;
use crate::store::{ObjectKind, ObjectName, StoreErrorKind, each};

use super::Copying;
use super::error::CopyError;
use super::source::{Read, View, read_whole};
use super::summary::{CopyReport, Problem};

impl Copying<'_> {
    /// Reads back a random part of what the source has, too.
    pub(super) fn sample(&self, view: &View, report: &mut CopyReport) -> Result<(), CopyError> {
        let held = self.holdings.all()?;
        let is_meant = |name: &ObjectName| {
            let kinds = [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot];
            kinds.contains(&name.kind()) && view.has(name)
        };
        let mut pool: Vec<(ObjectName, u64)> = held
            .into_iter()
            .filter(|(name, holding)| holding.is_there() && is_meant(name))
            .map(|(name, holding)| (name, holding.size))
            .collect();
        pool.sort_unstable();
        let chosen = self.choose(pool);
        if chosen.is_empty() {
            return Ok(());
        }
        let total = chosen.iter().map(|(_, size)| size).sum();
        self.observer.event(&Event::StepStarted { step: "sample", total_bytes: Some(total) });
        // As many packs at once as are sent at once.
        for some in chosen.chunks(self.store().connections().get()) {
            self.keep_going()?;
            let looked = each(self.store(), some, |(name, size)| {
                let problem = match read_whole(self.store(), name)? {
                    Read::Good(_) => None,
                    Read::Missing => {
                        Some((Problem::Dropped, "the copy had it, and has it no more"))
                    }
                    Read::Damaged(_) => {
                        Some((Problem::OtherBytes, "the copy returns other bytes than were stored"))
                    }
                };
                self.observer.event(&Event::Progress { bytes: *size, items: 1 });
                Ok::<_, CopyError>(problem)
            });
            for ((name, size), problem) in some.iter().zip(looked) {
                report.sampled += 1;
                report.sampled_bytes += size;
                if let Some((problem, message)) = problem? {
                    report.find(self.observer, *name, problem, message);
                    self.put_anew(name, report)?;
                }
            }
        }
        self.observer.event(&Event::StepFinished { step: "sample" });
        Ok(())
    }

    /// Some of `pool`, each as likely as the others.
    fn choose(&self, mut pool: Vec<(ObjectName, u64)>) -> Vec<(ObjectName, u64)> {
        let sample = self.options.sample;
        let share = (pool.len() as u64).saturating_mul(sample.share.into()).div_ceil(10_000);
        let count = usize::try_from(share.min(sample.most)).unwrap_or(usize::MAX).min(pool.len());
        let random = self.source.environment().random.as_ref();
        for at in 0..count {
            let left = (pool.len() - at) as u64;
            let number = u64::from_le_bytes(crate::crypto::random::random_bytes(random));
            // The remainder favours none by more than one in 2^40.
            let other = at + usize::try_from(number % left).unwrap_or(0);
            pool.swap(at, other);
        }
        pool.truncate(count);
        pool
    }

    /// Tells what is wrong with an object of the copy, and puts it anew.
    pub(super) fn mend(
        &self,
        name: &ObjectName,
        problem: Problem,
        report: &mut CopyReport,
    ) -> Result<(), CopyError> {
        let message = "the copy has it in another length than the source";
        report.find(self.observer, *name, problem, message);
        self.put_anew(name, report)
    }

    /// Puts an object in place of a wrong one, and reads it back. The source must have it whole.
    fn put_anew(&self, name: &ObjectName, report: &mut CopyReport) -> Result<(), CopyError> {
        let bytes = match read_whole(self.source.store().as_ref(), name)? {
            Read::Good(bytes) => bytes,
            Read::Missing => {
                report.explain(name, "the source has it no more");
                return Ok(());
            }
            Read::Damaged(reason) => {
                report.explain(name, &format!("it is damaged at the source, too: {reason}"));
                return Ok(());
            }
        };
        // From here on it counts as not there: a run that is cut puts it again.
        self.holdings.remove(&[*name])?;
        match self.store().delete(name) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::Denied => {
                report.explain(name, "nothing can be deleted there, so that it cannot be replaced");
                self.holdings.add(&[(*name, bytes.len() as u64)])?;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.store().put(name, &[&bytes])?;
        self.store().sync()?;
        match read_whole(self.store(), name)? {
            Read::Good(_) => {
                self.holdings.add(&[(*name, bytes.len() as u64)])?;
                report.bytes += bytes.len() as u64;
                report.mended(name);
            }
            Read::Missing | Read::Damaged(_) => {
                report
                    .explain(name, "it was put anew, and is wrong again: do not trust this store");
            }
        }
        Ok(())
    }
}
