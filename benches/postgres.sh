#!/usr/bin/env bash
# Nights of a PostgreSQL database and its restores, beside pg_dump and pg_restore alone and pg_dump into restic.
#
#   benches/postgres.sh BINARY [MIB]       MIB of rows, 1024 if not said; prints seconds and MB
#
# restic is the newest of $PEERS_DIR (/opt/peers), or that of the search path; without it its lines are left out.
# All on one machine, server and repository on the same disk (PostgreSQL's WAL and data, without fsync, too): it takes
# about five times MIB of room. Runs of one kind follow each other after one that fills the caches; the median of
# three is told, and the aim behind it.
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

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", (b > 0 ? a / b : 0) }'; }

# COMMAND...: runs it; prints for how many seconds others could not have altered the table `request`. Whoever
# holds a lock on it is looked for every 20 ms.
locked_seconds() {
    local answer now first='' last=''
    coproc PSQL { sql postgres; }
    "$@" >"$work/out" 2>"$work/err" &
    local running=$!
    while kill -0 "$running" 2>/dev/null; do
        echo "SELECT (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = 'bench'
            AND l.relation = $request_oid AND l.granted), extract(epoch FROM clock_timestamp());" >&"${PSQL[1]}"
        IFS='|' read -r answer now <&"${PSQL[0]}"
        if ((answer > 0)); then
            last=$now
            : "${first:=$now}"
        fi
        sleep 0.02
    done
    wait "$running" || { cat "$work/err" >&2; return 1; }
    echo '\q' >&"${PSQL[1]}"
    wait "$PSQL_PID" 2>/dev/null || true
    awk -v a="${first:-0}" -v b="${last:-0}" 'BEGIN { printf "%.2f\n", b - a }'
}

stored_mb() { du -sB1000000 --apparent-size "$1" | cut -f1; }

dump_alone() { "$PG_BIN/pg_dump" -Fc -Z0 --no-sync -f /dev/null bench; }

night() { "$binary" -q -c "$work/config.toml" run; }

new_repository() {
    rm -rf "$work/repo" "$work/state"
    "$binary" -q -c "$work/config.toml" init --kdf-memory 8 >/dev/null
}

# Not exported: mrs-backup would read the variables, too.
restic_here() {
    RESTIC_REPOSITORY=$work/restic RESTIC_PASSWORD_FILE=$work/password RESTIC_CACHE_DIR=$work/cache "$restic" --quiet "$@"
}

restic_night() { "$PG_BIN/pg_dump" -Fc -Z0 bench | restic_here backup --stdin --stdin-filename bench.dump; }

drop_restored() { sql postgres --command="DROP DATABASE IF EXISTS bench_restored WITH (FORCE)" 2>/dev/null; }

restore() { "$binary" -q -c "$work/config.toml" restore latest --database bench --as bench_restored --jobs 2 --yes; }

restore_one() { "$binary" -q -c "$work/config.toml" restore latest --database bench --table public.one_percent --yes; }

