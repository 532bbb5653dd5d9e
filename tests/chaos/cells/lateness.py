"""How late tasks were that nobody touched: normally, and while something else was broken.

A fire time is *normal* if nothing is broken anywhere. It is *beside a fault* if something is
broken that does not concern its tenant: another cell, the door, the directory, another
tenant's move. Every other fire time is its own tenant's affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.benchmarks.figures import percentile
from tests.chaos.cells.evidence import (
    GroupEvidence,
    PlacedFault,
    TenantRecord,
    tenant_number_in,
)
from tests.chaos.evidence import NEVER, RunRecord, Violation, group_by
from tests.chaos.promptness import UNTOUCHED_PREFIX

# The first fire times of a task do not count: its clients create many of them at once.
WARM_UP_SECONDS = 6.0
# A process that starts again takes CPU from its neighbours for so many seconds.
START_SECONDS = 3.0
# Seconds after a fault from which on everything is normal again.
SETTLE_SECONDS = 10.0
# A request that is under way when a fault begins may be late, too, by so many seconds.
REQUEST_SECONDS = 1.0
# Other cells may be late by so many times of what is normal; below the noise of this
# machine, in seconds, nothing is said.
MAX_RATIO, NOISE = 2.0, 0.05
# Fewer fire times say nothing of their 99th percentile.
MIN_SAMPLES = 100
# A task is no later than this, in seconds, unless something of its own was broken.
LATE = 2.0

NORMAL, BESIDE, OWN = "normal", "beside a fault", "own fault"
SENT_STATES = frozenset({"succeeded", "failed", "missed"})


class Sample(NamedTuple):
    """A fire time of an untouched task."""

    cell: str
    phase: str
    lateness: float
    run: RunRecord
    # What was broken beside it.
    kinds: frozenset[str] = frozenset()


class CellLateness(NamedTuple):
    """99th percentiles in seconds, and of how many fire times they are.

    The cells are alike, so what is normal is that of all of them: one cell alone has too few
    fire times while nothing is broken.
    """

    cell: str
    normal: float
    normal_samples: int
    beside: float
    beside_samples: int

    @property
    def limit(self) -> float:
        return max(MAX_RATIO * self.normal, NOISE)

    @property
    def is_judged(self) -> bool:
        return min(self.normal_samples, self.beside_samples) >= MIN_SAMPLES


def collect_samples(evidence: GroupEvidence) -> list[Sample]:
    by_number = {tenant.number: tenant for tenant in evidence.tenants}
    warm_at = {
        call.mark: call.answered_at + WARM_UP_SECONDS
        for call in evidence.calls
        if call.verb == "create" and call.mark.startswith(UNTOUCHED_PREFIX)
    }
    found: list[Sample] = []
    for run in evidence.runs:
        tenant = by_number.get(tenant_number_in(run.mark))
        is_warm = run.scheduled_ms / 1000 > warm_at.get(run.mark, NEVER)
        if tenant and is_warm and run.state in SENT_STATES:
            found += _sample(run, tenant, evidence)
    return found


def _sample(
    run: RunRecord, tenant: TenantRecord, evidence: GroupEvidence
) -> Iterator[Sample]:
    at = run.scheduled_ms / 1000
    arrivals = evidence.arrivals_by_run.get(run.run_id, ())
    lateness = min((each.lateness for each in arrivals), default=NEVER)
    near = [each for each in evidence.faults if is_near(each, at, SETTLE_SECONDS)]
    [cell, *others] = sorted(tenant.cells(at, at))
    if others or any(each.concerns(tenant) for each in near):
        yield Sample(cell, OWN, lateness, run)
    elif beside := [each for each in near if is_near(each, at, START_SECONDS)]:
        kinds = frozenset(each.fault.kind for each in beside)
        yield Sample(cell, BESIDE, lateness, run, kinds)
    elif not near:
        yield Sample(cell, NORMAL, lateness, run)


def is_near(placed: PlacedFault, at: float, seconds: float) -> bool:
    """Whether a fault was there at a moment, or within so many seconds before it."""
    began_at = placed.fault.began_at - REQUEST_SECONDS
    return began_at <= at <= placed.fault.repaired_at + seconds


def lateness_of_cells(samples: Sequence[Sample]) -> list[CellLateness]:
    found = []
    normal = _ordered(samples, NORMAL)
    for cell, of_cell in sorted(group_by(samples, lambda each: each.cell).items()):
        beside = _ordered(of_cell, BESIDE)
        found.append(
            CellLateness(
                cell,
                percentile(normal, 0.99),
                len(normal),
                percentile(beside, 0.99),
                len(beside),
            )
        )
    return found


def lateness_beside(samples: Sequence[Sample]) -> Mapping[str, list[float]]:
    """For each kind of fault, how late the tasks were that it did not concern."""
    kinds = {kind for sample in samples for kind in sample.kinds}
    return {
        kind: sorted(each.lateness for each in samples if kind in each.kinds)
        for kind in sorted(kinds)
    }


def _ordered(samples: Sequence[Sample], phase: str) -> list[float]:
    return sorted(each.lateness for each in samples if each.phase == phase)


def check_isolation(evidence: GroupEvidence) -> Iterator[Violation]:
    """Whether a fault stays in its cell: others are neither slower nor late."""
    samples = collect_samples(evidence)
    for found in lateness_of_cells(samples):
        if found.is_judged and found.beside > found.limit:
            rule = "a cell was slow because something else was broken"
            yield Violation(rule, found.cell, str(found))
    for sample in samples:
        if sample.phase != OWN and sample.lateness > LATE:
            rule = "a task was late though nothing of its own was broken"
            yield Violation(rule, sample.run.mark, str(sample))
