#!/usr/bin/env bash
# Measures mrs-backup and every peer found on this machine on the same generated instance.
#
#   benches/peers.sh [--scenario instance|small|million|nights] [--rounds 5] [--scale 1.0] [--only mrs,restic] [--plots DIR]
#
# benches/peers-install.sh gets the peers. What is measured and how: benches/peers/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Plots need matplotlib, which stays out of the system's Python.
if [[ " $* " == *" --plots"* && ! -x target/bench-venv/bin/python ]]; then
    python3 -m venv target/bench-venv
    target/bench-venv/bin/pip install --quiet "matplotlib==3.10.*"
fi
if [[ -x target/bench-venv/bin/python ]]; then PYTHON=target/bench-venv/bin/python; fi
: "${GENERATE:=target/release/examples/generate}"
if [[ ! -x $GENERATE ]]; then cargo build --release --locked --example generate; fi
export GENERATE
exec "${PYTHON:-python3}" benches/peers "$@"
