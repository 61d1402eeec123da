#!/usr/bin/env bash
# Builds the committed source twice, in two places, and fails unless both are one file. Two release builds from nothing:
# many minutes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
sums=()
for place in one/here a-second-and-longer-place; do
    mkdir -p "$work/$place"
    git archive HEAD | tar -x -C "$work/$place"
    (cd "$work/$place" && tests/packaging/release.sh "$work/$place/target" >"$work/path")
    sums+=("$(sha256sum <"$(cat "$work/path")")")
    # The second one has to find nothing of the first.
    rm -rf "${work:?}/$place"
done
printf '%s\n' "${sums[@]}"
if [[ ${sums[0]} != "${sums[1]}" ]]; then
    echo "two builds of one commit differ" >&2
    exit 1
fi
echo "both builds are the same file"
