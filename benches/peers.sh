#!/usr/bin/env bash
# Measures mrs-backup and every peer found on this machine on the same generated instance.
#
#   benches/peers.sh [--rounds 5] [--scale 1.0] [--small] [--work DIR] [--only mrs,restic] [--json FILE]
#
# benches/peers-install.sh gets the peers. What is measured and how: peers.py.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v /usr/bin/time >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y time >/dev/null
fi
: "${GENERATE:=target/release/examples/generate}"
if [[ ! -x $GENERATE ]]; then cargo build --release --locked --example generate; fi
export GENERATE
exec python3 benches/peers.py "$@"
