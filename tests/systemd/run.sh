#!/usr/bin/env bash
# The units under a real systemd: it runs as PID 1 of namespaces of its own, in a root made of this machine's /usr
# (read only) and of empty directories. Nothing of this machine is seen by it, and nothing changed; no network. As root, on Debian; some
# minutes. Leaves nothing behind.
#
#   tests/systemd/run.sh [PROGRAM]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=$(realpath "${1:-target/release/mrs-backup}")
if ((EUID != 0)); then
    echo "tests/systemd/run.sh: a systemd of its own needs root" >&2
    exit 1
fi
# shellcheck source=SCRIPTDIR/../../benches/demo/postgres.sh
source benches/demo/postgres.sh
postgres_install
[[ -x /usr/bin/dbus-daemon ]] || quiet_install dbus

root=$(mktemp -d /tmp/mrs-systemd-XXXXXX)
cgroup='' boot=''

# systemd keeps its processes in groups below ours: they go with it, and the group after them.
cleanup() {
    local status=$?
    stop_machine
    umount --lazy --quiet "$root/usr" 2>/dev/null || true
    rm -rf --one-file-system "$root"
    exit "$status"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# --- the root ------------------------------------------------------------------------------------------

make_root() {
    local directory link user
    for directory in usr etc/mrs-backup etc/systemd/system opt root home srv var/lib var/log var/tmp run tmp proc sys dev; do
        mkdir -p "$root/$directory"
    done
    chmod 755 "$root" && chmod 1777 "$root/tmp" "$root/var/tmp" && chmod 700 "$root/etc/mrs-backup"
    for link in bin sbin lib lib64; do ln -s "usr/$link" "$root/$link"; done
    ln -s ../run "$root/var/run"
    for user in root nobody postgres systemd-journal systemd-network; do
        getent passwd "$user" >>"$root/etc/passwd" || true
        getent group "$user" >>"$root/etc/group" || true
    done
    getent group nogroup >>"$root/etc/group" || true
    cp /etc/ld.so.cache /etc/ld.so.conf "$root/etc/"
    cp -r /etc/ld.so.conf.d /etc/alternatives "$root/etc/"
    printf 'passwd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
    printf 'Etc/UTC\n' >"$root/etc/timezone"
    ln -s ../usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
    head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$root/etc/machine-id"
    # Nothing of this machine's own services: only what a machine needs to come up.
    printf '[Unit]\nDescription=The machine is up\nRequires=basic.target\nAfter=basic.target\nWants=multi-user-of-test.target timers.target\nAllowIsolate=yes\n' \
        >"$root/etc/systemd/system/test.target"
    for unit in systemd-udevd systemd-sysctl systemd-modules-load systemd-timesyncd systemd-networkd systemd-resolved \
        systemd-binfmt systemd-sysusers systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-random-seed systemd-remount-fs ldconfig kmod-static-nodes; do
        ln -s /dev/null "$root/etc/systemd/system/$unit.service"
    done
    ln -s /dev/null "$root/etc/systemd/system/polkit.service"
    # `systemctl clean` goes by the bus.
    printf 'messagebus:x:990:990::/nonexistent:/usr/sbin/nologin\n' >>"$root/etc/passwd"
    printf 'messagebus:x:990:\n' >>"$root/etc/group"
    for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim logrotate man-db systemd-tmpfiles-clean; do
        ln -s /dev/null "$root/etc/systemd/system/$timer.timer"
    done
    cp "$program" "$root/opt/mrs-backup"
    cp tests/systemd/inside.sh "$root/opt/inside.sh"
    mount --bind /usr "$root/usr"
    mount -o remount,bind,ro "$root/usr"
}

# --- the machine ---------------------------------------------------------------------------------------

# Runs in namespaces of its own, before systemd takes its place.
enter_script() {
    cat <<'SCRIPT'
set -eu
root=$1
mount --make-rprivate /
mount --rbind "$root" "$root"
cd "$root"
mount -t proc proc proc
# What is the kernel's is this machine's as well.
for path in proc/sys proc/sysrq-trigger proc/irq proc/bus; do
    if [ -e "$path" ]; then mount --bind "$path" "$path" && mount -o remount,bind,ro "$path"; fi
done
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    IFS=: read -r name major minor <<DEVICE
$device
DEVICE
    mknod -m 666 "dev/$name" c "$major" "$minor"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
mount --make-rshared /
hostname mrs-test
exec setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=mrs-test /lib/systemd/systemd --system --unit=test.target \
    --log-target=console --show-status=no --log-level=warning
SCRIPT
}

start_machine() {
    local base=/sys/fs/cgroup tries
    [[ -e $base/cgroup.procs ]] || base=/sys/fs/cgroup/unified
    cgroup=$base/mrs-test-$$
    mkdir "$cgroup"
    enter_script >"$root.enter"
    # In the group first, so that it is the root of what systemd sees.
    (
        echo "$BASHPID" >"$cgroup/cgroup.procs"
        exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --mount-proc="$root/proc" \
            sh "$root.enter" "$root"
    ) >"$root/var/log/console" 2>&1 </dev/null &
    boot=$!
    for ((tries = 0; tries < 300; tries++)); do
        leader=$(pgrep --parent "$boot" --exact systemd || true)
        if [[ -n $leader ]] && inside systemctl is-active --quiet test.target 2>/dev/null; then return; fi
        kill -0 "$boot" 2>/dev/null || break
        sleep 0.2
    done
    cat "$root/var/log/console" >&2
    if [[ -n ${leader:-} ]]; then inside systemctl --no-pager list-jobs >&2 || true; fi
    fail "systemd does not come up"
}

inside() {
    # Where we are is not there.
    (cd / && exec nsenter --target "$leader" --all --root --wd \
        /usr/bin/env -i --chdir=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@")
}

stop_machine() {
    local tries
    if [[ -n $boot ]]; then
        # Its first process takes all others with it.
        if [[ -n ${leader:-} ]]; then kill -s RTMIN+3 "$leader" 2>/dev/null || true; fi
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "$boot" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL ${leader:+"$leader"} "$boot" 2>/dev/null || true
        wait "$boot" 2>/dev/null || true
        boot='' leader=''
    fi
    if [[ -n $cgroup ]]; then
        for ((tries = 0; tries < 50; tries++)); do
            find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [[ -d $cgroup ]] || break
            sleep 0.1
        done
        cgroup=''
    fi
    rm -f "$root.enter"
}

# --- what is tried -------------------------------------------------------------------------------------

make_root
start_machine
for part in timers failure scheduler removal; do
    echo "==> $part"
    inside bash /opt/inside.sh "$part" || { inside journalctl --no-pager -n 40 >&2; fail "$part"; }
    if [[ $part == timers ]]; then
        echo "==> after a boot"
        stop_machine
        start_machine
        inside bash /opt/inside.sh booted || fail "after a boot"
    fi
done
echo "the units work under systemd $(systemctl --version | awk 'NR == 1 { print $2 }')"
