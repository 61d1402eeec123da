//! What a run of the model assumes: which rules of the protocol hold, and who takes part.

/// The rules of the protocol, each a switch. [`Rules::ALL`] is the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A prune's second half waits for every session that does not name the condemned object. Off:
    /// it waits for the sessions its first half saw.
    pub sessions_name_condemned: bool,
    /// Index rows count only for packs listed after the index was read. Off: every row counts.
    pub packs_listed_after_index: bool,
    /// Only packs older than every live session are condemned. Off: whatever no snapshot needs.
    pub condemn_only_older: bool,
    /// `condemned/` and `packs/` are listed once more before the commit.
    pub revalidate: bool,
    /// A snapshot is published by renaming a staged file that an expiry removes. Off: it is put.
    pub fenced_rename: bool,
    /// Staging comes before the revalidation. Off: between it and the rename.
    pub stage_before_revalidating: bool,
    /// A staged snapshot whose session is gone still holds up every second half.
    pub staged_counts_as_session: bool,
    /// `condemned/<id>` goes after its packs. Off: before them.
    pub delete_condemned_last: bool,
    /// `condemned/<id>` stays while one of its packs is spared. Off: it goes, and the pack counts again.
    pub spared_stay_condemned: bool,
    /// What is stored again goes into a pack of a new name. Off: the same bytes, the same name.
    pub names_never_reused: bool,
    /// A writer goes on only when it has seen its own session listed.
    pub session_seen_listed: bool,
    /// A writer removes its session only when it has seen its snapshot listed.
    pub snapshot_seen_listed: bool,
    /// Sessions that show no life are expired.
    pub sessions_expire: bool,
    /// In an object store, who expires a writer that has created its fence and put no snapshot bars the snapshot's name. Off: it
    /// puts the snapshot for the writer.
    pub expiry_bars_the_snapshot: bool,
}

impl Rules {
    /// The protocol as it is to be implemented.
    pub const ALL: Self = Self {
        sessions_name_condemned: true,
        packs_listed_after_index: true,
        condemn_only_older: true,
        revalidate: true,
        fenced_rename: true,
        stage_before_revalidating: true,
        staged_counts_as_session: true,
        delete_condemned_last: true,
        spared_stay_condemned: true,
        names_never_reused: true,
        session_seen_listed: true,
        snapshot_seen_listed: true,
        sessions_expire: true,
        expiry_bars_the_snapshot: true,
    };
}

/// Who takes part, and what may happen to them.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The rules they keep.
    pub rules: Rules,
    /// How many writers (at most [`super::state::WRITERS`]).
    pub writers: usize,
    /// How many prunes (at most [`super::state::PRUNES`]).
    pub prunes: usize,
    /// Anybody may crash before any step.
    pub crashes: bool,
    /// A writer may sleep before any step until its session has expired, and wake up afterwards.
    pub sleepers: bool,
    /// New sessions and snapshots may be missing in listings for a while.
    pub late_listings: bool,
    /// So may packs, index objects and condemned objects.
    pub late_objects: bool,
    /// There is no rename: a snapshot is published by creating an object that only one can create, its fence.
    pub object_store: bool,
    /// A snapshot may be forgotten while its writer sleeps between publishing and tidying up.
    pub forgets_early: bool,
    /// Whether a writer that fails without having expired is a violation, or is let go.
    pub must_not_starve: bool,
    /// An earlier prune, long crashed, has condemned the old pack, and then a snapshot came to need it.
    pub condemned_before: bool,
}

impl Setup {
    /// Everything may happen to `writers` and `prunes`, under all rules.
    pub const fn new(writers: usize, prunes: usize) -> Self {
        Self {
            rules: Rules::ALL,
            writers,
            prunes,
            crashes: true,
            sleepers: true,
            late_listings: false,
            late_objects: false,
            object_store: false,
            forgets_early: false,
            must_not_starve: true,
            condemned_before: false,
        }
    }
}
