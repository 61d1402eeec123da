#!/usr/bin/env bash
# Builds the program as it is handed out: static, with everything in it, and without the paths of this machine, so that
# two builds of one commit are one file. Gives the path of the program.
#
#   tests/packaging/release.sh [TARGET_DIRECTORY]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
directory=${1:-target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# The commit's time, for whatever writes one down.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
absolute=$(realpath -m "$directory")
export RUSTFLAGS="-C target-feature=+crt-static \
    --remap-path-prefix=$absolute=/target --remap-path-prefix=$PWD=/mrs-backup --remap-path-prefix=$cargo_home=/cargo"
export CFLAGS="-ffile-prefix-map=$absolute=/target -ffile-prefix-map=$PWD=/mrs-backup -ffile-prefix-map=$cargo_home=/cargo"
# With --target the programs that cargo runs while it builds are not static.
cargo build --release --locked --features restic --target "$host" --target-dir "$directory" >&2
echo "$directory/$host/release/mrs-backup"
