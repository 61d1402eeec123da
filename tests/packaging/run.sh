#!/usr/bin/env bash
# All about packages, in order of cost. As root on Debian; two release builds: most of an hour on a small machine.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dpkg -s debootstrap >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
make deny
make deb
tests/packaging/chroot.sh target/deb/mrs-backup.deb
# The program of the package is one of the two that are compared, if it is of the commit and nothing else.
if [[ -z $(git status --porcelain) ]]; then
    tests/packaging/reproducible.sh target/package/mrs-backup
else
    tests/packaging/reproducible.sh
fi
