"""Measure the service as real processes on this machine: `make bench`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.acceptance.harness import ROOT
from tests.benchmarks import http_clients, report
from tests.benchmarks.figures import Figures, Impossible, medians
from tests.benchmarks.goals import compared
from tests.benchmarks.harness import machine
from tests.benchmarks.report import Result, Results
from tests.benchmarks.scenarios import ALL, MEASURES, USUAL, Scenario, named

# Compares HTTP clients instead of measuring the service, so only when asked for.
CLIENTS = "clients"
LAST = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"


def measure(scenario: Scenario, rounds: int) -> Figures:
    print(f"{scenario.name}: {scenario.about}", flush=True)
    found = []
    for figures in scenario.rounds(rounds):
        print(f"  {_line(figures)}", flush=True)
        found.append(figures)
    return medians(found)


def _line(figures: Figures) -> str:
    """The first few figures, for whoever waits."""
    some = list(figures.items())[:4]
    return ", ".join(f"{name} {report.written(value)}" for name, value in some)


def main() -> int:
    options = _options()
    if options.page:
        PAGE.write_text(report.page(read(LAST)), encoding="utf-8")
        return 0
    # As Ctrl-C does, so that the parts are stopped and their directory is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if CLIENTS in options.scenarios:
        http_clients.main()
    results: Results = {"machine": machine(), "scenarios": {}}
    for scenario in options.chosen:
        try:
            figures = measure(scenario, options.rounds)
        except Impossible as reason:
            print(f"  left out: {reason}", flush=True)
            continue
        results["scenarios"][scenario.name] = _result(scenario, figures, options.rounds)
        # After each, so that whoever interrupts keeps what there is.
        write(options.json, results)
    last = read(LAST)
    shown = _with_ratios(results)
    print(f"\n{report.summary(shown, last)}")
    write(options.json, shown)
    if options.save:
        _save(_with_ratios(report.merged(last, results)))
    broken = report.faults(results)
    print("\n".join(["", "Broken promises:", *broken] if broken else []))
    return int(bool(broken))


def _result(scenario: Scenario, figures: Figures, rounds: int) -> Result:
    return {
        "about": scenario.about,
        "rounds": rounds,
        "measured_on": f"{datetime.now(UTC):%Y-%m-%d}",
        "figures": figures,
    }


def _with_ratios(results: Results) -> Results:
    found = {name: each["figures"] for name, each in results["scenarios"].items()}
    figures = compared(found)
    return {
        "machine": results["machine"],
        "scenarios": {
            name: {**each, "figures": figures[name]}
            for name, each in results["scenarios"].items()
        },
    }


def read(path: Path) -> Results:
    if not path.exists():
        return report.nothing()
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _save(results: Results) -> None:
    write(LAST, results)
    PAGE.write_text(report.page(results), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="scenario",
        help=f"{', '.join(MEASURES)}, with sizes such as burst-100k or steady-200-1m; "
        f"all; {CLIENTS}",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each; the median counts"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench.json")
    parser.add_argument(
        "--save", action="store_true", help=f"also update {LAST.name} and {PAGE.name}"
    )
    parser.add_argument(
        "--page", action="store_true", help=f"only write {PAGE.name} again"
    )
    options = parser.parse_args()
    try:
        options.chosen = _chosen(options.scenarios)
    except ValueError as error:
        parser.error(str(error))
    return options


def _chosen(names: list[str]) -> list[Scenario]:
    if not names:
        return [named(name) for name in USUAL]
    wanted = [name for name in names if name not in ("all", CLIENTS)]
    return [named(name) for name in (*(ALL if "all" in names else ()), *wanted)]


if __name__ == "__main__":
    sys.exit(main())
