#!/usr/bin/env bash
# Two nights in the life of an instance, against a real PostgreSQL: back up, change, back up again,
# restore both nights and compare everything; then damage a copy of the repository.
#
#   benches/demo/demo.sh [MRS-BACKUP]     KEEP=1 leaves the files behind
#
# Ends with a failure at the first difference. Needs no Docker; the server it starts is its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mrs_backup=$(realpath "${1:-$here/../../target/release/mrs-backup}")
# shellcheck source=SCRIPTDIR/postgres.sh
source "$here/postgres.sh"
# shellcheck source=SCRIPTDIR/instance.sh
source "$here/instance.sh"

fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

section() { printf '\n==> %s\n' "$*"; }

proven=()
proved() {
    proven+=("$*")
    printf '    ok: %s\n' "$*"
}

seconds() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# On disk: holes do not count.
megabytes() { du -s --block-size=1 "$1" | awk '{ printf "%.1f", $1 / 1e6 }'; }

cleanup() {
    local status=$?
    cd /
    postgres_stop "$server" || true
    if [[ -n ${KEEP:-} ]]; then
        printf '\nkept: %s\n' "$scratch"
    else
        rm -rf "$scratch"
    fi
    if ((status != 0)); then printf '\ndemo: FAILED\n' >&2; fi
    exit "$status"
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/mrs-backup-demo.XXXXXX")
chmod 711 "$scratch"
server=$scratch/server home=$scratch/mrs-production repository=$scratch/backup/mrs-production/repo
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mrs() {
    printf '    $ mrs-backup %s\n' "${*//"$scratch"/…}"
    "$mrs_backup" -c "$scratch/mrs-backup.toml" "$@" 2>&1 | sed 's/^/    /'
}

write_config() {
    (umask 077 && head -c 32 /dev/urandom | base64 >"$scratch/key")
    mkdir -p "${repository%/*}"
    cat >"$scratch/mrs-backup.toml" <<TOML
version = 1
state_dir = "$scratch/state"

[defaults]
timezone = "Europe/Paris"

[instance.mrs-production]
home = "$home"
repository = "$repository"
key = { file = "$scratch/key" }
paths = [$(printf '"%s", ' "${INSTANCE_PATHS[@]}")]
exclude = ["*.pyc"]

[instance.mrs-production.postgres]
host = "$PGHOST"
port = $PGPORT
user = "$PGUSER"
databases = ["mrs"]
bin_dir = "$PG_BIN"
TOML
    chmod 600 "$scratch/mrs-backup.toml"
}

# --- one night, and what it must give back -----------------------------------------------------------

# Keeps what the restored night is compared with: a copy of the files, and the database's digests.
remember() { # NIGHT
    mkdir "$scratch/$1"
    (cd "$home" && cp -a --parents "${INSTANCE_PATHS[@]}" "$scratch/$1")
    find "$scratch/$1" -name '*.pyc' -delete
    touch -r "$home/spooler" "$scratch/$1/spooler"
    database_contents mrs >"$scratch/$1.contents"
    database_schema mrs >"$scratch/$1.schema"
}

metadata() { # DIR: everything stat knows, but inode numbers and the sizes of directories
    (
        cd "$1"
        find "${INSTANCE_PATHS[@]}" -type d -printf '%y %m %U:%G - - %T@ %p\0' \
            -o -printf '%y %m %U:%G %s %n %T@ %p -> %l\0' | sort -z | tr '\0\n' '\n?'
        if command -v getfattr >/dev/null; then
            find "${INSTANCE_PATHS[@]}" -print0 | sort -z |
                xargs -0 getfattr --no-dereference --dump --match='^(user|security|system\.posix)'
        fi
    )
}

compare_files() { # NIGHT RESTORED
    local path blocks
    for path in "${INSTANCE_PATHS[@]}"; do
        diff -r --no-dereference "$scratch/$1/$path" "$2/$path" || fail "$path differs"
    done
    proved "$1: $(cd "$2" && find "${INSTANCE_PATHS[@]}" ! -type d -printf . | wc -c) files have the same bytes"
    diff <(metadata "$scratch/$1") <(metadata "$2") || fail "$1: metadata differs"
    proved "$1: $(wc -l < <(metadata "$2")) lines of modes, owners, times, links and attributes are the same"
    blocks=$(stat -c %b "$2/mrsattachments/2023/sparse.img")
    ((blocks * 512 < 8000000)) || fail "the holes of sparse.img were filled: $blocks blocks"
    proved "$1: the 64 MiB file of holes takes $((blocks / 2)) KiB again"
    [[ ! -e $2/postgres/data && ! -e $2/spooler/stale.pyc ]] || fail "what is excluded was saved"
    grep -q 'CREATE ROLE readonly' "$2/postgres/globals.sql" || fail "globals.sql lacks a role"
}

# By PostgreSQL's own program, from the standard archive that can be had of any night.
compare_database() { # NIGHT SNAPSHOT DATABASE
    sql postgres --command="CREATE DATABASE $3"
    mrs dump "$2" --database mrs --format custom -o "$scratch/$3.dump"
    "$PG_BIN/pg_restore" --dbname="$3" --exit-on-error --jobs=2 "$scratch/$3.dump"
    rm "$scratch/$3.dump"
    diff "$scratch/$1.schema" <(database_schema "$3") || fail "$1: the schema differs"
    diff "$scratch/$1.contents" <(database_contents "$3") || fail "$1: the rows differ"
    proved "$1: schema, $(rows "$1") rows, sequences and large object are the same in $3"
}

rows() { awk '$3 == "rows" { sum += $2 } END { print sum }' "$scratch/$1.contents"; }

# --- the story ---------------------------------------------------------------------------------------

main() {
    local began=$EPOCHREALTIME from stored_first stored_both first_night
    [[ -x $mrs_backup ]] || fail "$mrs_backup is not there: cargo build --release"
    cd "$scratch"

    section "An instance: PostgreSQL with a claims database, and its home directory"
    postgres_install
    postgres_start "$server"
    from=$EPOCHREALTIME
    sql postgres --command='CREATE DATABASE mrs'
    sql mrs <"$here/schema.sql" >/dev/null
    instance_create "$home"
    write_config
    remember first
    printf '    PostgreSQL %s: %s rows in %s tables, %s MB; files: %s MB; made in %s s\n' \
        "$(sql mrs --command='SHOW server_version' | cut -d' ' -f1)" "$(rows first)" \
        "$(grep -c ' rows ' first.contents)" \
        "$(sql mrs --command="SELECT round(pg_database_size('mrs') / 1e6, 1)")" \
        "$(megabytes first)" "$(seconds "$from")"

    section "The first night"
    mrs init
    from=$EPOCHREALTIME
    mrs run mrs-production
    local first_s
    first_s=$(seconds "$from")
    stored_first=$(megabytes "$repository")
    # A snapshot is called like the object that holds it.
    first_night=$(find "$repository/snapshots" -type f -printf '%f\n')
    [[ $(wc -w <<<"$first_night") == 1 ]] || fail "not one snapshot after the first night: $first_night"

    section "A day of work: rows changed, a migration, a log appended to, attachments come and go"
    sql mrs <"$here/day.sql" >/dev/null
    instance_day "$home"
    remember second
    printf '    %s rows before, %s after\n' "$(rows first)" "$(rows second)"
    if cmp -s first.contents second.contents; then fail "the day changed nothing"; fi

    section "The second night"
    from=$EPOCHREALTIME
    mrs run mrs-production
    local second_s
    second_s=$(seconds "$from")
    stored_both=$(megabytes "$repository")
    mrs snapshots

    section "Restore the latest night and compare it with the original"
    from=$EPOCHREALTIME
    mrs restore latest "$scratch/restored-second" --verify --yes
    local restore_s
    restore_s=$(seconds "$from")
    compare_files second restored-second
    compare_database second latest mrs_restored

    section "Restore the night before: history is kept"
    mrs restore "$first_night" "$scratch/restored-first" --verify --yes
    compare_files first restored-first
    compare_database first "$first_night" mrs_first

    section "Read every byte of the repository"
    from=$EPOCHREALTIME
    mrs check --read-data
    local check_s
    check_s=$(seconds "$from")
    proved "the repository is whole"

    section "Flip one bit of one pack, in a copy of the repository"
    show_damage

    section "Summary"
    printf '    %-38s %8s s %10s MB\n' \
        "first night, repository" "$first_s" "$stored_first" \
        "second night, added" "$second_s" \
        "$(awk -v a="$stored_first" -v b="$stored_both" 'BEGIN { printf "%.1f", b - a }')" \
        "restore with verification" "$restore_s" "$(megabytes restored-second)" \
        "check of all data" "$check_s" "$stored_both"
    printf '    proven: %s\n' "${proven[@]}"
    printf '    all in %s s\n' "$(seconds "$began")"
}

show_damage() {
    local pack offset byte status=0 report
    cp -a "$repository" damaged
    pack=$(find damaged/packs -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2)
    offset=$(($(stat -c %s "$pack") / 3))
    byte=$(od -An -tu1 -j "$offset" -N 1 "$pack")
    chmod u+w "$pack"
    printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
        dd of="$pack" bs=1 seek="$offset" conv=notrunc status=none
    cmp -s "$pack" "$repository/${pack#damaged/}" && fail "the copy is not damaged"

    # A state of its own: nothing remembered about the whole repository may help.
    report=$(MRS_BACKUP_PASSWORD_FILE=$scratch/key MRS_BACKUP_STATE_DIR=$scratch/state-damaged \
        "$mrs_backup" --repo "$scratch/damaged" check --read-data 2>&1) || status=$?
    printf '    $ mrs-backup --repo …/damaged check --read-data\n'
    printf '    %s\n' "${report//$'\n'/$'\n'    }"
    ((status != 0)) || fail "check called the damaged repository whole"
    grep -q "$(basename "$pack" | cut -c1-8)" <<<"$report" || fail "check did not name $pack"
    proved "check ends with $status and names the damaged pack"
}

main
