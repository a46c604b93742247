#!/usr/bin/env bash
# Fuzzes every target with cargo-fuzz, one after the other:
#
#   bash fuzz/run.sh MINUTES [TARGET...]     MINUTES for each target, all targets or those named
#   bash fuzz/run.sh --minimise [TARGET...]  leaves the few inputs in fuzz/seeds that cover the most
#   bash fuzz/run.sh --list                  CPU minutes, inputs and coverage of each so far
#
# Needs `cargo install cargo-fuzz --locked`. A stable compiler does: RUSTC_BOOTSTRAP lets it
# instrument. The code is safe Rust, so no sanitizer is built in (`tests/sanitize.sh` runs the Rust
# tests under one); overflow checks and debug assertions are on. New inputs stay in fuzz/corpus. A
# finding ends a target's run; its input is in fuzz/artifacts/TARGET and goes, with the fix, to
# fuzz/regressions/TARGET, where an ordinary test replays it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export RUSTC_BOOTSTRAP=1
triple=$(rustc -vV | sed -n 's/^host: //p')
bins=$PWD/target/$triple/release
reports=$PWD/reports
mkdir -p "$reports"

all=()
while IFS= read -r name; do all+=("$name"); done < <(cd fuzz_targets && ls -- *.rs | sed 's/\.rs$//')

dictionary() {
  case "$1" in
    sdp_offer | sdp_answer) echo "-dict=dictionaries/sdp.dict" ;;
    signalling_message | conversation | engine) echo "-dict=dictionaries/json.dict" ;;
    rest | config) echo "-dict=dictionaries/$1.dict" ;;
  esac
}

# run TARGET SECONDS: one run; CPU seconds are added to reports/TARGET.cpu.
run() {
  local target=$1 seconds=$2 status=0
  mkdir -p "corpus/$target" "artifacts/$target"
  local -a inputs=("corpus/$target" "seeds/$target")
  if [[ -d regressions/$target ]]; then inputs+=("regressions/$target"); fi
  # Limits: 2 GB resident, 512 MB in one allocation, 10 s for one input.
  # shellcheck disable=SC2046
  { TIMEFORMAT='%U %S'; time "$bins/$target" "${inputs[@]}" \
    -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -malloc_limit_mb=512 -timeout=10 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 $(dictionary "$target") \
    >"$reports/$target.log" 2>&1; } 2>"$reports/$target.time" || status=$?
  tail -n 1 "$reports/$target.time" >>"$reports/$target.cpu"
  if [[ $status -ne 0 ]]; then
    echo "$target: FOUND something, see fuzz/reports/$target.log and fuzz/artifacts/$target"
    cp "$reports/$target.log" "$reports/$target.found.log"
  fi
  return "$status"
}

list() {
  local target minutes line inputs
  printf '%-24s %8s %8s %8s %8s\n' target "CPU min" inputs cov ft
  for target in "$@"; do
    minutes=$(awk '{ total += $1 + $2 } END { printf "%.1f", total / 60 }' "$reports/$target.cpu" 2>/dev/null || echo 0)
    inputs=$(find "corpus/$target" -type f 2>/dev/null | wc -l)
    line=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$reports/$target.log" 2>/dev/null | tail -n 1 || true)
    # shellcheck disable=SC2086
    set -- $line
    printf '%-24s %8s %8s %8s %8s\n' "$target" "$minutes" "$inputs" "${2:-}" "${4:-}"
  done
}

minimise() {
  local target kept len file
  for target in "$@"; do
    rm -rf "reports/least"; mkdir -p "reports/least" "corpus/$target"
    "$bins/$target" -merge=1 -max_len=2048 "reports/least" "seeds/$target" "corpus/$target" \
      >"$reports/$target.merge.log" 2>&1
    kept=$(find "seeds/$target" -type f | wc -l)
    len=$(find "seeds/$target" -type f -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }')
    # The smallest first, so that the few that are kept are many.
    while IFS= read -r file; do
      if [[ -e seeds/$target/$(basename "$file") ]] || cmp_any "$file" "seeds/$target"; then continue; fi
      if [[ $kept -ge 20 || $((len + $(stat -c %s "$file"))) -gt 20000 ]]; then break; fi
      cp "$file" "seeds/$target/"
      kept=$((kept + 1)); len=$((len + $(stat -c %s "$file")))
    done < <(find "reports/least" -type f -printf '%s %p\n' | sort -n | awk '{ print $2 }')
    echo "$target: $kept seeds, $len bytes"
  done
}

cmp_any() {
  local other
  for other in "$2"/*; do if cmp -s "$1" "$other"; then return 0; fi; done
  return 1
}

case "${1:-}" in
  --list) shift; list "${@:-${all[@]}}" ;;
  --minimise) shift; minimise "${@:-${all[@]}}" ;;
  '' | -h | --help | *[!0-9]*) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
  *)
    seconds=$((60 * $1)); shift
    cargo fuzz build --sanitizer none
    found=0
    for target in "${@:-${all[@]}}"; do run "$target" "$seconds" || found=1; done
    list "${@:-${all[@]}}"
    exit "$found"
    ;;
esac
