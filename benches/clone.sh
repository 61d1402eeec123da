#!/usr/bin/env bash
# An anonymized copy of the application of fixtures/anonymize, beside a plain restore of the same snapshot, and a search for
# everybody in what came.
#
#   benches/clone.sh BINARY [PERSONS]       100,000 if not said; prints seconds, MB of memory, and what a search finds
#
# Two servers on one machine, no fsync. Runs of a kind follow each other after one that fills the caches; the median of three
# is told, and the aim behind it. It takes about 40 KB of room a person.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fixtures=$here/../fixtures/anonymize
binary=$(realpath "$1")
persons=${2:-100000}
# shellcheck source=SCRIPTDIR/demo/postgres.sh
source "$here/demo/postgres.sh"

work=$(mktemp -d /var/tmp/mrs-backup-clone.XXXXXX)
finish() {
    postgres_stop "$work/production/pg" || true
    postgres_stop "$work/staging/pg" || true
    rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
mkdir -p "$work"/{production,staging}/mrsattachments "$work/production/log"
chmod 755 "$work"/{production,staging}
echo one >"$work/production/log/app.log"
echo one >"$work/production/mrsattachments/one.pdf"

# COMMAND...: runs it, prints the seconds it took and the most memory it had, in MB
measured() {
    local began ended
    began=$(date +%s.%N)
    # shellcheck disable=SC2016
    python3 -c 'import resource, subprocess, sys
code = subprocess.call(sys.argv[3:], stdout=open(sys.argv[1], "w"), stderr=open(sys.argv[2], "w"))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000, file=open(sys.argv[1] + ".rss", "w"))
sys.exit(code)' "$work/out" "$work/err" "$@" || { cat "$work/err" "$work/out" >&2; return 1; }
    ended=$(date +%s.%N)
    awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.2f ", b - a }'
    cat "$work/out.rss"
}

middle() { sort -n | sed -n 2p; }

server() { # NAME: of which server the variables are
    export PGHOST=$work/$1/pg PGPORT
    PGPORT=$(cat "$work/$1/port")
}

for name in production staging; do
    postgres_start "$work/$name/pg" >/dev/null
    echo "$PGPORT" >"$work/$name/port"
    sql postgres --command="CREATE DATABASE app TEMPLATE template0 ENCODING 'UTF8'"
done
server production
echo "$persons persons"
"$PG_BIN/psql" -Xq -v ON_ERROR_STOP=1 -v persons="$persons" -d app -f "$fixtures/schema.sql" -f "$fixtures/generate.sql" >/dev/null

(umask 077; echo secret >"$work/password"; head -c 32 /dev/urandom | base64 >"$work/clone.key")
cp "$fixtures/rules.toml" "$work/rules.toml"
config_of() { # NAME
    cat <<TOML
[instance.$1]
home = "$work/$1"
repository = "$work/$1-repo"
key = { file = "$work/password" }
paths = ["log", "mrsattachments"]
[instance.$1.postgres]
host = "$work/$1/pg"
port = $(cat "$work/$1/port")
user = "$PGUSER"
databases = ["app"]
bin_dir = "$PG_BIN"
TOML
}
{
    printf 'version = 1\nstate_dir = "%s/state"\n' "$work"
    config_of production
    config_of staging
    printf '[instance.staging.clone]\nfrom = ["production"]\nrules = "%s/rules.toml"\nkey = { file = "%s/clone.key" }\n' "$work" "$work"
} >"$work/config.toml"
run() { "$binary" -q -c "$work/config.toml" "$@"; }
run -i production init --kdf-memory 8 >/dev/null
run run production --only snapshot >/dev/null
rows=$("$PG_BIN/psql" -XqAt -d app -c "SELECT sum(pg_relation_size(oid)) / 1000000 FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
echo "tables of $rows MB"

restore_there() {
    run -i production restore latest --database app --as app_restored --jobs 2 --yes
}
drop_restored() { "$PG_BIN/psql" -Xq -d postgres -c 'DROP DATABASE IF EXISTS app_restored WITH (FORCE)' 2>/dev/null; }
clone() { run clone production staging --yes; }
export -f run restore_there clone
export binary work

for turn in 0 1 2 3; do
    server production
    drop_restored
    line=$(measured bash -c restore_there)
    ((turn > 0)) && echo "$line" >>"$work/restores"
    server staging
    line=$(measured bash -c clone)
    ((turn > 0)) && echo "$line" >>"$work/clones"
done
restored=$(middle <"$work/restores")
cloned=$(middle <"$work/clones")
echo "plain restore: ${restored% *} s"
echo "clone: ${cloned% *} s, most memory ${cloned#* } MB (aim 200)"
awk -v a="${cloned% *}" -v b="${restored% *}" 'BEGIN { printf "ratio %.2f (aim 1.5)\n", a / b }'

# A search that knows nothing of us.
server production
"$PG_BIN/psql" -XqAt -d app >"$work/patterns" <<'SQL'
SELECT DISTINCT x FROM (
    SELECT nir FROM person_person UNION SELECT email FROM person_person UNION SELECT phone FROM person_person
    UNION SELECT iban FROM mrsrequest_mrsrequest UNION SELECT token FROM mrsrequest_mrsrequest
    UNION SELECT username FROM auth_user UNION SELECT email FROM auth_user UNION SELECT email FROM contact_contact
    UNION SELECT filename FROM mrsattachment_mrsattachment
    UNION SELECT data->'changed'->'nir'->>0 FROM mrsrequest_mrsrequestlogentry
    UNION SELECT first_name || ' ' || last_name FROM person_person
    UNION SELECT last_name || ' ' || first_name FROM person_person
    UNION SELECT first_name || E'\t' || last_name FROM person_person) AS f(x) WHERE length(x) >= 6;
SQL
found() { # FILE
    LC_ALL=C grep -i -a -o -F -f "$work/patterns" "$1" | wc -l
}
"$PG_BIN/pg_dump" -d app >"$work/production.sql"
server staging
"$PG_BIN/pg_dump" -d app >"$work/staging.sql"
find "$work/staging/mrsattachments" -type f -printf '%f\n' >"$work/names"
echo "$(wc -l <"$work/patterns") originals; of them in production's dump: $(found "$work/production.sql"), in staging's: $(found "$work/staging.sql"), in its $(wc -l <"$work/names") files' names: $(found "$work/names")"
