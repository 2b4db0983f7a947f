#!/bin/sh
# Compiles every fuzz target: as libFuzzer binaries where nightly and cargo-fuzz are there, else as a plain check on the
# default toolchain. `fuzz/check.sh stable` forces the latter.
set -eu
cd "$(dirname "$0")/.."

has_nightly() {
    command -v rustup >/dev/null && rustup toolchain list | grep -q '^nightly' && cargo fuzz --version >/dev/null 2>&1
}

if [ "${1:-}" != stable ] && has_nightly; then
    echo "fuzz: building with $(rustc +nightly --version)"
    exec cargo +nightly fuzz build --target-dir fuzz/target
fi
echo "fuzz: checking with $(rustc --version), without instrumentation"
# A directory of its own: other flags would rebuild the instrumented one.
RUSTFLAGS="${RUSTFLAGS:-} --cfg fuzzing" exec cargo check --manifest-path fuzz/Cargo.toml --target-dir fuzz/target/stable
