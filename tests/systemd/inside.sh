#!/usr/bin/env bash
# Runs in the machine that run.sh made: one part of what is tried, by name.
set -euo pipefail

export MRS_BACKUP_CONFIG=/etc/mrs-backup/config.toml
bin=/opt/mrs-backup
credentials=/etc/mrs-backup/credentials/app
ledgers=/var/lib/mrs-backup/ledger
ledger=$ledgers/app

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# Waits until a command is true.
wait_for() { # SECONDS WHAT COMMAND...
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "waiting for $what"
        sleep 0.2
    done
}

snapshots() { CREDENTIALS_DIRECTORY=$credentials "$bin" snapshots -i app --json | grep -o '"snapshots":[0-9]*' | tail -1 | cut -d: -f2; }
expect_snapshots() {
    local found
    found=$(snapshots)
    [[ $found == "$1" ]] || fail "$found snapshots, expected $1: $2"
}
result_of() { systemctl show --property=Result,ExecMainStatus "$1"; }
# The job is due: it was begun long ago, and went badly.
make_due() { # JOB [INSTANCE]
    printf '{"started":"2020-02-02T00:00:00Z","finished":"2020-02-02T00:00:00Z","exit_code":1}\n' >"$ledgers/${2:-app}/$1.json"
}
went_well() { grep -q '"exit_code":0' "$ledgers/${2:-app}/$1.json"; }
start() { # UNIT
    systemctl start "$1" || { systemctl status --no-pager --full "$1" >&2 || true; fail "$1: $(result_of "$1")"; }
}

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }

start_postgres() {
    local pg
    pg=$(find /usr/lib/postgresql -path '*/bin/initdb' -printf '%h\n' | sort -V | tail -1)
    if [[ ! -d /srv/pg/data ]]; then
        install -d -o postgres /srv/pg
        as_postgres "$pg/initdb" --auth=trust -D /srv/pg/data >/dev/null
    fi
    install -d -o postgres -m 755 /run/postgresql
    as_postgres "$pg/pg_ctl" -D /srv/pg/data -w -l /srv/pg/log \
        -o "-c listen_addresses='' -k /run/postgresql" start >/dev/null
}

configure() {
    install -d -m 700 "$credentials"
    install -d /home/app/log
    echo hello >/home/app/log/app.log
    (umask 077 && echo secret >"$credentials/repo-key")
    cat >/etc/mrs-backup/config.toml <<'CONFIG'
version = 1
[instance.app]
home = "/home/app"
repository = "/srv/repo"
key = { credential = "repo-key" }
paths = ["log"]
timezone = "Europe/Paris"
[instance.app.postgres]
databases = ["app"]
host = "/run/postgresql"
user = "postgres"
[instance.app.copy.cellar]
location = "/srv/cellar"
[instance.app.schedule]
run = "30 2 * * *"
copy = "0 3 * * *"
prune = "0 4 * * sun"
check = "0 5 * * 6"
test_restore = "30 5 * * sun"
# Another password by the same name.
[instance.school]
home = "/home/school"
repository = "/srv/school"
key = { credential = "repo-key" }
paths = ["notes"]
schedule = { run = "0 0 1 1 *" }
[review]
home = "/root/reviews"
CONFIG
    install -d /srv/repo /srv/cellar /srv/school
    install -d -m 700 "${credentials%/*}/school"
    install -d /home/school
    echo "do not forget" >/home/school/notes
    (umask 077 && echo other >"${credentials%/*}/school/repo-key")
}

# What doctor says of who starts the jobs of the instance.
doctor_says() {
    local said
    said=$(CREDENTIALS_DIRECTORY=$credentials "$bin" doctor app --only schedule 2>&1) || true
    grep -qF "$1" <<<"$said" || fail "doctor: $said"
}

