"""Break things on purpose, and check what happened: `make chaos`."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.harness import ROOT
from tests.benchmarks.figures import percentile
from tests.benchmarks.harness import describe_machine
from tests.benchmarks.report import render_table
from tests.chaos.acts import checkout
from tests.chaos.cluster import Site
from tests.chaos.evidence import NEVER, Evidence, Violation
from tests.chaos.faults import ALL, LONG, UPGRADE, plan
from tests.chaos.invariants import duplicates, judge, recoveries
from tests.chaos.orchestrator import Outcome, play

KEPT = Path("var/chaos")
# As many as help to understand; the others are in the file.
SHOWN = 20
# Seconds of a round that are left to it.
UPGRADE_TAKES = 40.0


@contextmanager
def site(*, is_upgraded: bool) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        begun = Site(Path(home))
        try:
            before = checkout(Path(home) / "before") if is_upgraded else None
            if is_upgraded and before is None:
                print("No upgrade: this is no repository that has the release before.")
            begun.begin(before or ROOT)
            yield begun
        finally:
            begun.finish()
            _keep_logs(Path(home))


def _keep_logs(home: Path) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    servers = [home / name / "log" for name in ("postgres", "redis", "spare/postgres")]
    for log in [*home.glob("*.log"), *servers]:
        if log.exists():
            name = "-".join(log.relative_to(home).with_suffix(".log").parts)
            shutil.copyfile(log, KEPT / name)


def figures(evidence: Evidence, outcome: Outcome) -> dict[str, Any]:
    """What a round did, in numbers."""
    calls = Counter(call.verb for call in evidence.calls if call.is_done)
    late = sorted(arrival.late for arrival in evidence.arrivals)
    by_workers, by_cuts = duplicates(evidence)
    return {
        "calls that were done": dict(sorted(calls.items())),
        "calls without a clear answer": sum(c.is_unsure for c in evidence.calls),
        "runs": dict(sorted(Counter(run.state for run in evidence.runs).items())),
        "runs that lost a worker": sum(run.lost_count > 0 for run in evidence.runs),
        "requests at the target": len(evidence.arrivals),
        "of them again, after a lost worker": by_workers,
        "of them again, on a cut connection": by_cuts,
        "late, median s": round(percentile(late, 0.5), 3),
        "late, 95th percentile s": round(percentile(late, 0.95), 3),
        "late, longest s": round(late[-1], 3) if late else None,
        "faults": len(evidence.faults),
        "whole again after s": round(outcome.repaired_in, 1),
        "nothing left to do after s": round(outcome.drained_in, 1),
    }


def recovery_table(evidence: Evidence) -> str:
    rows = [("fault", "times", "median s", "longest s")]
    for kind, seconds in sorted(recoveries(evidence).items()):
        rows.append(
            (kind, str(len(seconds)), _s(statistics.median(seconds)), _s(max(seconds)))
        )
    return render_table(rows)


def _s(seconds: float) -> str:
    return "never" if seconds == NEVER else f"{seconds:.2f}"


def report(evidence: Evidence, outcome: Outcome, found: list[Violation]) -> str:
    numbers = figures(evidence, outcome)
    rows = [(name, _plain(value)) for name, value in numbers.items()]
    conditions = ", ".join(
        f"{name} {value}" for name, value in describe_machine().items()
    )
    return "\n\n".join(
        (
            "Until something was delivered on time again:\n\n"
            + recovery_table(evidence),
            render_table(rows),
            f"{len(found)} violations. {conditions}",
        )
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number:,} {name}" for name, number in value.items())
    return f"{value:,}"


def main() -> int:
    options = _options()
    # As Ctrl-C does, so that the parts are stopped and their directory is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    is_upgraded = options.only in UPGRADE.name and (
        bool(options.only) or options.seconds >= LONG
    )
    seconds = options.seconds - (UPGRADE_TAKES if is_upgraded else 0.0)
    planned = plan(options.seed, seconds, only=options.only)
    print(f"seed {options.seed}, {options.seconds:g} s, {len(planned)} faults\n")
    if options.plan:
        for each in planned:
            print(f"{each.at:7.2f} s  {each.said}")
        return 0
    with site(is_upgraded=is_upgraded) as begun:
        outcome = play(begun, planned, seed=options.seed, seconds=seconds, say=_say)
    found = judge(outcome.evidence)
    print(f"\n{report(outcome.evidence, outcome, found)}")
    for violation in found[:SHOWN]:
        print(f"VIOLATION {violation.rule} ({violation.mark}): {violation.detail}")
    _write(options, outcome, found)
    return int(bool(found))


def _say(line: str) -> None:
    print(line, flush=True)


def _write(
    options: argparse.Namespace, outcome: Outcome, found: list[Violation]
) -> None:
    """All that was seen, so that a violation can be looked into."""
    evidence = outcome.evidence
    text = json.dumps(
        {
            "seed": options.seed,
            "seconds": options.seconds,
            "machine": describe_machine(),
            "figures": figures(evidence, outcome),
            "recovery": {
                kind: [None if s == NEVER else round(s, 3) for s in seconds]
                for kind, seconds in recoveries(evidence).items()
            },
            "violations": [violation._asdict() for violation in found],
            "faults": [vars(fault) for fault in evidence.faults],
            "calls": [vars(call) for call in evidence.calls],
            "runs": [run._asdict() for run in evidence.runs],
            "arrivals": [arrival._asdict() for arrival in evidence.arrivals],
            "words": [word._asdict() for word in evidence.words],
            "poison": evidence.poison,
        },
        ensure_ascii=False,
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(f"{text}\n", encoding="utf-8")
    print(f"\nEverything that was seen is in {options.json}, the logs in {KEPT}/.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how long to break"
    )
    parser.add_argument("--seed", type=int, help="what to break when; drawn if absent")
    parser.add_argument("--json", type=Path, default=KEPT / "round.json")
    parser.add_argument("--plan", action="store_true", help="print the plan and end")
    parser.add_argument(
        "--only", default="", help="kinds of faults whose names have this text in them"
    )
    options = parser.parse_args()
    if not any(options.only in kind.name for kind in ALL):
        parser.error(f"no kind of fault is called {options.only!r}")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1_000_000)
    return options


if __name__ == "__main__":
    sys.exit(main())
