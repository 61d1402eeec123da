//! What a run of the model of forms assumes: its rules, what lies in the store at first, who takes part.

use super::state::{BASE, Forms, LEAF, LINK, Packs, Parts, delta, plain};

/// The rules that are about several forms of a chunk, about bases, rewriting and the sessions of prunes. Those
/// of [`crate::rules::Rules`] are all on here.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A chunk counts as stored only if the whole chain of its bases is usable. Off: its own pack counts.
    pub dedup_needs_the_chain: bool,
    /// Revalidation looks for the bases too. Off: only for the packs of the chunks themselves.
    pub bases_are_revalidated: bool,
    /// A delta in a pack that stays keeps its base, needed or not. Off: only the bases of places that count.
    pub kept_deltas_keep_bases: bool,
    /// A place in a condemned pack counts less than any other. Off: a plain form counts more, wherever it is.
    pub condemned_count_less: bool,
    /// All prunes choose alike between equal places. Off: one takes the oldest, the other the newest.
    pub choices_agree: bool,
    /// A prune has a session, which holds up the second halves of others. Off: it has none.
    pub prunes_have_sessions: bool,
    /// A second half works only on condemned objects its own session names. Off: on all it sees.
    pub only_known_condemned: bool,
    /// A condemned object is written only while the session of its prune is alive, in one step (a rename of what
    /// an expiry removes). Off: it is put, whenever the prune wakes up.
    pub condemning_is_fenced: bool,
    /// What a prune stores again is indexed before the old pack is condemned. Off: afterwards.
    pub repacked_before_condemned: bool,
    /// What a prune stores anew is no delta on something that it does not keep. Off: it is.
    pub repacked_without_bases: bool,
    /// What is needed only of condemned packs is stored again. Off: it stays there.
    pub condemned_are_rescued: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        dedup_needs_the_chain: true,
        bases_are_revalidated: true,
        kept_deltas_keep_bases: true,
        condemned_count_less: true,
        choices_agree: true,
        prunes_have_sessions: true,
        only_known_condemned: true,
        condemning_is_fenced: true,
        repacked_before_condemned: true,
        repacked_without_bases: true,
        condemned_are_rescued: true,
    };
}

/// What is in the store at first: packs, oldest first, and what needs them.
#[derive(Debug, Clone, Copy)]
pub struct World {
    pub name: &'static str,
    pub packs: [Forms; 4],
    /// Condemned objects that prunes have left which crashed long ago.
    pub condemned: [Packs; 2],
    /// Parts that each old snapshot needs; nothing: there is no such snapshot.
    pub old: [Parts; 2],
    /// What the writers want to store.
    pub wants: Parts,
    /// What the first prune is about to condemn, having marked before anything else here was condemned.
    pub about_to_condemn: Packs,
}

const NOTHING: World = World {
    name: "",
    packs: [0; 4],
    condemned: [0, 0],
    old: [0, 0],
    wants: BASE,
    about_to_condemn: 0,
};

/// One part twice; the older form is condemned.
pub const TWICE: World = World {
    name: "a chunk twice, one condemned",
    packs: [plain(BASE), plain(BASE), 0, 0],
    condemned: [1, 0],
    old: [BASE, 0],
    ..NOTHING
};

/// One part twice; both are condemned, by different prunes.
pub const TWICE_CONDEMNED: World =
    World { name: "a chunk twice, both condemned", condemned: [1, 2], ..TWICE };

/// One part twice. A crashed prune has condemned the newer form; another, which marked earlier, is about to
/// condemn the older one.
pub const TWICE_AND_LATE: World = World {
    name: "a chunk twice, one condemned, the other about to be",
    condemned: [2, 0],
    about_to_condemn: 1,
    ..TWICE
};

/// A delta in a pack that stays for something else, with a base that nothing else needs, and the plain form of
/// its part in an older pack; that one is condemned, and the base is about to be.
pub const KEPT_DELTA: World = World {
    name: "a delta in a pack that stays, its plain form condemned",
    packs: [plain(LINK), plain(BASE), delta(LINK) | plain(LEAF), 0],
    condemned: [1, 0],
    old: [LINK, LEAF],
    wants: LINK,
    about_to_condemn: 2,
};

/// A delta whose base is gone: a writer that was expired long before has brought it.
pub const DANGLING: World = World {
    name: "a delta without its base",
    packs: [delta(LINK), 0, 0, 0],
    wants: LINK,
    ..NOTHING
};

/// A base and nothing on it yet: what writers want becomes a delta.
pub const BASE_ONLY: World = World {
    name: "a base, and nothing on it yet",
    packs: [plain(BASE), 0, 0, 0],
    old: [BASE, 0],
    wants: LINK,
    ..NOTHING
};

/// A part on a base that only it needs, and the plain form of it in an older pack, which is condemned.
pub const DELTA: World = World {
    name: "a delta, its base, a condemned plain form",
    packs: [plain(LINK), plain(BASE), delta(LINK), 0],
    condemned: [1, 0],
    old: [LINK, 0],
    wants: LINK,
    ..NOTHING
};

/// A chain of two deltas; its ends are needed by different snapshots.
pub const CHAIN: World = World {
    name: "a chain of two deltas",
    packs: [plain(BASE), delta(LINK), delta(LEAF), 0],
    old: [LEAF, BASE],
    wants: LEAF,
    ..NOTHING
};

/// Packs with more than one part: what is needed of them is stored elsewhere.
pub const MIXED: World = World {
    name: "packs of which a part is needed",
    packs: [plain(BASE) | plain(LEAF), plain(BASE) | delta(LINK), 0, 0],
    old: [BASE | LEAF, LINK],
    wants: LINK,
    ..NOTHING
};

/// Who takes part, and what may happen to them.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub rules: Rules,
    pub world: World,
    /// How many writers (at most [`super::state::WRITERS`]).
    pub writers: usize,
    /// How many prunes (at most [`super::state::PRUNES`]).
    pub prunes: usize,
    /// Anybody may crash before any step.
    pub crashes: bool,
    /// Writers may sleep before any step until their sessions are expired, and wake up afterwards.
    pub sleepers: bool,
    /// So may prunes.
    pub sleeping_prunes: bool,
    /// At most so many of all these happen. `None`: any number.
    pub mishaps: Option<u8>,
    /// Listings come in two pages, with anything in between.
    pub pages: bool,
    /// Prunes run twice; the second time they do no first half.
    pub again: bool,
    /// Packs are rewritten as soon as one part of them is not needed.
    pub repacks: bool,
    /// Whether a writer that fails without having expired is a violation, or is let go.
    pub must_not_starve: bool,
}

impl Setup {
    /// Everything but pages may happen to `writers` and `prunes` in `world`, under all rules.
    pub const fn new(world: World, writers: usize, prunes: usize) -> Self {
        Self {
            rules: Rules::ALL,
            world,
            writers,
            prunes,
            crashes: true,
            sleepers: true,
            sleeping_prunes: true,
            mishaps: None,
            pages: false,
            again: false,
            repacks: true,
            must_not_starve: true,
        }
    }

    /// Nobody crashes or sleeps.
    pub const fn without_mishap(self) -> Self {
        Self { crashes: false, sleepers: false, sleeping_prunes: false, ..self }
    }
}
