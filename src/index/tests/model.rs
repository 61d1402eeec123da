//! Random sequences of changes, against a model that keeps everything in maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Packs there can be, and objects and sessions. What pack `n` holds never changes.
const PACKS: u64 = 6;
const OBJECTS: u64 = 4;
const SESSIONS: [SessionId; 3] = [MINE, OTHER, SessionId::new([3; 16])];
const CHUNKS: u64 = 9;

#[derive(Debug, Clone)]
enum Step {
    Add(u64, Vec<u64>),
    Drop(Vec<u64>),
    Pending(usize, u64),
    Confirm(usize, u64, Vec<u64>),
    Refresh(Vec<u64>, Vec<u64>),
    DropPending(Vec<usize>),
    /// Changes nothing to be seen.
    Merge,
}

#[derive(Debug, Default)]
struct ModelPack {
    objects: HashSet<u64>,
    pending: Option<usize>,
    is_present: bool,
    is_condemned: bool,
}

impl ModelPack {
    fn is_usable(&self, session: usize) -> bool {
        self.is_present && !self.is_condemned && self.pending.is_none_or(|by| by == session)
    }
}

#[derive(Debug, Default)]
struct Model {
    packs: BTreeMap<u64, ModelPack>,
    objects: HashSet<u64>,
    losses: i64,
}

fn content(n: u64) -> IndexedPack {
    match n {
        0 => pack(n, &[&[0], &[1, 2]]),
        1 => pack(n, &[&[1], &[1, 2, 3]]),
        2 => pack(n, &[&[4], &[5], &[0]]),
        3 => pack(n, &[&[1, 2]]),
        4 => pack(n, &[]),
        _ => pack(n, &[&[6, 7, 8, 0]]),
    }
}

impl Model {
    fn retain(&mut self, keep: impl Fn(&ModelPack) -> bool) {
        let lost = self.packs.values().any(|p| !keep(p) && p.is_present && !p.is_condemned);
        self.losses += i64::from(lost);
        self.packs.retain(|_, pack| keep(pack));
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Add(object, packs) => {
                if self.objects.insert(*object) {
                    for n in packs {
                        let pack = self.packs.entry(*n).or_default();
                        pack.objects.insert(*object);
                        pack.pending = None;
                    }
                }
            }
            Step::Drop(objects) => {
                self.objects.retain(|object| !objects.contains(object));
                for pack in self.packs.values_mut() {
                    pack.objects.retain(|object| !objects.contains(object));
                }
                self.retain(|pack| pack.pending.is_some() || !pack.objects.is_empty());
            }
            Step::Pending(session, n) => {
                let is_new = !self.packs.contains_key(n);
                let pack = self.packs.entry(*n).or_default();
                pack.is_present = true;
                if is_new || pack.pending.is_some() {
                    pack.pending = Some(*session);
                }
            }
            Step::Confirm(session, object, packs) => {
                let is_known = |n| {
                    self.packs
                        .get(n)
                        .is_some_and(|p: &ModelPack| p.pending.is_none_or(|by| by == *session))
                };
                if packs.iter().all(is_known) {
                    self.apply(&Step::Add(*object, packs.clone()));
                }
            }
            Step::Refresh(listed, condemned) => {
                let mut is_loss = false;
                for (n, pack) in &mut self.packs {
                    let was_usable = pack.is_present && !pack.is_condemned;
                    pack.is_present = listed.contains(n);
                    pack.is_condemned = condemned.contains(n);
                    is_loss |= was_usable && (!pack.is_present || pack.is_condemned);
                }
                self.losses += i64::from(is_loss);
            }
            Step::DropPending(live) => {
                self.retain(|pack| pack.pending.is_none_or(|by| live.contains(&by)));
            }
            Step::Merge => {}
        }
    }

    fn check(&self, index: &Index) {
        assert_eq!(index.loss_generation().unwrap() - 1, self.losses);
        let objects: HashSet<_> = self.objects.iter().map(|n| object_id(*n)).collect();
        assert_eq!(index.objects().unwrap(), objects);
        let all: Vec<_> = (0..CHUNKS).map(chunk).collect();
        for (number, session) in SESSIONS.into_iter().enumerate() {
            let usable = all.iter().map(|wanted| {
                self.packs.iter().any(|(n, pack)| {
                    pack.is_usable(number)
                        && content(*n)
                            .entries
                            .iter()
                            .flat_map(|e| &e.chunks)
                            .any(|c| c.id == *wanted)
                })
            });
            assert_eq!(index.are_usable(&all, session).unwrap(), usable.collect::<Vec<_>>());
            for wanted in &all {
                let found = index.locate(wanted, Some(session)).unwrap();
                let is_good =
                    |place: &&super::super::Place| place.is_present && !place.is_condemned;
                let good = found.iter().take_while(is_good).count();
                assert!(!found[good..].iter().any(|place| is_good(&place)), "good ones come first");
                let places: HashSet<_> = found
                    .iter()
                    .map(|p| (p.pack, p.entry.offset, p.chunk_offset, p.is_present, p.is_condemned))
                    .collect();
                assert_eq!(places.len(), found.len());
                assert_eq!(places, self.places(wanted, number));
            }
        }
        let packs: HashSet<_> = index.packs().unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(packs, self.packs.keys().map(|n| pack_id(*n)).collect());
        let entries = self.packs.keys().map(|n| content(*n).entries.len() as u64);
        assert_eq!(index.counts().unwrap().segments, entries.sum::<u64>());
    }

    fn places(&self, wanted: &ChunkId, session: usize) -> HashSet<(PackId, u32, u32, bool, bool)> {
        let mut places = HashSet::new();
        for (n, pack) in &self.packs {
            if pack.pending.is_some_and(|by| by != session) {
                continue;
            }
            for entry in content(*n).entries {
                if let Some(at) = entry.chunks.iter().position(|chunk| chunk.id == *wanted) {
                    let at = 10 * at as u32;
                    places.insert((
                        pack_id(*n),
                        entry.offset,
                        at,
                        pack.is_present,
                        pack.is_condemned,
                    ));
                }
            }
        }
        places
    }
}

