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
from tests.benchmarks.figures import Figures, ScenarioUnavailable, medians
from tests.benchmarks.goals import add_ratios
from tests.benchmarks.harness import describe_machine
from tests.benchmarks.report import Result, Results
from tests.benchmarks.scenarios import (
    ALL_SCENARIOS,
    DEFAULT_SCENARIOS,
    MEASURES,
    Scenario,
    parse_scenario,
)

# Compares HTTP clients instead of measuring the service, so only when asked for.
CLIENTS = "clients"
RESULTS_FILE = ROOT / "docs" / "reference" / "benchmarks.json"
RESULTS_PAGE = ROOT / "docs" / "reference" / "benchmarks.md"


def main() -> int:
    options = _parse_options()
    if options.page:
        RESULTS_PAGE.write_text(
            report.render_page(read_results(RESULTS_FILE)), encoding="utf-8"
        )
        return 0
    # As Ctrl-C does, so that the parts are stopped and their directory is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if CLIENTS in options.scenarios:
        http_clients.main()
    results = _measure_all(options)
    last = read_results(RESULTS_FILE)
    shown = _with_ratios(results)
    print(f"\n{report.render_summary(shown, last)}")
    write_results(options.json, shown)
    if options.save:
        _save(_with_ratios(report.merge_results(last, results)))
    broken = report.list_faults(results)
    print("\n".join(["", "Broken promises:", *broken] if broken else []))
    return int(bool(broken))


def _measure_all(options: argparse.Namespace) -> Results:
    results: Results = {"machine": describe_machine(), "scenarios": {}}
    for scenario in options.chosen:
        try:
            figures = _measure(scenario, options.rounds)
        except ScenarioUnavailable as reason:
            print(f"  left out: {reason}", flush=True)
            continue
        results["scenarios"][scenario.name] = _result(scenario, figures, options.rounds)
        # After each scenario, so that an interruption loses none that is finished.
        write_results(options.json, results)
    return results


def _measure(scenario: Scenario, rounds: int) -> Figures:
    print(f"{scenario.name}: {scenario.about}", flush=True)
    found = []
    for figures in scenario.rounds(rounds):
        print(f"  {_first_figures(figures)}", flush=True)
        found.append(figures)
    return medians(found)


def _first_figures(figures: Figures) -> str:
    first = list(figures.items())[:4]
    return ", ".join(f"{name} {report.format_figure(value)}" for name, value in first)


def _result(scenario: Scenario, figures: Figures, rounds: int) -> Result:
    return {
        "about": scenario.about,
        "rounds": rounds,
        "measured_on": f"{datetime.now(UTC):%Y-%m-%d}",
        "figures": figures,
    }


def _with_ratios(results: Results) -> Results:
    found = {name: each["figures"] for name, each in results["scenarios"].items()}
    figures = add_ratios(found)
    return {
        "machine": results["machine"],
        "scenarios": {
            name: {**each, "figures": figures[name]}
            for name, each in results["scenarios"].items()
        },
    }


def read_results(path: Path) -> Results:
    if not path.exists():
        return report.empty_results()
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def write_results(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _save(results: Results) -> None:
    write_results(RESULTS_FILE, results)
    RESULTS_PAGE.write_text(report.render_page(results), encoding="utf-8")


def _parse_options() -> argparse.Namespace:
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
        "--save",
        action="store_true",
        help=f"also update {RESULTS_FILE.name} and {RESULTS_PAGE.name}",
    )
    parser.add_argument(
        "--page", action="store_true", help=f"only write {RESULTS_PAGE.name} again"
    )
    options = parser.parse_args()
    try:
        options.chosen = _choose_scenarios(options.scenarios)
    except ValueError as error:
        parser.error(str(error))
    return options


def _choose_scenarios(names: list[str]) -> list[Scenario]:
    if not names:
        return [parse_scenario(name) for name in DEFAULT_SCENARIOS]
    given = [name for name in names if name not in ("all", CLIENTS)]
    everything = ALL_SCENARIOS if "all" in names else ()
    return [parse_scenario(name) for name in (*everything, *given)]


if __name__ == "__main__":
    sys.exit(main())
