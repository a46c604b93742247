#!/usr/bin/env bash
# Counts the instructions of the hot paths under callgrind and holds them against
# benches/baseline.json, within 3 %:
#
#   bash benches/instructions.sh            compare; fails when a count went up or down
#   bash benches/instructions.sh --record   write the counts down as the new baseline
#
# Needs valgrind. Builds this crate alone with optimisation, on top of the dependencies that the
# tests are built with: what counts in those is assembly, which no profile changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One unit: what is inlined does not change with how the compiler splits the crate.
export CARGO_INCREMENTAL=0
profile=()
for setting in opt-level=3 codegen-units=1 debug=0 debug-assertions=false \
  overflow-checks=false; do
  profile+=(--config "profile.test.package.leafcutter.$setting")
done
binary=$(cargo build --profile test --locked --bench instructions "${profile[@]}" --message-format json-render-diagnostics |
  sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
exec "$binary" "$@"
