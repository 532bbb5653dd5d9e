"""Break things on purpose, and check what happened: `make chaos`."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.harness import ROOT
from tests.chaos.cells.cell_group import CellGroup, first_homes
from tests.chaos.cells.faults import CELL_KINDS, SHARED_KINDS
from tests.chaos.cells.group_report import render_group_json, render_group_report
from tests.chaos.cells.group_round import run_group_round
from tests.chaos.cells.invariants import find_group_violations
from tests.chaos.cells.plan import PlannedItem, plan_group
from tests.chaos.cluster import Cluster
from tests.chaos.evidence import Violation
from tests.chaos.faults import ALL_KINDS, UPGRADE
from tests.chaos.fleets import MIXED_FLEET, USUAL_FLEET
from tests.chaos.invariants import find_violations
from tests.chaos.orchestrator import RoundResult, run_round
from tests.chaos.plan import LONG_ROUND, plan_faults
from tests.chaos.releases import (
    FIRST_RELEASE,
    RELEASE_BEFORE,
    MissingRelease,
    check_out,
)
from tests.chaos.round_report import render_json, render_report

LOG_DIRECTORY = Path("var/chaos")
# The other violations are in the JSON file.
MAX_PRINTED_VIOLATIONS = 20
# An upgrade takes so many seconds of a round.
UPGRADE_SECONDS = 40.0


def main() -> int:
    options = _parse_options()
    if options.cells:
        return _break_cells(options)
    # As Ctrl-C does, so that the parts are stopped and their directory is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    is_upgraded = (
        not options.mixed
        and options.only in UPGRADE.name
        and (bool(options.only) or options.seconds >= LONG_ROUND)
    )
    seconds = options.seconds - (UPGRADE_SECONDS if is_upgraded else 0.0)
    fleet = MIXED_FLEET if options.mixed else USUAL_FLEET
    planned = plan_faults(options.seed, seconds, only=options.only, fleet=fleet)
    print(f"seed {options.seed}, {options.seconds:g} s, {len(planned)} faults\n")
    if options.plan:
        _print_plan(planned)
        return 0
    with _running_cluster(options, is_upgraded=is_upgraded) as cluster:
        result = run_round(
            cluster, planned, seed=options.seed, seconds=seconds, print_line=_print_line
        )
    return _report(options, result)


def _break_cells(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seed, seconds, cells = options.seed, options.seconds, options.cells
    planned = plan_group(seed, seconds, first_homes(cells), only=options.only)
    print(
        f"seed {seed}, {seconds:g} s, {cells} cells, {len(planned)} faults and moves\n"
    )
    if options.plan:
        _print_plan(planned)
        return 0
    with _running_group(cells) as group:
        result = run_group_round(
            group, planned, seed=seed, seconds=seconds, print_line=_print_line
        )
    violations = find_group_violations(result.evidence)
    report = render_group_report(result, violations)
    evidence = render_group_json(seed, seconds, result, violations)
    return _end(options, report, evidence, violations)


def _print_plan(planned: Sequence[PlannedItem]) -> None:
    for each in planned:
        print(f"{each.at:7.2f} s  {each.description}")


def _print_line(line: str) -> None:
    print(line, flush=True)


def _report(options: argparse.Namespace, result: RoundResult) -> int:
    violations = find_violations(result.evidence)
    evidence = render_json(options.seed, options.seconds, result, violations)
    return _end(options, render_report(result, violations), evidence, violations)


def _end(
    options: argparse.Namespace,
    report: str,
    evidence: str,
    violations: Sequence[Violation],
) -> int:
    """Print the report and keep the evidence; returns the exit code."""
    print(f"\n{report}")
    for violation in violations[:MAX_PRINTED_VIOLATIONS]:
        print(f"VIOLATION {violation.rule} ({violation.mark}): {violation.detail}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(f"{evidence}\n", encoding="utf-8")
    print(f"\nThe evidence is in {options.json}, the logs are in {LOG_DIRECTORY}/.")
    return int(bool(violations))


@contextmanager
def _running_cluster(
    options: argparse.Namespace, *, is_upgraded: bool
) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        home = Path(directory)
        cluster = _mixed_cluster(options, home) if options.mixed else Cluster(home)
        try:
            cluster.start_all(_first_release(options, home) if is_upgraded else ROOT)
            yield cluster
        finally:
            cluster.stop_all()
            _keep_logs(home)


def _mixed_cluster(options: argparse.Namespace, home: Path) -> Cluster:
    try:
        release = check_out(options.before or RELEASE_BEFORE, home / "before")
    except MissingRelease as missing:
        sys.exit(f"No round with a mixed fleet: {missing}")
    print(f"Half of the fleet runs {release}.\n")
    return Cluster(home, MIXED_FLEET, release.code)


def _first_release(options: argparse.Namespace, home: Path) -> Path:
    """The code that a round with an upgrade begins with."""
    try:
        return check_out(options.before or FIRST_RELEASE, home / "before").code
    except MissingRelease as missing:
        print(f"No upgrade: {missing}")
    return ROOT


@contextmanager
def _running_group(count: int) -> Iterator[CellGroup]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        group = CellGroup(Path(home), count)
        try:
            group.start()
            yield group
        finally:
            group.stop()
            _keep_logs(Path(home))


def _keep_logs(home: Path) -> None:
    LOG_DIRECTORY.mkdir(parents=True, exist_ok=True)
    # Those of parts, and those of servers.
    for log in [*home.rglob("*.log"), *home.rglob("log")]:
        if log.is_file():
            name = "-".join(log.relative_to(home).with_suffix(".log").parts)
            shutil.copyfile(log, LOG_DIRECTORY / name)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how long to break things"
    )
    parser.add_argument(
        "--seed", type=int, help="decides what is broken when; random if absent"
    )
    parser.add_argument(
        "--mixed",
        action="store_true",
        help="let half of the fleet run the release before, all the time",
    )
    parser.add_argument(
        "--before",
        metavar="COMMIT",
        help=f"the release before; {RELEASE_BEFORE} with --mixed, and {FIRST_RELEASE} "
        "for the upgrade of a long round",
    )
    parser.add_argument("--json", type=Path, default=LOG_DIRECTORY / "round.json")
    parser.add_argument("--plan", action="store_true", help="print the plan and end")
    parser.add_argument(
        "--only",
        default="",
        help="only the kinds of faults with this text in their names",
    )
    parser.add_argument(
        "--cells",
        type=int,
        default=0,
        help="break so many whole cells behind a door, and not one installation",
    )
    options = parser.parse_args()
    kinds = (*CELL_KINDS, *SHARED_KINDS) if options.cells else ALL_KINDS
    if not any(options.only in kind.name for kind in kinds):
        parser.error(f"no kind of fault has {options.only!r} in its name")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1_000_000)
    return options


if __name__ == "__main__":
    sys.exit(main())
