//! The state of the model: the store as everybody could list it, and what each actor remembers.
//!
//! One piece of content is enough to go wrong: every writer wants to store the same chunk. It lies in an
//! old pack `P`; each writer can put it into two packs of its own (the second when the first must be
//! replaced). Sets are bit masks in a byte. What an actor will not look at again is cleared, so that
//! states that differ in nothing that matters are one state.

/// Most writers there can be.
pub const WRITERS: usize = 2;
/// Most prunes there can be.
pub const PRUNES: usize = 2;
/// Condemned objects: one a prune, one from before, one of the cleaning at the end.
pub const CONDEMNED: usize = PRUNES + 2;
/// The condemned object from before.
pub const CONDEMNED_BEFORE: usize = PRUNES;
/// The condemned object of the cleaning at the end.
pub const CONDEMNED_AT_END: usize = PRUNES + 1;

/// A set of packs.
pub type Packs = u8;
/// The pack that is there from the start.
pub const OLD: Packs = 1;
/// All packs there can be.
const ALL_PACKS: Packs = (1 << (1 + 2 * WRITERS)) - 1;

/// The pack a writer makes first, or second.
pub fn new_pack(writer: usize, second: bool) -> Packs {
    2 << (2 * writer + usize::from(second))
}

/// Where a writer is: what it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum WriterAt {
    #[default]
    OpenSession,
    SeeSession,
    ListCondemned,
    ReadIndex,
    ListPacks,
    Upload,
    WriteIndex,
    Stage,
    RelistCondemned,
    /// Lists packs again, having found its pack not condemned.
    RelistPacks,
    /// Lists packs again, having found its pack condemned.
    RelistPacksToReplace,
    Publish,
    /// In an object store: has read what it staged, and creates the fence.
    Fence,
    /// In an object store: has created the fence, and puts the snapshot.
    Put,
    /// In an object store: removes what it staged.
    RemoveStaged,
    EndSession,
    Done,
    Crashed,
}

/// What is in the store of a writer's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Session {
    /// Not written yet, or ended by its writer.
    #[default]
    None,
    /// Written, and missing in every listing so far.
    Unlisted,
    Listed,
    /// Listed, and without a beat for so long that a prune is about to remove it.
    Stale,
    /// Removed by a prune.
    Removed,
}

impl Session {
    /// Whether listings show it.
    pub fn is_listed(self) -> bool {
        matches!(self, Self::Listed | Self::Stale)
    }
}

/// What is in the store of a writer's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Snapshot {
    /// Not published, or forgotten.
    #[default]
    None,
    /// Published, and missing in every listing so far.
    Unlisted,
    Listed,
}

/// What an object that only one can create says of a staged snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Fence {
    #[default]
    None,
    /// Its writer publishes it.
    Published,
    /// Whoever expired the session removes it.
    Removed,
    /// Its writer has created the fence, and whoever expired the session has made the snapshot's name unusable.
    Barred,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Writer {
    pub at: WriterAt,
    pub session: Session,
    pub snapshot: Snapshot,
    /// Its snapshot is written aside.
    pub staged: bool,
    /// What becomes of that, in an object store.
    pub fence: Fence,
    /// The pack it uses; once committed, the pack its snapshot needs.
    pub uses: Packs,
    /// Rows of the index it has read, until it decides.
    pub rows: Packs,
    /// Packs it knows to be condemned, until it decides.
    pub avoids: Packs,
    /// Packs uploaded since its session was written.
    pub younger: Packs,
    /// Condemned objects its session names.
    pub names: u8,
}

