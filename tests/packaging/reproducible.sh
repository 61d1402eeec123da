#!/usr/bin/env bash
# Builds the committed source twice, in two places, and fails unless both are one file. Given a program that release.sh has
# made of this commit in this directory, it builds once and compares with that. A release build from nothing takes many minutes.
#
#   tests/packaging/reproducible.sh [PROGRAM]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
sums=()
places=(one/here a-second-and-longer-place)
if [[ -n ${1:-} ]]; then
    if [[ -n $(git status --porcelain) ]]; then
        echo "$1 is of more than the commit: something is changed here" >&2
        exit 1
    fi
    sums+=("$(sha256sum <"$1")")
    places=(a-second-and-longer-place)
fi
for place in "${places[@]}"; do
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
