# shellcheck shell=bash
# A throw-away PostgreSQL server on a unix socket, for a script to source.
#
#   postgres_install            install Debian's server programs where there are none; starts nothing
#   postgres_start DIR          make a cluster in DIR and start it; sets PG_BIN, PGHOST, PGPORT, PGUSER
#   postgres_stop DIR           stop the server of DIR, and no other
#   database_contents DATABASE  one line a table, sequence and large object, with a digest
#   database_schema DATABASE    the schema as SQL text
#
# There is no TCP port and no password: the socket lies in a directory that only its owner and root
# can enter, and the port number is only a part of the socket's name.

postgres_programs() {
    find /usr/lib/postgresql -path '*/bin/initdb' -printf '%h\n' 2>/dev/null | sort -V | tail -1
}

postgres_install() {
    [[ -n $(postgres_programs) ]] && return
    if ((EUID != 0)); then
        echo "PostgreSQL's server programs are missing: apt-get install postgresql" >&2
        return 1
    fi
    apt-get update -qq
    quiet_install postgresql-common || return
    # Debian makes and starts a cluster "main" with every server it installs: not for us.
    local config=/etc/postgresql-common/createcluster.conf status=0
    cp -p "$config" "$config.before"
    echo 'create_main_cluster = false' >>"$config"
    quiet_install postgresql || status=$?
    mv "$config.before" "$config"
    return "$status"
}

# Shows what apt said only if it failed.
quiet_install() { # PACKAGE...
    local log status=0
    log=$(mktemp)
    DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >"$log" 2>&1 || status=$?
    if ((status != 0)); then cat "$log" >&2; fi
    rm -f "$log"
    return "$status"
}

# PostgreSQL refuses to run as root.
as_server() {
    if ((EUID == 0)); then runuser -u postgres -- "$@"; else "$@"; fi
}

postgres_start() {
    local dir=$1
    PG_BIN=$(postgres_programs)
    mkdir -m 700 "$dir"
    if ((EUID == 0)); then chown postgres: "$dir"; fi
    # The name and the rights that the image of docker-compose.yml gives its only user.
    as_server "$PG_BIN/initdb" --pgdata="$dir/data" --username=django --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$dir.log"
    as_server "$PG_BIN/pg_ctl" --pgdata="$dir/data" --log="$dir/server.log" --wait --silent \
        --options="-p 5433 -k '$dir' -c listen_addresses='' -c fsync=off -c max_wal_size=2GB" start
    export PGHOST=$dir PGPORT=5433 PGUSER=django
}

postgres_stop() {
    if [[ -e $1/data/postmaster.pid ]]; then
        as_server "$PG_BIN/pg_ctl" --pgdata="$1/data" --mode=immediate --silent stop
    fi
}

# sql DATABASE [PSQL OPTION]...: without --command, the SQL comes from the standard input.
sql() {
    local database=$1
    shift
    "$PG_BIN/psql" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
        --dbname="$database" "$@"
}

database_contents() {
    local database=$1 table rows
    local tables="SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    sql "$database" --command="$tables" | while read -r table; do
        rows=$(sql "$database" --command="SELECT count(*) FROM $table" </dev/null)
        # Sorted as bytes: the order of the rows on disk is no part of a database.
        printf '%s %s rows %s\n' "$table" "$rows" "$(
            sql "$database" --command="COPY $table TO STDOUT" </dev/null |
                LC_ALL=C sort | sha256sum | cut -c1-64
        )"
    done
    sql "$database" --command="
        SELECT 'sequence', schemaname, sequencename, last_value FROM pg_sequences ORDER BY 2, 3"
    sql "$database" --command="
        SELECT 'large object', oid, encode(sha256(lo_get(oid)), 'hex')
        FROM pg_largeobject_metadata ORDER BY 2"
}

database_schema() {
    # The two lines left out hold a random word that is new in every dump.
    "$PG_BIN/pg_dump" --schema-only "$1" | grep -v '^\\\(un\)\?restrict '
}

# --- a configuration ---------------------------------------------------------------------------------

# Prints the configuration of one instance NAME below directory WORK with one database of the server that was started.
postgres_instance_config() { # WORK NAME DATABASE
    cat <<CONFIG
version = 1
state_dir = "$1/state"
[instance.$2]
home = "$1/home"
repository = "$1/repo"
key = { file = "$1/password" }
[instance.$2.postgres]
host = "$PGHOST"
port = $PGPORT
user = "$PGUSER"
databases = ["$3"]
bin_dir = "$PG_BIN"
CONFIG
}
