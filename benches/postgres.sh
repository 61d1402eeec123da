#!/usr/bin/env bash
# Nights of a PostgreSQL database, beside pg_dump alone and, where it is installed, pg_dump into restic.
#
#   benches/postgres.sh BINARY [MIB]       MIB of rows, 1024 if not said; prints seconds and MB
#
# All on one machine, server and repository on the same disk. Runs of one kind follow each other after one
# that fills the caches; the median of three is told.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1")
mib=${2:-1024}
# shellcheck source=SCRIPTDIR/demo/postgres.sh
source "$here/demo/postgres.sh"

work=$(mktemp -d /var/tmp/mrs-backup-bench.XXXXXX)
finish() {
    postgres_stop "$work/pg" || true
    rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"

seconds() { # COMMAND...: runs it, prints the seconds it took
    local began ended
    began=$(date +%s.%N)
    "$@" >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; return 1; }
    ended=$(date +%s.%N)
    awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.2f\n", b - a }'
}

median() { sort -n | sed -n 2p; }

stored_mb() { du -sB1000000 --apparent-size "$1" | cut -f1; }

dump_alone() { "$PG_BIN/pg_dump" -Fc -Z0 --no-sync -f /dev/null bench; }

night() { "$binary" -q -c "$work/config.toml" run; }

new_repository() {
    rm -rf "$work/repo" "$work/state"
    "$binary" -q -c "$work/config.toml" init --kdf-memory 8 >/dev/null
}

restic_night() {
    "$PG_BIN/pg_dump" -Fc -Z0 bench | restic --quiet backup --stdin --stdin-filename bench.dump
}

change() { # one percent of the newest rows, some new ones
    sql bench --command="
        UPDATE request SET status = 'paid' || random()::text WHERE id IN (
            SELECT (top * (1 - power(random(), 3)))::int
            FROM (SELECT max(id) AS top FROM request) AS newest, generate_series(1, $rows / 100));
        INSERT INTO request (person, status, body) SELECT n, 'new', md5(random()::text) FROM generate_series(1, 1000) n"
}

mkdir "$work/home"
head -c 24 /dev/urandom | base64 >"$work/password"
postgres_start "$work/pg"
sql postgres --command="CREATE DATABASE bench"
# About 1 KiB a row: words, digits, some JSON. Three large tables and a tail of small ones.
rows=$((mib * 1024 * 45 / 100))
sql bench --command="
    CREATE TABLE request (id serial PRIMARY KEY, person int, status text, body text, at timestamptz DEFAULT now());
    INSERT INTO request (person, status, body)
        SELECT n % 5000, 'new', (SELECT string_agg(md5((n * 31 + k)::text), ' ') FROM generate_series(1, 30) k) FROM generate_series(1, $rows) n;
    CREATE TABLE log AS SELECT n AS id, jsonb_build_object('at', n, 'changed', md5(n::text), 'text', repeat(md5((n % 1000)::text), 20)) AS data
        FROM generate_series(1, $rows) n;
    CREATE TABLE person AS SELECT n AS id, md5(n::text) AS name, repeat(md5(n::text), 20) AS note FROM generate_series(1, $((rows / 10 + 1))) n;
    DO \$\$ BEGIN FOR i IN 1..80 LOOP EXECUTE format('CREATE TABLE small_%s AS SELECT generate_series(1, %s) AS id', i, i); END LOOP; END \$\$;
    ANALYZE"
cat >"$work/config.toml" <<CONFIG
version = 1
state_dir = "$work/state"
[instance.bench]
home = "$work/home"
repository = "$work/repo"
key = { file = "$work/password" }
[instance.bench.postgres]
host = "$PGHOST"
port = $PGPORT
user = "$PGUSER"
databases = ["bench"]
bin_dir = "$PG_BIN"
shrink_warning = 100
CONFIG

echo "database: $(sql bench --command='SELECT pg_size_pretty(pg_database_size(current_database()))'), $(nproc) cores"
dump_alone
alone=$(for _ in 1 2 3; do seconds dump_alone; done | median)
printf '%-44s %8s s\n' 'pg_dump -Fc -Z0 -f /dev/null' "$alone"

first=$(for _ in 1 2 3; do new_repository; seconds night; done | median)
printf '%-44s %8s s  %5s MB stored, %.2f of pg_dump\n' 'mrs-backup, first night' "$first" \
    "$(stored_mb "$work/repo")" "$(awk -v a="$first" -v b="$alone" 'BEGIN { print a / b }')"

have_restic=
if command -v restic >/dev/null; then
    have_restic=1
    export RESTIC_REPOSITORY=$work/restic RESTIC_PASSWORD_FILE=$work/password
    restic_first=$(for _ in 1 2 3; do
        rm -rf "$RESTIC_REPOSITORY"
        restic --quiet init >/dev/null
        seconds restic_night
    done | median)
    printf '%-44s %8s s  %5s MB stored\n' 'pg_dump | restic backup --stdin, first night' \
        "$restic_first" "$(stored_mb "$RESTIC_REPOSITORY")"
fi

ours=() theirs=()
before=$(stored_mb "$work/repo")
for _ in 1 2 3; do
    change
    ours+=("$(seconds night)")
    if [[ -n $have_restic ]]; then theirs+=("$(seconds restic_night)"); fi
done
second=$(printf '%s\n' "${ours[@]}" | median)
printf '%-44s %8s s  %5s MB added a night, %.2f of pg_dump\n' 'mrs-backup, further nights' "$second" \
    "$((($(stored_mb "$work/repo") - before) / 3))" "$(awk -v a="$second" -v b="$alone" 'BEGIN { print a / b }')"
if [[ -n $have_restic ]]; then
    printf '%-44s %8s s\n' 'pg_dump | restic backup --stdin, further nights' \
        "$(printf '%s\n' "${theirs[@]}" | median)"
fi
