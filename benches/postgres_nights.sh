#!/usr/bin/env bash
# What nights of a real PostgreSQL database cost, beside restic (pg_dump piped into it) where that is found.
#
#   benches/postgres_nights.sh BINARY [MIB [NIGHTS]]      1024 MIB of rows, 31 nights if not said
#
# Every day 1% of the rows change, spread evenly, 0.5% come and 0.2% go; then VACUUM, as autovacuum would. A
# changed row moves to where there is room, so a dump has it at another place the next night. Prints what
# each night added, in MB of all files of the repository; at last the newest night is restored and compared.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1")
mib=${2:-1024} nights=${3:-31}
# shellcheck source=SCRIPTDIR/demo/postgres.sh
source "$here/demo/postgres.sh"
restic=$(find "${PEERS_DIR:-/opt/peers}" -name 'restic-*' 2>/dev/null | sort -V | tail -1)
restic=${restic:-$(command -v restic || true)}

work=$(mktemp -d "${TMPDIR:-/var/tmp}/mrs-backup-nights.XXXXXX")
finish() {
    postgres_stop "$work/pg" || true
    rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
mkdir "$work/home"
head -c 24 /dev/urandom | base64 >"$work/password"

bytes() { du -sb --apparent-size "$1" | cut -f1; }

postgres_start "$work/pg"
sql postgres --command="CREATE DATABASE claims"
# Some 330 bytes a row as COPY writes it: numbers, dates, a status, JSON, hexadecimal and words.
rows=$((mib * 1024 * 1024 / 330))
sql claims --command="
    CREATE TABLE request (
        id bigserial PRIMARY KEY, person int, status text, amount numeric(8,2), at timestamptz,
        data jsonb, token text, note text);
    CREATE FUNCTION add(n bigint) RETURNS void LANGUAGE sql AS \$\$
        INSERT INTO request (person, status, amount, at, data, token, note)
        SELECT (random() * 50000)::int, 'new', (random() * 500)::numeric(8,2), now() - random() * interval '900 days',
               jsonb_build_object('departure', md5(random()::text), 'km', (random() * 900)::int, 'mode', 'car'),
               md5(random()::text) || md5(random()::text),
               'trajet ' || (random() * 1000)::int || ' vers le centre de soins, accompagnant ' || (random() * 9)::int
        FROM generate_series(1, n) \$\$;
    SELECT add($rows)"
sql claims --command="VACUUM ANALYZE"
postgres_instance_config "$work" claims claims >"$work/config.toml"
ours() { "$binary" -q -c "$work/config.toml" "$@"; }

theirs() { RESTIC_REPOSITORY=$work/restic RESTIC_PASSWORD_FILE=$work/password "$restic" --quiet "$@"; }

ours init >/dev/null
if [[ -n $restic ]]; then theirs init; fi

echo "database of $(sql claims --command='SELECT pg_size_pretty(pg_database_size(current_database()))'), $rows rows"
echo "night  added by mrs-backup   by ${restic:-no restic}, bytes"
sum_ours=0 sum_theirs=0 before_ours=0 before_theirs=0
for ((night = 1; night <= nights; night++)); do
    if ((night > 1)); then
        sql claims --command="
            UPDATE request SET status = 'paid ' || (random() * 9)::int, amount = amount + 1 WHERE random() < 0.01;
            DELETE FROM request WHERE random() < 0.002;
            SELECT add($rows / 200)" >/dev/null
        sql claims --command="VACUUM"
    fi
    ours run --only snapshot >/dev/null
    now_ours=$(bytes "$work/repo") now_theirs=0
    if [[ -n $restic ]]; then
        "$PG_BIN/pg_dump" -Fc -Z0 claims | theirs backup --stdin --stdin-filename claims.dump
        now_theirs=$(bytes "$work/restic")
    fi
    printf '%5d %15d %15d\n' "$night" $((now_ours - before_ours)) $((now_theirs - before_theirs))
    if ((night > 1)); then
        sum_ours=$((sum_ours + now_ours - before_ours)) sum_theirs=$((sum_theirs + now_theirs - before_theirs))
    fi
    before_ours=$now_ours before_theirs=$now_theirs
done
printf 'after the first night: %d and %d bytes' "$sum_ours" "$sum_theirs"
if ((sum_theirs > 0)); then awk "BEGIN { printf \", a %.1fth\", $sum_theirs / $sum_ours }"; fi
echo

ours dump latest --database claims --format custom -o "$work/claims.dump"
sql postgres --command="CREATE DATABASE again"
"$PG_BIN/pg_restore" --no-owner -d again "$work/claims.dump"
all="COPY (SELECT * FROM request ORDER BY id) TO STDOUT"
if [[ $(sql claims --command="$all" | sha256sum) != "$(sql again --command="$all" | sha256sum)" ]]; then
    echo "the restored rows differ" >&2
    exit 1
fi
echo "the last night was restored and is the same"
