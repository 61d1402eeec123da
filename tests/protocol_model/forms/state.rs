//! The state of the model of forms: which parts lie where in which form, and what each actor remembers.
//!
//! There are three parts (chunks, each a segment of its own). Any can be stored plain; the second also as
//! a delta on the first, the third as a delta on the second. Packs are numbered as they are made, so a
//! higher bit is a newer pack, for everybody. Sets are bit masks in a byte.

use crate::state::Session;

/// Most writers there can be.
pub const WRITERS: usize = 2;
/// Most prunes there can be.
pub const PRUNES: usize = 2;
/// Most packs ever made before the cleaning at the end.
pub const PACKS: usize = 8;
/// Condemned objects: two from before, one a prune, one of the cleaning.
pub const CONDEMNED: usize = 3 + PRUNES;
/// The condemned object of the cleaning.
pub const CONDEMNED_AT_END: usize = 2 + PRUNES;

/// A set of packs.
pub type Packs = u8;
/// A set of parts.
pub type Parts = u8;
/// What a pack holds: the plain parts, and above them the deltas.
pub type Forms = u8;

/// The part the others rest on.
pub const BASE: Parts = 1;
/// May be a delta on [`BASE`].
pub const LINK: Parts = 2;
/// May be a delta on [`LINK`].
pub const LEAF: Parts = 4;
/// How many parts there are.
pub const PARTS: usize = 3;

/// The plain form of parts.
pub const fn plain(parts: Parts) -> Forms {
    parts
}

/// Parts as deltas.
pub const fn delta(parts: Parts) -> Forms {
    parts << PARTS
}

/// Where a writer is: what it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum WriterAt {
    #[default]
    OpenSession,
    ListCondemned,
    ListCondemnedOn,
    Look,
    Upload,
    WriteIndex,
    Stage,
    Relist,
    RelistPacks,
    Publish,
    EndSession,
    Done,
    Crashed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Writer {
    pub at: WriterAt,
    pub session: Session,
    /// Its snapshot is written aside.
    pub staged: bool,
    /// Its snapshot is published.
    pub published: bool,
    /// Packs it uses, those of bases among them.
    pub uses: Packs,
    /// Packs it knows to be condemned.
    pub avoids: Packs,
    /// Condemned objects its session names.
    pub names: u8,
    /// Packs made since its session was written.
    pub younger: Packs,
    /// Forms it is going to upload; while it revalidates, the condemned objects it has listed.
    pub forms: Forms,
}

/// Where a prune is: what it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum PruneAt {
    #[default]
    OpenSession,
    ListCondemned,
    ListPacks,
    ListPacksOn,
    ListSessions,
    ListSnapshots,
    ListSnapshotsOn,
    Mark,
    WriteIndex,
    DeletePacks,
    DeleteCondemned,
    Upload,
    IndexNew,
    Condemn,
    IndexLate,
    EndSession,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prune {
    pub at: PruneAt,
    pub session: Session,
    /// Packs made since its session was written.
    pub younger: Packs,
    /// Condemned objects its session names.
    pub names: u8,
    /// Condemned objects that no session holds up.
    pub ripe: u8,
    /// Packs listed, before anything was decided.
    pub listed: Packs,
    /// Those older than every live session.
    pub old: Packs,
    /// Parts the snapshots need that it has seen.
    pub needs: Parts,
    /// To be deleted.
    pub doomed: Packs,
    /// To be condemned.
    pub condemn: Packs,
    /// The pack it has made of others.
    pub made: Packs,
    /// What goes into it.
    pub forms: Forms,
    /// It runs for the second time.
    pub is_second: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// What each pack holds or held.
    pub forms: [Forms; PACKS],
    /// How many were made.
    pub made: u8,
    pub present: Packs,
    /// Packs with a row in the index.
    pub rows: Packs,
    pub condemned: [Packs; CONDEMNED],
    /// Old snapshots that are not forgotten, a bit each.
    pub old: u8,
    /// Somebody failed who had kept to the rules and was never expired.
    pub starved: bool,
    /// Crashes and sleeps so far, where they are counted.
    pub mishaps: u8,
    pub writers: [Writer; WRITERS],
    pub prunes: [Prune; PRUNES],
}

