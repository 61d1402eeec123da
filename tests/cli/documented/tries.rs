//! Commands of the documents that need nothing but this program, in the order in which they make sense.

/// A command of a document, what this test adds to it (a terminal would ask, or it would take long), and how it may end.
pub type Try = (&'static str, &'static str, &'static [i32]);

pub const OK: &[i32] = &[0];
/// It tells of the machine the test runs on.
pub const TOLD: &[i32] = &[0, 1, 2];
/// Deriving a key from a password with less memory is quicker.
pub const QUICK: &str = "--kdf-memory 8";

/// The tour of README.md: the first snapshots.
pub const TOUR: &[Try] =
    &[("config validate", "", OK), ("init", QUICK, OK), ("backup /srv/app", "", OK)];

/// Something was changed, something added, something removed.
pub const CHANGED: &[Try] = &[
    ("backup /srv/app --tag before-upgrade", "", OK),
    ("snapshots", "", OK),
    ("ls latest -r", "", OK),
    ("find '*.jpg'", "", OK),
    ("diff ba4a93d6 latest", "", OK),
    ("restore latest /srv/back --dry-run", "", OK),
    ("restore latest /srv/back --verify", "", OK),
    ("check", "", OK),
    ("check --read-data", "", OK),
    ("run app", "", OK),
];

/// Nights, and how they went.
pub const NIGHTS: &[Try] = &[
    ("run", "", OK),
    ("run --due", "", OK),
    ("run --all --due -q", "", OK),
    ("schedule --list", "", OK),
    ("status", "", OK),
    ("-q status", "", OK),
    ("status --instance app", "", OK),
    ("status --check", "", TOLD),
    ("status --check --max-age 26h --instance app", "", TOLD),
    ("status --json", "", OK),
    ("status --metrics", "", OK),
    ("status --html -", "", OK),
    ("status --html /var/www/html/backups.html", "", OK),
    ("doctor -q", "", TOLD),
    ("doctor --only secrets", "", TOLD),
    ("config show", "", OK),
    ("notify", "", OK),
    ("notify --due -q", "", OK),
    ("units show", "", OK),
    ("expire --list", "", OK),
];

/// Copies, what stays, and what is damaged.
pub const KEPT: &[Try] = &[
    ("copy", "", OK),
    ("copy --dry-run", "", OK),
    ("copy --audit", "", OK),
    ("copy --sample 100%", "", OK),
    ("copy --start-over", "", OK),
    ("copy --from cellar --to primary", "", OK),
    ("forget", "", OK),
    ("forget --repo /mnt/cellar/app/repo 2bc6176a", "--password-file /root/password", OK),
    ("pin latest --reason 'before version 2' --for 6m", "", OK),
    ("pin latest --reason 'avant la version 2' --for 6m", "", OK),
    ("pin", "", OK),
    ("forget --apply", "", OK),
    ("forget --ignore failed-run --apply", "", OK),
    ("forget --keep-daily 7 --keep-monthly 6 --ignore failed-run --apply", "", OK),
    ("prune --dry-run", "", OK),
    ("prune --yes", "", OK),
    ("prune --now --yes", "", OK),
    ("index rebuild", "", OK),
    ("index rebuild --from-packs", "", OK),
    ("repair packs", "", OK),
    ("repair packs --from /mnt/cellar/app/repo", "", OK),
    ("repair packs --from /mnt/second/repo", "", OK),
    ("repair snapshots --dry-run", "", OK),
    ("repair snapshots --yes", "", OK),
    ("init --repo /mnt/other/repo --password-file /root/other.password", QUICK, OK),
    (
        "copy --re-encrypt --to /mnt/other/repo --to-password-file /root/other.password --dry-run",
        "",
        OK,
    ),
    ("copy --re-encrypt --to /mnt/other/repo --to-password-file /root/other.password", "", OK),
];

/// The server is gone: another one with a copy and the password.
pub const LOST: &[Try] = &[
    ("snapshots --repo /mnt/cellar/app/repo --password-file /root/password", "", OK),
    (
        "restore --repo /mnt/cellar/app/repo --password-file /root/password latest:app /srv/app",
        "",
        OK,
    ),
    (
        "restore --repo /mnt/cellar/app/repo --password-file /root/password latest:app /srv/app --path log",
        "--yes",
        OK,
    ),
    (
        "init --adopt /mnt/cellar/app/repo --repo /mnt/backup/app/repo --password-file /root/password --write-config /etc/mrs-backup/config.toml",
        "",
        OK,
    ),
];

/// The same without another disk.
pub const LOST_AGAIN: &[Try] = &[(
    "init --adopt /mnt/cellar/app/repo --in-place --password-file /root/password --write-config /etc/mrs-backup/config.toml",
    "",
    OK,
)];

/// An instance with a database.
pub const PRODUCTION: &[Try] = &[
    ("init mrs-production", QUICK, OK),
    ("run mrs-production --dry-run", "", OK),
    ("run mrs-production", "", OK),
];

pub const PRODUCTION_BACK: &[Try] = &[
    ("doctor mrs-production", "", TOLD),
    ("ls latest postgres", "", OK),
    ("find 'bill-2.pdf'", "", OK),
    ("dump 839786d9 mrsattachments/2026/bill-2.pdf -o /root/bill-2.pdf", "", OK),
    ("dump latest mrsattachments --archive tar -o attachments.tar", "", OK),
    ("dump latest --archive tar", "", OK),
    ("dump latest --archive tar -o /srv/everything.tar", "", OK),
    ("dump latest --database mrs", "", OK),
    ("dump latest --database mrs --format plain", "", OK),
    ("dump latest --database mrs -o /srv/mrs.dump", "", OK),
    ("dump latest --database mrs -o mrs.dump", "", OK),
    ("dump latest postgres/globals.sql", "", OK),
    ("dump latest postgres/globals.sql -o globals.sql", "", OK),
    (
        "restore 839786d9 /home/mrs-production/mrsattachments/2026 --path mrsattachments/2026/bill-2.pdf --yes",
        "",
        OK,
    ),
    ("restore 839786d9 /srv/inc --include bill-2.pdf", "", OK),
    (
        "restore 839786d9 /home/mrs-production/mrsattachments -i mrs-production --path mrsattachments",
        "--yes",
        OK,
    ),
    ("restore latest /srv/restored --verify", "", OK),
    (
        "--repo /mnt/backup/mrs-production/repo --password-file /root/pw restore latest:mrs-production /srv/other --verify",
        "",
        OK,
    ),
    ("--repo /mnt/backup/mrs-production/repo --password-file /root/pw snapshots", "", OK),
    ("restore latest --database mrs --dry-run", "", OK),
    ("restore latest --database mrs", "--yes", OK),
    ("undo --list", "", OK),
    ("undo --database mrs", "--yes", OK),
    ("undo --drop --database mrs", "--yes", OK),
    ("restore latest --database mrs --as mrs_copy", "", OK),
    ("restore latest --database mrs --table public.claim", "--yes", OK),
    ("test-restore", "", OK),
    ("test-restore -i mrs-production", "", OK),
    ("restore latest /home/mrs-production --dry-run", "", OK),
    (
        "--repo /root/small/repo --password-file /root/pw backup /home/mrs-production/mrsattachments",
        "",
        OK,
    ),
];

pub const KEYS: &[Try] = &[
    ("key add --new-password-file /root/envelope.password --label envelope", QUICK, OK),
    ("--password-file /root/envelope.password snapshots", "", OK),
    ("key generate /etc/mrs-backup/mrs-production.key", "", OK),
    ("key add --new-key-file /etc/mrs-backup/mrs-production.key --label server", "", OK),
    ("key list", "", OK),
    ("key sheet - --recovery-key", QUICK, OK),
    ("key sheet /root/sheet.svg", "", OK),
    ("key passwd --new-password-file /etc/mrs-backup/new.password --label nightly", QUICK, OK),
];

/// After the configuration names what was made last.
pub const KEYS_ROTATED: &[Try] = &[
    ("key remove 62ce909b", "--yes", OK),
    (
        "key rotate --new-password-file /etc/mrs-backup/mrs-production.password --label nightly --yes",
        "--password-file /etc/mrs-backup/old.password --kdf-memory 8",
        OK,
    ),
];
