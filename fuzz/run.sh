#!/bin/sh
# Runs every fuzz target for so many seconds (default 60) on its seeds and its corpus, one after another on one core, and
# prints what each did. `TARGETS="case_line" fuzz/run.sh 600` picks targets. Needs nightly and cargo-fuzz.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
targets=${TARGETS:-$(cargo +nightly fuzz list)}
logs=fuzz/target/logs
# Built once and run directly, so that an edit under way does not change what is measured.
cargo +nightly fuzz build --target-dir fuzz/target
built=fuzz/target/$(rustc +nightly -vV | sed -n 's/^host: //p')/release
# As `cargo fuzz run` sets it: Rust's own duplicate symbols are no violation.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_odr_violation=0"

status=0
for target in $targets; do
    log=$logs/$target.log
    mkdir -p "$logs" "fuzz/corpus/$target" "fuzz/artifacts/$target"
    # Time-outs count wall-clock time, and a busy machine has held one input up for 20 s.
    set -- -max_total_time="$seconds" -print_final_stats=1 -rss_limit_mb=4096 -timeout=120 \
        -artifact_prefix="fuzz/artifacts/$target/"
    if [ -f "fuzz/dict/$target.dict" ]; then set -- "$@" -dict="fuzz/dict/$target.dict"; fi
    # The first directory also takes what is found; the seeds are only read.
    if "$built/$target" "$@" "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1; then
        verdict=ok
    else
        verdict="FAILED, see $log"
        status=1
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    reached=$(grep -ao 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)
    echo "$target: ${executions:-0} executions in $seconds s, ${reached:-no coverage}: $verdict"
done
exit $status
