"""Reports a round: figures and recovery times for the terminal, and everything as JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.figures import percentile
from tests.benchmarks.harness import describe_machine
from tests.benchmarks.report import render_table
from tests.chaos.evidence import NEVER, Evidence, Violation
from tests.chaos.orchestrator import RoundResult
from tests.chaos.promptness import count_duplicates, recovery_times

# The marks of tasks whose runs may have to wait begin so.
WAITING = ("laned", "dated", "caught", "filled", "bounded")


def round_figures(result: RoundResult) -> dict[str, Any]:
    evidence = result.evidence
    calls = Counter(call.verb for call in evidence.calls if call.is_done)
    # What waits for a lane, a calendar or a resume is meant to be late.
    late = sorted(
        arrival.lateness
        for arrival in evidence.arrivals
        if not arrival.mark.startswith(WAITING)
    )
    by_workers, by_cuts = count_duplicates(evidence)
    return {
        "calls that were done": dict(sorted(calls.items())),
        "calls without a clear answer": sum(c.is_uncertain for c in evidence.calls),
        "runs": dict(sorted(Counter(run.state for run in evidence.runs).items())),
        "runs that lost a worker": sum(run.lost_count > 0 for run in evidence.runs),
        "requests at the target": len(evidence.arrivals),
        "of them again, after a lost worker": by_workers,
        "of them again, on a cut connection": by_cuts,
        "late, median s": round(percentile(late, 0.5), 3),
        "late, 95th percentile s": round(percentile(late, 0.95), 3),
        "late, longest s": round(late[-1], 3) if late else None,
        "causes named by why": dict(
            Counter(answer.code for answer in evidence.whys).most_common()
        ),
        "calls about lanes and calendars": dict(
            Counter(
                [call.verb for call in evidence.control.lanes if call.is_done]
                + ["version" for call in evidence.control.calendars if call.is_done]
                + ["backfill" for call in evidence.control.backfills if call.is_done]
            )
        ),
        "accounts": len(evidence.accounts),
        "fire times that calendars left out": sum(
            account.excluded for account in evidence.accounts
        ),
        **_figures_of_releases(evidence),
        "faults": len(evidence.faults),
        "whole again after s": round(result.repair_seconds, 1),
        "nothing left to do after s": round(result.drain_seconds, 1),
    }


def _figures_of_releases(evidence: Evidence) -> dict[str, Any]:
    """What both releases of a mixed fleet did."""
    if not evidence.answers_by_release:
        return {}
    return {
        "calls that the webs of each release answered": evidence.answers_by_release,
        "runs that were seen at its workers": evidence.runs_by_release,
    }


def render_report(result: RoundResult, violations: Sequence[Violation]) -> str:
    figures = round_figures(result)
    rows = [(name, render_value(value)) for name, value in figures.items()]
    machine = ", ".join(f"{name} {text}" for name, text in describe_machine().items())
    return "\n\n".join(
        (
            "Until something was delivered on time again:",
            render_recovery_table(result.evidence),
            render_table(rows),
            f"{len(violations)} violations. {machine}",
        )
    )


def render_value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number:,} {name}" for name, number in value.items())
    return f"{value:,}"


def render_recovery_table(evidence: Evidence) -> str:
    rows = [("fault", "times", "median s", "longest s")]
    for kind, seconds in sorted(recovery_times(evidence).items()):
        median, longest = statistics.median(seconds), max(seconds)
        rows.append(
            (kind, str(len(seconds)), render_seconds(median), render_seconds(longest))
        )
    return render_table(rows)


def render_seconds(seconds: float) -> str:
    return "never" if seconds == NEVER else f"{seconds:.2f}"


def render_json(
    seed: int, seconds: float, result: RoundResult, violations: Sequence[Violation]
) -> str:
    """Everything that was observed, so that a violation can be looked into."""
    evidence = result.evidence
    return json.dumps(
        {
            "seed": seed,
            "seconds": seconds,
            "machine": describe_machine(),
            "figures": round_figures(result),
            "recovery": {
                kind: [None if each == NEVER else round(each, 3) for each in times]
                for kind, times in recovery_times(evidence).items()
            },
            "violations": [violation._asdict() for violation in violations],
            "faults": [vars(fault) for fault in evidence.faults],
            "calls": [vars(call) for call in evidence.calls],
            "runs": [run._asdict() for run in evidence.runs],
            "arrivals": [arrival._asdict() for arrival in evidence.arrivals],
            "notes": [note._asdict() for note in evidence.notes],
            "poison": evidence.poison,
            "control": {
                kind: [vars(call) for call in calls]
                for kind, calls in vars(evidence.control).items()
            },
            "accounts": [account._asdict() for account in evidence.accounts],
        },
        ensure_ascii=False,
    )
