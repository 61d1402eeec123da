#!/usr/bin/env bash
# Counts the machine instructions of each stage of the pipeline with callgrind and compares them with what is written
# down in benches/instructions.tsv. Unlike time, that does not depend on what else a machine does.
#
#   benches/instructions.sh            fails if a stage takes over 5% more than written down
#   benches/instructions.sh --write    writes down what they take now
#
# Valgrind shows programs the same processor on every machine that has AVX2, so the same code is chosen at run time. On
# one that has not, other code runs, and nothing can be compared: that is said.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
baseline=benches/instructions.tsv
tolerance_percent=5
stages=(cut cut-with-features hash compress-and-seal seal fill-packs open delta index-fill index-ask)

# Nearly the release's code, with the dependencies that the tests are built with: those are optimized, too, and a profile of
# its own would build all of them once more, which took longer than everything else here.
ours='profile.dev.package.mrs-backup'
CARGO_INCREMENTAL=0 cargo build --quiet --locked --example instructions --config "$ours.opt-level=3" \
    --config "$ours.debug-assertions=false" --config "$ours.codegen-units=16" --config "$ours.debug=false"
program=${CARGO_TARGET_DIR:-target}/debug/examples/instructions

count() {
    # What the program does outside of its threads and of the system is all that is counted.
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" 2>&1 |
        awk '/Collected :/ { print $NF; found = 1 } END { exit !found }'
}

nothing=$(count nothing)
measured=$(for stage in "${stages[@]}"; do
    printf '%s\t%d\n' "$stage" $(($(count "$stage") - nothing))
done)

if [[ ${1:-} == --write ]]; then
    printf '%s\n' "$measured" | tee "$baseline"
    exit
fi
if ! grep -qw avx2 /proc/cpuinfo; then
    echo "this processor has no AVX2: the counts are of other code than those written down, and are not compared"
    printf '%s\n' "$measured"
    exit
fi
slower=0
while IFS=$'\t' read -r stage now; do
    then=$(awk -F '\t' -v stage="$stage" '$1 == stage { print $2 }' "$baseline")
    if [[ -z $then ]]; then
        echo "$stage: not written down; run benches/instructions.sh --write" >&2
        slower=1
        continue
    fi
    printf '%-20s %15d instructions, %+.1f%%\n' "$stage" "$now" "$(awk "BEGIN { print ($now - $then) * 100 / $then }")"
    if ((now * 100 > then * (100 + tolerance_percent))); then
        echo "$stage: $now instructions, over $tolerance_percent% more than $then; if that is meant, run benches/instructions.sh --write" >&2
        slower=1
    fi
done <<<"$measured"
exit "$slower"
