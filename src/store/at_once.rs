//! Several calls at once, where each is a trip over a line; one after the other where none is.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{ObjectInfo, ObjectKind, Store, StoreError, list_all};

/// Does `work` for each of `items`, which are small calls to `store`. Gives what came of each, in their order. On a store
/// that is not far they are made in that order, too.
pub fn each<T: Sync, R: Send>(
    store: &dyn Store,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let most = if store.is_far() { store.small_calls() } else { NonZeroUsize::MIN };
    by_threads(most, items, work)
}

/// Does `work` for each of `items`, up to `most` at once; what came of each, in their order.
pub(super) fn by_threads<T: Sync, R: Send>(
    most: NonZeroUsize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = most.get().min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let take = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(take);
        }
        take();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// All objects of several kinds. Where listings cost trips, they are made at once and show what is there in no order;
/// otherwise each begins when the one before has ended.
pub fn list_kinds<const N: usize>(
    store: &dyn Store,
    kinds: [ObjectKind; N],
) -> Result<[Vec<ObjectInfo>; N], StoreError> {
    let mut found = each(store, &kinds, |kind| list_all(store, *kind)).into_iter();
    let mut lists = [const { Vec::new() }; N];
    for list in &mut lists {
        *list = found.next().transpose()?.unwrap_or_default();
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::id::ObjectId;
    use crate::store::{MemoryStore, ObjectName};

    const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();

    #[test]
    fn results_come_in_order_and_calls_are_made_at_once() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(
            by_threads(FOUR, &items, |item| item * 2),
            (0..200).step_by(2).collect::<Vec<_>>()
        );
        assert!(by_threads(FOUR, &[] as &[u8], |item| *item).is_empty());
        // Each waits for three others: one after the other they would wait for ever.
        let barrier = Barrier::new(4);
        by_threads(FOUR, &items, |_| {
            barrier.wait();
        });
    }

    #[test]
    fn kinds_are_listed_each_for_itself() {
        for store in [MemoryStore::new(), MemoryStore::far()] {
            let id = ObjectId::new([1; 32]);
            store.put(&ObjectName::Key(id), &[b"key"]).unwrap();
            store.put(&ObjectName::Index(id), &[b"index"]).unwrap();
            let [keys, packs, index] =
                list_kinds(&store, [ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index]).unwrap();
            assert_eq!((keys[0].size, packs.len(), index[0].size), (3, 0, 5));
        }
    }
}
