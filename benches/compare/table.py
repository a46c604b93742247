"""Prints the JSON reports of `bench fanout` as one table, a row per server and number of viewers.

Of several rounds the median is shown. Files are named SERVER-VIEWERS-ROUND.json.
"""

import json
import pathlib
import statistics
import sys

COLUMNS = [
    ("us/packet", lambda m: m["server_us_per_packet"]),
    ("/ floor", lambda m: ratio(m, "with_feedback_ns")),
    ("/ floor live", lambda m: ratio(m, "live_ns")),
    ("/ paced", lambda m: ratio(m, "paced_ns")),
    ("run", lambda m: run(m["mix"]["runs"])),
    ("p50 ms", lambda m: m["latency_ms"]["p50"]),
    ("p99 ms", lambda m: m["latency_ms"]["p99"]),
    ("loss %", lambda m: m["loss"] * 100),
    ("left out %", lambda m: m["left_out"] * 100),
    ("KiB/viewer", lambda m: m["server_kib_per_viewer"]),
    ("ms/join", lambda m: m["server_ms_per_join"]),
    ("cores", lambda m: m["server_cpu"]),
    ("tester %", lambda m: m["tester_busiest_thread"] * 100),
]


def ratio(measured, floor):
    if measured["floor"] is None or measured["server_us_per_packet"] is None:
        return None
    return measured["server_us_per_packet"] * 1000 / measured["floor"][floor]


def run(runs):
    datagrams = sum(count * length for length, count in enumerate(runs, 1))
    return datagrams / max(sum(runs), 1)


def median(values):
    values = [value for value in values if value is not None]
    return f"{statistics.median(values):.2f}" if values else "?"


def main(paths):
    rounds = {}
    notes = []
    for path in map(pathlib.Path, paths):
        server, viewers, number = path.stem.rsplit("-", 2)
        measured = json.loads(path.read_text())["loads"][-1]
        rounds.setdefault((int(viewers), server), []).append(measured)
        if measured["playing"] < int(viewers):
            notes.append(f"{path.stem}: only {measured['playing']} of {viewers} viewers played")
        if measured["tester_drops"] or measured["tester_busiest_thread"] > 0.9:
            notes.append(f"{path.stem}: the tester was the bottleneck")
        if measured["damaged"]:
            notes.append(f"{path.stem}: {measured['damaged']} damaged packets")
    head = ["viewers", "server", "cipher"] + [name for name, _ in COLUMNS]
    rows = [head]
    for (viewers, server), all_of in sorted(rounds.items()):
        cells = [median([figure(m) for m in all_of]) for _, figure in COLUMNS]
        rows.append([str(viewers), server, all_of[0]["cipher"] or "?"] + cells)
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    for row in rows:
        print("| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths)) + " |")
        if row is head:
            print("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    for note in notes:
        print(note)


main(sys.argv[1:])
