#!/usr/bin/env bash
# The Rust tests under AddressSanitizer: ours is safe Rust but for src/net/sys, and calls into C.
#
#   bash tests/sanitize.sh [FILTER...]    arguments go to `cargo test`
#
# A stable compiler does: RUSTC_BOOTSTRAP lets it instrument. Builds everything once more, into a
# folder of its own, and takes some minutes; not part of run.sh. Leaks are not looked for: threads
# that run until the process ends hold what they hold.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0:abort_on_error=1}
exec cargo test --locked --target "$triple" --target-dir target/sanitize --lib "$@"