pg_restore_directory() {
    sql postgres --command="CREATE DATABASE bench_restored TEMPLATE template0"
    "$PG_BIN/pg_restore" -j2 --exit-on-error -d bench_restored "$work/directory"
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
# About 1 KiB a row: words, digits, some JSON. Three large tables, one of a hundredth and a tail of small ones.
rows=$((mib * 1024 * 45 / 100))
sql bench --command="
    CREATE TABLE request (id serial PRIMARY KEY, person int, status text, body text, at timestamptz DEFAULT now());
    INSERT INTO request (person, status, body)
        SELECT n % 5000, 'new', (SELECT string_agg(md5((n * 31 + k)::text), ' ') FROM generate_series(1, 30) k) FROM generate_series(1, $rows) n;
    CREATE TABLE log AS SELECT n AS id, jsonb_build_object('at', n, 'changed', md5(n::text), 'text', repeat(md5((n % 1000)::text), 20)) AS data
        FROM generate_series(1, $rows) n;
    CREATE TABLE person AS SELECT n AS id, md5(n::text) AS name, repeat(md5(n::text), 20) AS note FROM generate_series(1, $((rows / 10 + 1))) n;
    CREATE TABLE one_percent AS SELECT * FROM request LIMIT $((rows / 45 + 1));
    ALTER TABLE one_percent ADD PRIMARY KEY (id);
    CREATE INDEX ON request (person);
    CREATE INDEX ON log (id);
    DO \$\$ BEGIN FOR i IN 1..80 LOOP EXECUTE format('CREATE TABLE small_%s AS SELECT generate_series(1, %s) AS id', i, i); END LOOP; END \$\$;
    ANALYZE"
postgres_instance_config "$work" bench bench >"$work/config.toml"
echo "shrink_warning = 100" >>"$work/config.toml"

request_oid=$(sql bench --command="SELECT 'request'::regclass::oid")
echo "database: $(sql bench --command='SELECT pg_size_pretty(pg_database_size(current_database()))'), $(nproc) cores"
dump_alone
alone=$(for _ in 1 2 3; do seconds dump_alone; done | median)
printf '%-44s %8s s\n' 'pg_dump -Fc -Z0 -f /dev/null' "$alone"

first=$(for _ in 1 2 3; do new_repository; seconds night; done | median)
printf '%-44s %8s s  %5s MB stored, %.2f of pg_dump (aim: 1.5)\n' 'mrs-backup, first night' "$first" \
    "$(stored_mb "$work/repo")" "$(awk -v a="$first" -v b="$alone" 'BEGIN { print a / b }')"

printf '%-44s %8s s  pg_dump holds them %s s\n' 'locks held, first night' \
    "$(new_repository; locked_seconds night)" "$(locked_seconds dump_alone)"

have_restic=
restic=$(find "${PEERS_DIR:-/opt/peers}" -maxdepth 1 -name 'restic-*' 2>/dev/null | sort -V | tail -1)
restic=${restic:-$(command -v restic || true)}
if [[ -n $restic ]]; then
    have_restic=1
    "$restic" version
    restic_first=$(for _ in 1 2 3; do
        rm -rf "$work/restic"
        restic_here init >/dev/null
        seconds restic_night
    done | median)
    printf '%-44s %8s s  %5s MB stored\n' 'pg_dump | restic backup --stdin, first night' \
        "$restic_first" "$(stored_mb "$work/restic")"
fi

ours=() theirs=()
before=$(stored_mb "$work/repo")
for _ in 1 2 3; do
    change
    ours+=("$(seconds night)")
    if [[ -n $have_restic ]]; then theirs+=("$(seconds restic_night)"); fi
done
second=$(printf '%s\n' "${ours[@]}" | median)
printf '%-44s %8s s  %5s MB added a night, %.2f of pg_dump (aim: 1.2)\n' 'mrs-backup, further nights' "$second" \
    "$((($(stored_mb "$work/repo") - before) / 3))" "$(awk -v a="$second" -v b="$alone" 'BEGIN { print a / b }')"
if [[ -n $have_restic ]]; then
    printf '%-44s %8s s\n' 'pg_dump | restic backup --stdin, further nights' \
        "$(printf '%s\n' "${theirs[@]}" | median)"
fi

printf '%-44s %8s s  pg_dump holds them %s s\n' 'locks held, further night' \
    "$(change >&2; locked_seconds night)" "$(locked_seconds dump_alone)"

"$PG_BIN/pg_dump" -Fd -Z0 -j2 --no-sync -f "$work/directory" bench
theirs=() ours=() single=()
for _ in 1 2 3; do
    drop_restored
    theirs+=("$(seconds pg_restore_directory)")
    analyzed=$(seconds sql bench_restored --command=ANALYZE)
    drop_restored
    ours+=("$(seconds restore)")
    same=$(sql bench_restored --command='SELECT count(*), sum(id) FROM request')
    [[ $same == "$(sql bench --command='SELECT count(*), sum(id) FROM request')" ]]
    single+=("$(seconds restore_one)")
done
theirs=$(printf '%s\n' "${theirs[@]}" | median)
ours=$(printf '%s\n' "${ours[@]}" | median)
single=$(printf '%s\n' "${single[@]}" | median)
printf '%-44s %8s s  and ANALYZE %s s\n' 'pg_restore -j2 of a directory dump (-Z0)' "$theirs" "$analyzed"
printf '%-44s %8s s  %s of pg_restore (aim: 1); hashes, gates and ANALYZE with it\n' 'mrs-backup restore --database' \
    "$ours" "$(ratio "$ours" "$theirs")"
share=$(sql bench --command="SELECT round(100.0 * pg_table_size('one_percent') / pg_database_size('bench'), 2)")
printf '%-44s %8s s  %s of the whole (aim: 0.05); the table has %s%% of the bytes\n' 'mrs-backup restore --table' \
    "$single" "$(ratio "$single" "$ours")" "$share"
