#!/usr/bin/env bash
# Installs the package in a fresh Debian and tries it; tries the program alone in a directory with nothing else. As root.
#
#   tests/packaging/chroot.sh PACKAGE.deb [DEBOOTSTRAPPED]
set -euo pipefail

package=$(realpath "$1") prepared=${2:-}
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

root=$work/debian
if [[ -n $prepared ]]; then
    cp -a "$prepared" "$root"
else
    debootstrap --variant=minbase bookworm "$root" http://deb.debian.org/debian >"$work/log" ||
        { tail -5 "$work/log" >&2; fail "debootstrap"; }
fi
cp "$package" "$root/tmp/mrs-backup.deb"
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }

inside dpkg -i /tmp/mrs-backup.deb
[[ $(inside stat -c %a /etc/mrs-backup) == 700 ]] || fail "/etc/mrs-backup is not 0700"
inside mrs-backup --version
for file in /usr/share/man/man1/mrs-backup-restore.1.gz /usr/share/bash-completion/completions/mrs-backup \
    /usr/lib/systemd/system/mrs-backup@.service /usr/share/doc/mrs-backup/examples/config.toml \
    /usr/share/doc/mrs-backup/sbom.cdx.json /usr/share/doc/mrs-backup/copyright; do
    [[ -s $root$file ]] || fail "$file is not there"
done
grep -q '^ExecStart=/usr/bin/mrs-backup ' "$root/usr/lib/systemd/system/mrs-backup@.service" || fail "the units' program"
inside bash -n /usr/share/bash-completion/completions/mrs-backup

# One night of an instance without a database, and back.
inside sh -euc '
    umask 077
    mkdir -p /srv/app/log /srv/back
    echo hello >/srv/app/log/app.log
    head -c 24 /dev/urandom | base64 >/etc/mrs-backup/app.password
    cat >/etc/mrs-backup/config.toml <<CONFIG
version = 1
[instance.app]
home = "/srv/app"
repository = "/srv/repo"
key = { file = "/etc/mrs-backup/app.password" }
paths = ["log"]
CONFIG
    mrs-backup config validate
    mrs-backup init app --kdf-memory 8 >/dev/null
    mrs-backup run app
    mrs-backup restore latest /srv/back --verify
    cmp /srv/app/log/app.log /srv/back/log/app.log
    mrs-backup check --read-data
    mrs-backup migrate restic /srv/missing -i app 2>&1 | grep -q "no repository of restic"
'

# What is left after a purge: never the passwords.
inside dpkg --purge mrs-backup
[[ ! -e $root/usr/bin/mrs-backup ]] || fail "the program is still there"
[[ -s $root/etc/mrs-backup/app.password ]] || fail "a purge took the password"

# The program needs nothing of the system.
mkdir -p "$work/empty/tmp"
dpkg-deb --fsys-tarfile "$package" | tar -x -O ./usr/bin/mrs-backup >"$work/empty/mrs-backup"
chmod 755 "$work/empty/mrs-backup"
chroot "$work/empty" /mrs-backup --version || fail "it needs more than itself"
printf 'secret\n' >"$work/empty/password"
chmod 600 "$work/empty/password"
chroot "$work/empty" /mrs-backup --repo /repo --password-file /password --state-dir /state init --kdf-memory 8 >/dev/null
chroot "$work/empty" /mrs-backup --repo /repo --password-file /password --state-dir /state backup /password
echo "the package installs, works and goes; the program works alone"
