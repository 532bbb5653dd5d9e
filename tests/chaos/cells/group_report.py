"""Reports a round over cells: tables for the terminal, and everything as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks.figures import percentile
from tests.benchmarks.harness import describe_machine
from tests.benchmarks.report import TableRow, render_table
from tests.chaos.cells.evidence import GroupEvidence, PlacedFault
from tests.chaos.cells.group_round import GroupResult
from tests.chaos.cells.lateness import (
    MIN_SAMPLES,
    OWN,
    Sample,
    collect_samples,
    lateness_beside,
    lateness_of_cells,
)
from tests.chaos.evidence import NEVER, Arrival, Evidence, Violation
from tests.chaos.promptness import count_duplicates, recovery_times
from tests.chaos.round_report import render_seconds, render_value

# A cell that delivers nothing for so many seconds after a fault has not recovered.
LONGEST_RECOVERY = 60.0


def render_group_report(result: GroupResult, violations: Sequence[Violation]) -> str:
    evidence = result.evidence
    samples = collect_samples(evidence)
    figures = group_figures(result)
    machine = ", ".join(f"{name} {text}" for name, text in describe_machine().items())
    return "\n\n".join(
        (
            "Until its own cell delivered on time again, and how late others were meanwhile:",
            render_table(_kind_rows(evidence, samples)),
            "How late untouched tasks of each cell were:",
            render_table(_cell_rows(evidence, samples)),
            render_table(
                [(name, render_value(each)) for name, each in figures.items()]
            ),
            f"{len(violations)} violations. {machine}",
        )
    )


def _kind_rows(
    evidence: GroupEvidence, samples: Sequence[Sample]
) -> Iterator[TableRow]:
    yield "fault", "times", "own median s", "own longest s", "others p99 ms", "of"
    own, beside = own_recovery_times(evidence), lateness_beside(samples)
    for kind, count in sorted(Counter(f.fault.kind for f in evidence.faults).items()):
        seconds, late = own.get(kind, []), beside.get(kind, [])
        yield (
            kind,
            str(count),
            render_seconds(statistics.median(seconds)) if seconds else "-",
            render_seconds(max(seconds)) if seconds else "-",
            _milliseconds(percentile(late, 0.99)),
            str(len(late)),
        )


def own_recovery_times(evidence: GroupEvidence) -> Mapping[str, list[float]]:
    """For each kind of fault of a cell, seconds until that cell delivered on time again."""
    found: dict[str, list[float]] = {}
    cells = {rows.cell for rows in evidence.rows}
    for placed in evidence.faults:
        if placed.place in cells:
            seen = Evidence((), (), _arrivals_at(placed, evidence), [placed.fault])
            for kind, seconds in recovery_times(seen).items():
                found.setdefault(kind, []).extend(seconds)
    return found


def _arrivals_at(placed: PlacedFault, evidence: GroupEvidence) -> list[Arrival]:
    """What arrived from the cell of a fault, and from no other, in its aftermath."""
    since, until = placed.fault.began_at, placed.fault.repaired_at + LONGEST_RECOVERY
    return [
        arrival
        for tenant in evidence.tenants
        if tenant.cells(since, until) == {placed.place}
        for arrival in evidence.arrivals_by_number.get(tenant.number, ())
        if since <= arrival.arrived_at <= until
    ]


def _cell_rows(
    evidence: GroupEvidence, samples: Sequence[Sample]
) -> Iterator[TableRow]:
    yield (
        *("cell", "faults", "normal p99 ms", "of", "others broken p99 ms", "of"),
        *("limit ms", "itself broken p99 s", "of"),
    )
    faults = Counter(placed.place for placed in evidence.faults)
    for found in lateness_of_cells(samples):
        own = sorted(
            each.lateness
            for each in samples
            if each.cell == found.cell and each.phase == OWN
        )
        yield (
            found.cell,
            str(faults[found.cell]),
            _milliseconds(found.normal),
            str(found.normal_samples),
            _milliseconds(found.beside),
            str(found.beside_samples),
            _milliseconds(found.limit) if found.is_judged else f"<{MIN_SAMPLES} of one",
            render_seconds(percentile(own, 0.99)),
            str(len(own)),
        )


def group_figures(result: GroupResult) -> dict[str, Any]:
    evidence = result.evidence
    runs = evidence.runs
    by_workers, by_cuts = count_duplicates(
        Evidence(evidence.calls, runs, evidence.arrivals)
    )
    return {
        "tenants": len(evidence.tenants),
        "calls that were done": dict(
            Counter(call.verb for call in evidence.calls if call.is_done)
        ),
        "calls without a clear answer": sum(c.is_uncertain for c in evidence.calls),
        "answers at the door": dict(
            sorted(Counter(str(each.status) for each in evidence.answers).items())
        ),
        "runs": dict(sorted(Counter(run.state for run in runs).items())),
        "runs that lost a worker": sum(run.lost_count > 0 for run in runs),
        "requests at the target": len(evidence.arrivals),
        "of them again, after a lost worker": by_workers,
        "of them again, on a cut connection": by_cuts,
        "reports of targets": dict(
            sorted(Counter(str(note.value) for note in evidence.reports).items())
        ),
        "accounts": len(evidence.accounts),
        "moves": len(evidence.moves),
        "of them killed": sum(move.is_killed for move in evidence.moves),
        "of them taken back": sum(move.is_taken_back for move in evidence.moves),
        "commands that were said again": sum(
            len(move.refusals) for move in evidence.moves
        ),
        "a move, median s": _round(
            [move.ended_at - move.began_at for move in evidence.moves]
        ),
        "faults": len(evidence.faults) - len(evidence.moves),
        "whole again after s": round(result.repair_seconds, 1),
        "nothing left to do after s": round(result.drain_seconds, 1),
    }


def _round(seconds: Sequence[float]) -> float:
    return round(statistics.median(seconds), 1) if seconds else 0.0


def _milliseconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return "never" if seconds == NEVER else f"{seconds * 1000:.0f}"


def render_group_json(
    seed: int, seconds: float, result: GroupResult, violations: Sequence[Violation]
) -> str:
    """Everything that was observed, so that a violation can be looked into."""
    evidence = result.evidence
    return json.dumps(
        {
            "seed": seed,
            "seconds": seconds,
            "machine": describe_machine(),
            "figures": group_figures(result),
            "violations": [violation._asdict() for violation in violations],
            "tenants": [tenant._asdict() for tenant in evidence.tenants],
            "faults": [
                {"place": each.place, **vars(each.fault)} for each in evidence.faults
            ],
            "moves": [move._asdict() for move in evidence.moves],
            "calls": [vars(call) for call in evidence.calls],
            "answers": [answer._asdict() for answer in evidence.answers],
            "rows": [
                {
                    "cell": rows.cell,
                    "tenants": rows.tenants,
                    "tasks": rows.tasks,
                    "runs": [run._asdict() for run in rows.runs],
                }
                for rows in evidence.rows
            ],
            "arrivals": [arrival._asdict() for arrival in evidence.arrivals],
            "notes": [note._asdict() for note in evidence.notes],
            "accounts": [account._asdict() for account in evidence.accounts],
        },
        ensure_ascii=False,
    )
