"""Measure the service as real processes on this machine: `make bench`."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks import http_clients
from tests.benchmarks.measure import table
from tests.benchmarks.scenarios import FAULTS, SCENARIOS, Figures
from tests.benchmarks.stand import machine

# Compares HTTP clients instead of measuring the service, so only when asked for.
CLIENTS = "clients"

# What the first version set out to reach on two cores, everything on them.
GOALS = {
    ("burst", "delivered in s"): "< 5",
    ("steady", "late p99 ms"): "< 300",
    ("idle", "beat % of a core"): "< 2",
    ("queue", "1M : 1k, next p50 ms"): "< 1.5",
}


def measure(name: str, rounds: int | None) -> Figures:
    scenario = SCENARIOS[name]
    rounds = rounds or scenario.rounds
    found = []
    for number in range(1, rounds + 1):
        doc = scenario.measure.__doc__
        print(f"{name}, round {number} of {rounds}: {doc}", flush=True)
        found.append(scenario.measure())
    return {key: _together(key, [each[key] for each in found]) for key in found[0]}


def _together(figure: str, values: list[float]) -> float:
    # A fault in one round is a fault, whatever the other rounds say.
    return sum(values) if figure in FAULTS else statistics.median(values)


def report(results: Mapping[str, Figures], where: Mapping[str, str]) -> str:
    rows = [("scenario", "figure", "median", "goal")]
    for name, figures in results.items():
        for figure, value in figures.items():
            goal = "0" if figure in FAULTS else GOALS.get((name, figure), "")
            text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
            rows.append((name, figure, text, goal))
    conditions = ", ".join(f"{name} {value}" for name, value in where.items())
    return f"{table(rows)}\n\n{conditions}"


def main() -> int:
    options = _options()
    # As Ctrl-C does, so that the parts are stopped and their directory is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if CLIENTS in options.scenarios:
        http_clients.main()
    names = [n for n in options.scenarios or SCENARIOS if n != CLIENTS]
    if not names:
        return 0
    results = {name: measure(name, options.rounds) for name in names}
    where = machine()
    print(f"\n{report(results, where)}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": where, **results}, indent=2, ensure_ascii=False)
    options.json.write_text(f"{text}\n", encoding="utf-8")
    return int(
        any(figures.get(fault) for figures in results.values() for fault in FAULTS)
    )


def _options() -> argparse.Namespace:
    known = [*SCENARIOS, CLIENTS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", metavar="scenario", help=", ".join(known)
    )
    parser.add_argument("--rounds", type=int, help="how often each; the median counts")
    parser.add_argument("--json", type=Path, default=Path("var/bench.json"))
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(known):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
