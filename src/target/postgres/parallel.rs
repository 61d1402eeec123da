//! Several sessions that share a list of work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::DatabaseError;

/// Does `work` to each of `items` in up to `workers` sessions, each opened by its first item. At the first
/// failure, which is the result, nothing more is begun; the flag tells those at work of it.
pub fn share<T: Sync, S>(
    items: &[T],
    workers: usize,
    open: impl Fn() -> Result<S, DatabaseError> + Sync,
    work: impl Fn(&mut S, &T, &AtomicBool) -> Result<(), DatabaseError> + Sync,
) -> Result<(), DatabaseError> {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure: Mutex<Option<DatabaseError>> = Mutex::new(None);
    let take = || items.get(next.fetch_add(1, Ordering::SeqCst));
    let all = || -> Result<(), DatabaseError> {
        let Some(mut item) = take() else { return Ok(()) };
        let mut session = open()?;
        while !has_failed.load(Ordering::SeqCst) {
            work(&mut session, item, &has_failed)?;
            match take() {
                Some(following) => item = following,
                None => break,
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                if let Err(error) = all() {
                    // What others say of being called back comes later.
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                    has_failed.store(true, Ordering::SeqCst);
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_done_once_and_the_first_failure_is_told() {
        let items: Vec<usize> = (0..100).collect();
        let done = Mutex::new(Vec::new());
        let push = |item: usize| {
            done.lock().unwrap().push(item);
            Ok(())
        };
        share(&items, 4, || Ok(()), |(), item, _| push(*item)).unwrap();
        let mut all = std::mem::take(&mut *done.lock().unwrap());
        all.sort_unstable();
        assert_eq!(all, items);
        let fails = |(): &mut (), item: &usize, _: &AtomicBool| match item {
            3 => Err(DatabaseError::NotThere("three".to_owned())),
            item => push(*item),
        };
        let error = share(&items, 1, || Ok(()), fails).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), done.lock().unwrap().as_slice()),
            ("three", &[0, 1, 2][..])
        );
        assert!(
            share(&[(); 0], 3, || -> Result<(), _> { panic!("for nothing") }, |_, (), _| Ok(()))
                .is_ok()
        );
    }
}
