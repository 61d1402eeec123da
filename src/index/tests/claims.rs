use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::index::{Claim, Dedup};

use super::*;

fn on_disk() -> (tempfile::TempDir, Index) {
    let directory = tempfile::tempdir().unwrap();
    let index = Index::open(directory.path(), REPOSITORY).unwrap().0;
    (directory, index)
}

#[test]
fn a_new_chunk_is_new_once() {
    let index = index();
    let dedup = Dedup::new(&index, MINE).unwrap();
    assert_eq!(dedup.claim(chunk(1)).unwrap(), Claim::New);
    assert_eq!(dedup.claim(chunk(1)).unwrap(), Claim::Known);
    index.add_pending(MINE, &pack(1, &[&[1]])).unwrap();
    dedup.recorded(&[chunk(1)]);
    assert_eq!(dedup.claim(chunk(1)).unwrap(), Claim::Known);
}

#[test]
fn only_usable_chunks_are_known() {
    let index = index();
    let packs = [pack(1, &[&[1]]), pack(2, &[&[2]]), pack(3, &[&[3]])];
    index.add_object(object_id(1), &object(&packs)).unwrap();
    refresh(&index, &[1, 2], &[2]);
    index.add_pending(OTHER, &pack(4, &[&[4]])).unwrap();
    let dedup = Dedup::new(&index, MINE).unwrap();
    let claims = [1, 2, 3, 4, 5].map(|n| dedup.claim(chunk(n)).unwrap());
    assert_eq!(claims, [Claim::Known, Claim::New, Claim::New, Claim::New, Claim::New]);
}

#[test]
fn a_chunk_lost_meanwhile_is_new_again() {
    let index = index();
    let dedup = Dedup::new(&index, MINE).unwrap();
    dedup.claim(chunk(1)).unwrap();
    index.add_pending(MINE, &pack(1, &[&[1]])).unwrap();
    dedup.recorded(&[chunk(1)]);
    refresh(&index, &[], &[]);
    assert_eq!(dedup.claim(chunk(1)).unwrap(), Claim::New);
}

/// Threads claim the same chunks in different orders, and hand what they got to the index in packs of
/// a few chunks, while others still claim them.
#[test]
fn however_many_ask_one_is_told_it_is_new() {
    const THREADS: u64 = 4;
    const ASKED: u64 = 600;
    let (_directory, index) = on_disk();
    index.add_object(object_id(1), &object(&[pack(1, &[&[0], &[1, 2, 3]])])).unwrap();
    refresh(&index, &[1], &[]);
    let dedup = Dedup::new(&index, MINE).unwrap();
    let (barrier, next_pack) = (Barrier::new(THREADS as usize), AtomicU64::new(1 << 32));
    let claim_all = |thread: u64| {
        let mut asked: Vec<u64> = (0..ASKED).chain(0..ASKED).collect();
        asked.shuffle(&mut rand::rngs::ChaCha8Rng::seed_from_u64(thread));
        let (mut news, mut waiting) = (Vec::new(), Vec::new());
        barrier.wait();
        for n in asked {
            if dedup.claim(chunk(n)).unwrap() == Claim::New {
                news.push(n);
                waiting.push(n);
            }
            if waiting.len() == 5 {
                let number = next_pack.fetch_add(1, Ordering::Relaxed);
                index.add_pending(MINE, &pack(number, &[&waiting])).unwrap();
                dedup.recorded(&waiting.iter().map(|n| chunk(*n)).collect::<Vec<_>>());
                waiting.clear();
            }
        }
        news
    };
    let mut news: Vec<u64> = std::thread::scope(|scope| {
        let claim_all = &claim_all;
        let workers: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || claim_all(thread))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    news.sort_unstable();
    assert_eq!(news, (4..ASKED).collect::<Vec<_>>());
}