impl State {
    /// Makes a pack that holds `forms`; every live session has seen it come.
    pub fn make_pack(&mut self, forms: Forms) -> Packs {
        let pack = 1 << self.made;
        self.forms[usize::from(self.made)] = forms;
        self.made += 1;
        self.present |= pack;
        for writer in &mut self.writers {
            if matches!(writer.session, Session::Listed | Session::Stale) {
                writer.younger |= pack;
            }
        }
        for prune in &mut self.prunes {
            if matches!(prune.session, Session::Listed | Session::Stale) {
                prune.younger |= pack;
            }
        }
        pack
    }

    /// Packs that a listing of `condemned/` names.
    pub fn condemned_packs(&self) -> Packs {
        self.condemned.iter().fold(0, |all, packs| all | packs)
    }

    /// Packs that `objects` name.
    pub fn named_by(&self, objects: u8) -> Packs {
        let named = |(at, packs): (usize, &Packs)| if objects & 1 << at == 0 { 0 } else { *packs };
        self.condemned.iter().enumerate().map(named).fold(0, |all, packs| all | packs)
    }

    /// Condemned objects that are there.
    pub fn condemned_objects(&self) -> u8 {
        let bit = |(at, packs): (usize, &Packs)| u8::from(*packs != 0) << at;
        self.condemned.iter().enumerate().map(bit).fold(0, |all, bit| all | bit)
    }

    /// Parts of which a form can be read, whole chain and all, from `packs`.
    pub fn readable(&self, packs: Packs) -> Parts {
        let mut all: Forms = 0;
        for (at, forms) in self.forms.iter().enumerate() {
            if packs & 1 << at != 0 {
                all |= forms;
            }
        }
        let mut parts = all & (BASE | LINK | LEAF);
        // A delta's base is the part before it.
        for part in [LINK, LEAF] {
            if all & delta(part) != 0 && parts & part >> 1 != 0 {
                parts |= part;
            }
        }
        parts
    }

    /// The same with the two writers, or the two prunes, in each other's place.
    pub fn renamed(&self, writers: bool, prunes: bool) -> Self {
        let mut other = *self;
        if writers {
            other.writers.swap(0, 1);
        }
        if prunes {
            other.prunes.swap(0, 1);
            other.condemned.swap(2, 3);
            let swap = |bits: u8| bits & !0b1100 | bits >> 1 & 0b0100 | bits << 1 & 0b1000;
            for writer in &mut other.writers {
                writer.names = swap(writer.names);
                if writer.at == WriterAt::RelistPacks {
                    writer.forms = swap(writer.forms);
                }
            }
            for prune in &mut other.prunes {
                prune.names = swap(prune.names);
                prune.ripe = swap(prune.ripe);
            }
        }
        other
    }

    /// Spreads the state over 64 bits.
    pub fn hash(&self) -> u64 {
        let mut hash = mix(0, u64::from_le_bytes(self.forms));
        let [a, b, c, d, e] = self.condemned;
        let flags = self.made | u8::from(self.starved) << 4 | self.old << 5;
        hash = mix(hash, u64::from(self.mishaps));
        hash = mix(hash, join([self.present, self.rows, a, b, c, d, e, flags]));
        for w in &self.writers {
            let flags = w.session as u8 | u8::from(w.staged) << 3 | u8::from(w.published) << 4;
            let words = [w.at as u8, flags, w.uses, w.avoids, w.names, w.younger, w.forms, 0];
            hash = mix(hash, join(words));
        }
        for p in &self.prunes {
            let at = p.at as u8 | (p.session as u8) << 5;
            hash = mix(
                hash,
                join([at, p.younger, p.names, p.ripe, p.listed, p.old, p.needs, p.doomed]),
            );
            hash = mix(hash, join([p.condemn, p.made, p.forms, u8::from(p.is_second), 0, 0, 0, 0]));
        }
        hash
    }
}

fn join(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