fn run(index: &Index, step: &Step) {
    match step {
        Step::Add(n, packs) => {
            let packs: Vec<_> = packs.iter().map(|n| content(*n)).collect();
            index.add_object(object_id(*n), &object(&packs)).unwrap();
        }
        Step::Drop(objects) => {
            let gone: Vec<_> = objects.iter().map(|n| object_id(*n)).collect();
            index.drop_objects(&gone).unwrap();
        }
        Step::Pending(session, n) => index.add_pending(SESSIONS[*session], &content(*n)).unwrap(),
        Step::Confirm(session, n, packs) => {
            let packs: Vec<_> = packs.iter().map(|n| pack_id(*n)).collect();
            index.confirm(SESSIONS[*session], object_id(*n), &packs).unwrap();
        }
        Step::Refresh(listed, condemned) => refresh(index, listed, condemned),
        Step::DropPending(live) => {
            let live: Vec<_> = live.iter().map(|n| SESSIONS[*n]).collect();
            let dead = SESSIONS.into_iter().filter(|session| !live.contains(session)).collect();
            index.drop_pending(&dead).unwrap();
        }
        Step::Merge => index.write("merging", crate::index::rows::merge).unwrap(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let packs = || prop::collection::vec(0..PACKS, 0..5);
    let session = || 0..SESSIONS.len();
    prop_oneof![
        3 => (0..OBJECTS, packs()).prop_map(|(n, packs)| Step::Add(n, packs)),
        2 => prop::collection::vec(0..OBJECTS, 0..3).prop_map(Step::Drop),
        2 => (session(), 0..PACKS).prop_map(|(session, n)| Step::Pending(session, n)),
        2 => (session(), 0..OBJECTS, packs()).prop_map(|(by, n, packs)| Step::Confirm(by, n, packs)),
        4 => (packs(), packs()).prop_map(|(listed, condemned)| Step::Refresh(listed, condemned)),
        2 => Just(Step::Refresh((0..PACKS).collect(), Vec::new())),
        1 => prop::collection::vec(session(), 0..3).prop_map(Step::DropPending),
        1 => Just(Step::Merge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_agrees_with_a_model(steps in prop::collection::vec(step(), 1..25)) {
        let index = index();
        let mut model = Model::default();
        for step in &steps {
            run(&index, step);
            model.apply(step);
            model.check(&index);
        }
    }
}
