#!/usr/bin/env bash
# People come and go for a long time: bash benches/soak.sh [SECONDS] [JOINS_PER_SECOND]
#
# Starts a server of its own on loopback, runs `leafcutter bench soak` against it, and leaves
# soak.csv and soak.svg in docs/plots. LEAFCUTTER_BIN names the binary; without it one is built.
# Fails when memory grew by more than 5 %, or when a peer, a track or a descriptor was left behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-3600}
joins=${2:-20}
if [[ -z ${LEAFCUTTER_BIN:-} ]]; then
  cargo build --release --locked --bin leafcutter
  target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  LEAFCUTTER_BIN=$target/release/leafcutter
fi

home=$(mktemp -d)
server=
clean_up() {
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$home"
}
trap clean_up EXIT

LEAFCUTTER_LOG=warn LEAFCUTTER_CPU_LIMIT=100 "$LEAFCUTTER_BIN" --listen 127.0.0.1:0 --media-port 0 \
  --data-dir "$home" --workers 1 >"$home/out" &
server=$!
until grep -q '^listening' "$home/out"; do
  kill -0 "$server" || exit 1
  read -rt 0.1 <> <(:) || true
done
address=$(sed -n 's|^listening on http://||p' "$home/out")

mkdir -p docs/plots
"$LEAFCUTTER_BIN" bench soak --url "ws://$address/live/websocket" --pid "$server" \
  --seconds "$seconds" --joins-per-second "$joins" \
  --csv docs/plots/soak.csv --svg docs/plots/soak.svg