timers() {
    start_postgres
    psql -qh /run/postgresql -U postgres -c 'CREATE DATABASE app'
    psql -qh /run/postgresql -U postgres app -c 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS n'
    configure
    CREDENTIALS_DIRECTORY=$credentials "$bin" init app --kdf-memory 8 >/dev/null
    CREDENTIALS_DIRECTORY=${credentials%/*}/school "$bin" init school --kdf-memory 8 >/dev/null
    doctor_says "nothing of systemd starts app-"
    "$bin" units install >/dev/null
    doctor_says "timers of systemd start 5 jobs"
    [[ -x /home/app/backup.sh ]] || fail "no scripts"
    local job
    for job in backup copy prune check test-restore; do
        systemctl is-enabled --quiet "app-$job.timer" || fail "app-$job.timer is not enabled"
        systemctl is-active --quiet "app-$job.timer" || fail "app-$job.timer does not wait"
        [[ $(systemctl show --property=NextElapseUSecRealtime --value "app-$job.timer") == 20* ||
            $(systemctl show --property=NextElapseUSecRealtime --value "app-$job.timer") == *" 20"* ]] ||
            fail "app-$job.timer has no next time"
    done
    sleep 2
    expect_snapshots 0 "nothing runs because it was installed"

    # By hand: now.
    start mrs-backup@app.service
    expect_snapshots 1 "by hand"
    # What a timer starts asks the ledger: done is done.
    start app-backup.service
    expect_snapshots 1 "nothing was due"
    for job in run copy prune check test-restore; do make_due "$job"; done
    for job in backup copy prune check test-restore; do
        start "app-$job.service"
        journalctl --no-pager -u "app-$job.service" -o cat -n 3 | sed "s/^/    /"
    done
    expect_snapshots 2 "the night"
    for job in run copy prune check test-restore; do
        went_well "$job" || fail "$job: $(cat "$ledger/$job.json")"
    done
    start school-backup.service
    systemctl is-active --quiet mrs-backup-expire.timer || fail "nobody looks after review stacks"
    start mrs-backup-expire.service
    went_well expire _reviews || fail "review stacks"
    [[ -n $(find /srv/cellar/snapshots -type f) ]] || fail "nothing came to the copy"
    # A machine that slept through a night catches it up: the stamp is of three days ago.
    make_due run
    systemctl stop app-backup.timer
    touch -d '3 days ago' /var/lib/systemd/timers/stamp-app-backup.timer
    start app-backup.timer
    wait_for 60 "the missed night" went_well run
    wait_for 60 "its end" bash -c '! systemctl is-active --quiet app-backup.service'
    expect_snapshots 3 "the missed night"
    # The scripts in the home, as people call them.
    CREDENTIALS_DIRECTORY=$credentials /home/app/backup.sh --quiet || fail "backup.sh"
    expect_snapshots 4 "backup.sh"
    CREDENTIALS_DIRECTORY=$credentials /home/app/prune.sh --quiet || fail "prune.sh"
}

booted() {
    start_postgres
    local job
    for job in backup copy prune check test-restore; do
        systemctl is-active --quiet "app-$job.timer" || fail "app-$job.timer does not wait"
    done
    sleep 2
    expect_snapshots 4 "nothing runs because the machine started"
}

failure() {
    # Whoever is to be told.
    printf '#!/bin/sh\necho "$1" >>/run/told\n' >/etc/mrs-backup/on-failure
    chmod 755 /etc/mrs-backup/on-failure
    mv /srv/repo /srv/away
    make_due run
    if systemctl start app-backup.service 2>/dev/null; then fail "without a repository it went well"; fi
    wait_for 20 "the message" grep -qx app-backup.service /run/told
    wait_for 20 "the log" bash -c 'journalctl --no-pager -t mrs-backup -p err -o cat | grep -q app-backup'
    if went_well run; then fail "the ledger says it went well"; fi
    mv /srv/away /srv/repo
    # A credential that is not there is told as well: systemd does not even begin.
    mv "$credentials/repo-key" /root/
    : >/run/told
    if systemctl start app-backup.service 2>/dev/null; then fail "it went well without its credential"; fi
    wait_for 20 "the message" grep -qx app-backup.service /run/told
    mv /root/repo-key "$credentials/"
    systemctl reset-failed
    start mrs-backup@app.service
    # What the unit may not write it cannot: another place below /srv.
    systemctl show --property=ReadWritePaths --value app-backup.service | grep -q '/srv/repo' || fail "where it writes"
}

scheduler() {
    local unit=mrs-backup-schedule.service before pid
    before=$(snapshots)
    for job in run copy prune check test-restore; do make_due "$job"; done
    make_due run school
    make_due expire _reviews
    "$bin" units install --scheduler >/dev/null
    [[ -z $(systemctl list-unit-files --no-legend 'app-*.timer' 'mrs-backup*.timer') ]] || fail "timers are left"
    doctor_says "the scheduler starts the jobs"
    systemctl is-active --quiet "$unit" || fail "it is not ready: $(systemctl show --property=ActiveState,StatusText "$unit")"
    systemctl show --property=StatusText --value "$unit" | grep -Eq 'at work: |next is ' || fail "it does not say what it does"
    local job
    for job in run copy prune check test-restore; do
        wait_for 120 "$job" went_well "$job"
    done
    wait_for 120 "the other instance, by its own password" went_well run school
    wait_for 20 "review stacks" went_well expire _reviews
    wait_for 20 "its rest" bash -c "systemctl show --property=StatusText --value $unit | grep -q '^next is '"
    expect_snapshots $((before + 1)) "all that was missed, once"
    # A new configuration.
    sed -Ei 's/^(run|copy|prune|check|test_restore) = .*/\1 = "17 1 * * *"/' "$MRS_BACKUP_CONFIG"
    systemctl reload "$unit"
    wait_for 20 "the new hour" bash -c "systemctl show --property=StatusText --value $unit | grep -q ' 01:17:00'"
    # One that hangs is found out and begun anew.
    mkdir -p "/etc/systemd/system/$unit.d"
    printf '[Service]\nWatchdogSec=2s\nRestartSec=1s\n' >"/etc/systemd/system/$unit.d/quick.conf"
    systemctl daemon-reload
    systemctl restart "$unit"
    sleep 5
    [[ $(systemctl show --property=NRestarts --value "$unit") == 0 ]] || fail "it was begun anew without need"
    pid=$(systemctl show --property=MainPID --value "$unit")
    kill -STOP "$pid"
    wait_for 30 "the watchdog" bash -c "[[ \$(systemctl show --property=NRestarts --value $unit) == 1 ]]"
    wait_for 30 "the new one" systemctl is-active --quiet "$unit"
    # A clean end.
    systemctl stop "$unit"
    systemctl show --property=Result --value "$unit" | grep -qx success || fail "$(result_of "$unit")"
    rm -r "/etc/systemd/system/$unit.d"
    # Back to timers; what it knew is still known.
    "$bin" units install >/dev/null
    went_well run || fail "the ledger is gone"
    systemctl is-active --quiet app-backup.timer || fail "no timers"
    if systemctl is-enabled --quiet "$unit" 2>/dev/null; then fail "the scheduler is left"; fi
}

removal() {
    "$bin" units remove >/dev/null
    [[ -z $(systemctl list-unit-files --no-legend 'app-*' 'school-*' 'mrs-backup*') ]] ||
        fail "left: $(systemctl list-unit-files --no-legend 'app-*' 'school-*' 'mrs-backup*')"
    [[ -z $(find /etc/systemd/system -name 'app-*' -o -name 'school-*' -o -name '*mrs-backup*') ]] || fail "files are left"
    [[ ! -e /home/app/backup.sh ]] || fail "scripts are left"
    went_well run || fail "the ledger is gone"
    [[ -z $(find /var/lib/systemd/timers -name 'stamp-app-*' 2>/dev/null) ]] ||
        fail "the memory of timers is left: $(ls /var/lib/systemd/timers)"
}

"$1"