/// Where a prune is: what it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum PruneAt {
    #[default]
    ListPacks,
    ListSessions,
    ListSnapshots,
    WriteCondemned,
    /// Looks for a condemned object that nothing holds up: the second half begins.
    Choose,
    MarkAgain,
    ReadIndex,
    WriteIndex,
    DeleteIndex,
    DeletePacks,
    DeleteCondemned,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prune {
    pub at: PruneAt,
    /// The condemned object it works on.
    pub target: u8,
    /// First half: packs to condemn. Second half: packs to delete.
    pub packs: Packs,
    /// Writers whose sessions the first half saw (only kept where a rule needs it).
    pub saw: u8,
    /// Rows of the index it is going to write.
    pub rows: Packs,
    /// Index objects it has read: a bit a pack for the plain ones, then a bit a prune for merged ones.
    pub read: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condemned {
    /// The packs it names; none: it is not there.
    pub packs: Packs,
    /// Writers whose sessions its prune saw (only kept where a rule needs it).
    pub saw: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    pub packs: Packs,
    /// Index objects with one row: the old one and the writers'.
    pub plain_index: Packs,
    /// The index object each prune has written.
    pub merged_index: [Packs; PRUNES],
    /// The snapshot that is there from the start and needs the old pack.
    pub old_snapshot: bool,
    /// Somebody failed who had kept to the rules and was never expired.
    pub starved: bool,
    pub condemned: [Condemned; CONDEMNED],
    /// Packs missing in every listing so far.
    pub late_packs: Packs,
    /// Index objects that are, as in [`Prune::read`].
    pub late_index: u8,
    /// Condemned objects that are.
    pub late_condemned: u8,
    pub writers: [Writer; WRITERS],
    pub prunes: [Prune; PRUNES],
}

impl State {
    /// The old pack, its index object and its snapshot.
    pub fn start(condemned_before: bool) -> Self {
        let mut state =
            Self { packs: OLD, plain_index: OLD, old_snapshot: true, ..Self::default() };
        if condemned_before {
            state.condemned[CONDEMNED_BEFORE].packs = OLD;
        }
        state
    }

    /// Packs that the snapshots in a listing need.
    pub fn needed(&self) -> Packs {
        let mut needed = if self.old_snapshot { OLD } else { 0 };
        for writer in &self.writers {
            if writer.snapshot == Snapshot::Listed {
                needed |= writer.uses;
            }
        }
        needed
    }

    /// Rows of all index objects.
    pub fn rows(&self) -> Packs {
        self.plain_index | self.merged_index[0] | self.merged_index[1]
    }

    /// Rows of the index objects in a listing.
    pub fn listed_rows(&self) -> Packs {
        let merged = |prune: usize| match self.late_index & merged_bit(prune) {
            0 => self.merged_index[prune],
            _ => 0,
        };
        self.plain_index & !(self.late_index & ALL_PACKS) | merged(0) | merged(1)
    }

    /// The packs in a listing.
    pub fn listed_packs(&self) -> Packs {
        self.packs & !self.late_packs
    }

    /// The condemned objects in a listing.
    pub fn listed_condemned(&self) -> u8 {
        let is_there = |c: usize| self.condemned[c].packs != 0;
        let there = (0..CONDEMNED).filter(|c| is_there(*c)).fold(0, |all, c| all | 1 << c);
        there & !self.late_condemned
    }

    /// Index objects that are there, as in [`Prune::read`].
    pub fn index_objects(&self) -> u8 {
        let mut objects = self.plain_index;
        for (prune, rows) in self.merged_index.iter().enumerate() {
            if *rows != 0 {
                objects |= merged_bit(prune);
            }
        }
        objects
    }

    /// Packs that a listing of `condemned/` names.
    pub fn condemned_packs(&self) -> Packs {
        let listed = self.listed_condemned();
        let packs = |c: usize| if listed & 1 << c == 0 { 0 } else { self.condemned[c].packs };
        (0..CONDEMNED).fold(0, |all, c| all | packs(c))
    }

    /// The same with the two writers, or the two prunes, in each other's place.
    pub fn renamed(&self, writers: bool, prunes: bool) -> Self {
        let mut other = *self;
        if writers {
            other.swap_writers();
        }
        if prunes {
            other.swap_prunes();
        }
        other
    }

    fn swap_writers(&mut self) {
        let packs = |packs: u8| packs & 1 | (packs >> 1 & 3) << 3 | (packs >> 3 & 3) << 1;
        let objects = |objects: u8| packs(objects & ALL_PACKS) | objects & !ALL_PACKS;
        self.writers.swap(0, 1);
        for set in [&mut self.packs, &mut self.plain_index, &mut self.late_packs] {
            *set = packs(*set);
        }
        self.late_index = objects(self.late_index);
        for rows in &mut self.merged_index {
            *rows = packs(*rows);
        }
        for condemned in &mut self.condemned {
            condemned.packs = packs(condemned.packs);
            condemned.saw = swap_two(condemned.saw);
        }
        for writer in &mut self.writers {
            let Writer { uses, rows, avoids, younger, .. } = writer;
            for set in [uses, rows, avoids, younger] {
                *set = packs(*set);
            }
        }
        for prune in &mut self.prunes {
            prune.packs = packs(prune.packs);
            prune.rows = packs(prune.rows);
            prune.read = objects(prune.read);
            prune.saw = swap_two(prune.saw);
        }
    }

    fn swap_prunes(&mut self) {
        let objects = |objects: u8| {
            objects & ALL_PACKS | swap_two(objects >> (1 + 2 * WRITERS)) << (1 + 2 * WRITERS)
        };
        self.prunes.swap(0, 1);
        self.merged_index.swap(0, 1);
        self.condemned.swap(0, 1);
        self.late_index = objects(self.late_index);
        self.late_condemned = swap_two(self.late_condemned);
        for writer in &mut self.writers {
            writer.names = swap_two(writer.names);
        }
        for prune in &mut self.prunes {
            prune.read = objects(prune.read);
            let has_target = prune.at as u8 > PruneAt::Choose as u8 && prune.at != PruneAt::Done;
            if has_target && prune.target < 2 {
                prune.target = 1 - prune.target;
            }
        }
    }

    /// Spreads the state over 64 bits.
    pub fn hash(&self) -> u64 {
        let mut hash = mix(
            0,
            join([
                self.packs,
                self.plain_index,
                self.merged_index[0],
                self.merged_index[1],
                u8::from(self.old_snapshot) | u8::from(self.starved) << 1,
                self.condemned[3].packs,
                self.condemned[2].packs,
                self.condemned[2].saw,
            ]),
        );
        let [a, b] = &self.prunes;
        let [c, d, ..] = &self.condemned;
        hash = mix(
            hash,
            join([a.at as u8 | a.target << 4, a.packs, a.saw, a.rows, a.read, c.packs, c.saw, 0]),
        );
        hash = mix(
            hash,
            join([b.at as u8 | b.target << 4, b.packs, b.saw, b.rows, b.read, d.packs, d.saw, 0]),
        );
        hash =
            mix(hash, join([self.late_packs, self.late_index, self.late_condemned, 0, 0, 0, 0, 0]));
        for w in &self.writers {
            let flags = w.session as u8
                | (w.snapshot as u8) << 3
                | u8::from(w.staged) << 5
                | (w.fence as u8) << 6;
            hash = mix(
                hash,
                join([w.at as u8, flags, w.uses, w.rows, w.avoids, w.younger, w.names, 0]),
            );
        }
        hash
    }
}

/// The bit of a prune's index object in [`Prune::read`].
pub fn merged_bit(prune: usize) -> u8 {
    2 << (2 * WRITERS + prune)
}

/// The first two bits in each other's place.
fn swap_two(bits: u8) -> u8 {
    bits & !3 | bits >> 1 & 1 | (bits & 1) << 1
}

fn join(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
