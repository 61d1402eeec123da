#!/usr/bin/env bash
# All about packages, in order of cost. As root on Debian; several release builds: an hour on a small machine.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dpkg -s debootstrap >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
make deny
make deb
tests/packaging/chroot.sh target/deb/mrs-backup.deb
tests/packaging/reproducible.sh
