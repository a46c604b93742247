#!/usr/bin/env bash
# Builds target/debian/leafcutter_VERSION_ARCH.deb: the binary, its manual page and completions.
#
#   packaging/deb.sh                 builds the binary with the release profile
#   packaging/deb.sh --no-build      packs target/release/leafcutter as it is
#
# Needs cargo-deb (`cargo install cargo-deb`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1-} != --no-build ]]; then cargo build --release --locked --bin leafcutter; fi
made=target/packaging
mkdir -p "$made"
binary=target/release/leafcutter
"$binary" man | gzip -9n >"$made/leafcutter.1.gz"
"$binary" completions bash >"$made/leafcutter.bash"
"$binary" completions zsh >"$made/_leafcutter"
"$binary" completions fish >"$made/leafcutter.fish"
cargo deb --no-build --locked
