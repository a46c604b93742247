#!/bin/bash
# Leafcutter and Janus under the same load, in alternating runs: server on one core, tester on
# another.
#
# Installs Janus (Debian package) where it is missing, configures it for loopback, builds the
# release binary unless LEAFCUTTER names one, and prints a table; figures and reports of each run
# stay in OUT. Settings, as environment variables:
#   ADDRESS=one of this machine's own, not loopback: Janus gathers no candidates there
#   SERVERS="leafcutter janus"  VIEWERS="100 300"  ROUNDS=2  SECONDS_EACH=15
#   SERVER_CPU=0  TESTER_CPU=1  OUT=target/compare
#   LEAFCUTTER=path/to/leafcutter  FANOUT="more options of bench fanout"
#   JANUS_EVENT_LOOPS=N (0: a thread per viewer, Janus's default; 1 serves it best on one core)
set -euo pipefail
cd "$(dirname "$0")/../.."
ADDRESS=${ADDRESS:-$(hostname -I | cut -d' ' -f1)}
SERVERS=${SERVERS:-"leafcutter janus"}
VIEWERS=${VIEWERS:-"100 300"}
ROUNDS=${ROUNDS:-2}
SECONDS_EACH=${SECONDS_EACH:-15}
SERVER_CPU=${SERVER_CPU:-0}
TESTER_CPU=${TESTER_CPU:-1}
OUT=${OUT:-target/compare}
FANOUT=${FANOUT:---joins-per-second 40}
JANUS_EVENT_LOOPS=${JANUS_EVENT_LOOPS:-1}

if ! command -v janus >/dev/null; then
    apt-get update -q && apt-get install -y -q janus
fi
if [ -z "${LEAFCUTTER:-}" ]; then
    cargo build --release --locked
    LEAFCUTTER=target/release/leafcutter
fi
mkdir -p "$OUT"
# The table is of this run alone.
rm -f "$OUT"/*-*-*.json
WORK=$(mktemp -d)
SERVER=
stop() {
    if [ -n "$SERVER" ]; then
        kill "$SERVER" 2>/dev/null || true
        wait "$SERVER" 2>/dev/null || true
        SERVER=
    fi
}
trap 'stop; rm -rf "$WORK"' EXIT
ulimit -n "$(ulimit -Hn)"

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

start_leafcutter() {
    # The limit on processor use is for hosts with other work: here it would refuse viewers.
    LEAFCUTTER_CPU_LIMIT=100 taskset -c "$SERVER_CPU" "$LEAFCUTTER" --listen "$ADDRESS:0" \
        --media-port 0 --workers 1 --data-dir "$WORK/data" \
        >"$WORK/leafcutter.out" 2>"$OUT/leafcutter.log" &
    SERVER=$!
    until grep -qs '^listening on' "$WORK/leafcutter.out"; do kill -0 "$SERVER"; sleep 0.1; done
    URL=$(sed -n 's|^listening on http|ws|p' "$WORK/leafcutter.out")/live/websocket
    PROTOCOL=ant
}

start_janus() {
    local port; port=$(free_port)
    sed -e "s|@PORT@|$port|" -e "s|@EVENT_LOOPS@|$JANUS_EVENT_LOOPS|" -e "s|@ADDRESS@|$ADDRESS|" \
        benches/compare/janus.jcfg >"$WORK/janus.jcfg"
    cp "$WORK/janus.jcfg" "$WORK/janus.transport.websockets.jcfg"
    cp benches/compare/janus.plugin.videoroom.jcfg "$WORK/"
    taskset -c "$SERVER_CPU" janus --config="$WORK/janus.jcfg" --configs-folder="$WORK" \
        --disable-colors >"$OUT/janus.log" 2>&1 &
    SERVER=$!
    until python3 -c "import socket; socket.create_connection(('$ADDRESS', $port))" 2>/dev/null; do
        kill -0 "$SERVER"; sleep 0.1
    done
    URL=ws://$ADDRESS:$port/
    PROTOCOL=janus
}

for viewers in $VIEWERS; do
    for round in $(seq "$ROUNDS"); do
        for server in $SERVERS; do
            "start_$server"
            name=$OUT/$server-$viewers-$round
            # shellcheck disable=SC2086
            taskset -c "$TESTER_CPU" "$LEAFCUTTER" bench fanout --url "$URL" --protocol $PROTOCOL \
                --viewers "$viewers" --duration "$SECONDS_EACH" --pid "$SERVER" --floor \
                --json "$name.json" --html "$name.html" $FANOUT >"$name.txt" 2>&1 \
                || { cat "$name.txt"; exit 1; }
            stop
        done
    done
done
python3 benches/compare/table.py "$OUT"/*.json
