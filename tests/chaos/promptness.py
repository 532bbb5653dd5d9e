"""How late runs were, how often requests were repeated, and how soon all was well again."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping

from tests.chaos.evidence import NEVER, Evidence, Violation

ON_TIME_LIMIT = 1.0
# Seconds until a lease has run out, an absence is noticed, and the run is claimed again.
RECOVERY_SECONDS = 20.0
# A harmless fault may make nothing later than this.
HARMLESS_LATENESS = 6.0
# While only the bells are gone, 99 of 100 fire times are no later than this. Fewer than
# so many fire times say nothing of that.
UNRUNG_LATENESS = 1.5
MIN_UNRUNG = 100
# The marks of tasks that nothing changes begin so.
UNTOUCHED_PREFIX = "steady"


def check_harmless_faults(evidence: Evidence) -> Iterator[Violation]:
    """While nothing is broken, or only what must not matter, every task is prompt."""
    for fault in evidence.faults:
        for run in evidence.runs if fault.is_harmless else ():
            last = fault.repaired_at - HARMLESS_LATENESS
            is_judged = run.mark.startswith(UNTOUCHED_PREFIX) and (
                fault.began_at <= run.scheduled_ms / 1000 <= last
            )
            arrivals = evidence.arrivals_by_run.get(run.run_id, ())
            lateness = min((each.lateness for each in arrivals), default=NEVER)
            if is_judged and lateness > HARMLESS_LATENESS:
                detail = f"{fault.kind}: {run}"
                yield Violation("late though nothing was broken", run.mark, detail)


def unrung_latenesses(evidence: Evidence) -> list[float]:
    """How late untouched tasks were while nothing but the bells was gone."""
    unrung = [fault for fault in evidence.faults if fault.takes_bells]
    others = [
        fault
        for fault in evidence.faults
        if not fault.takes_bells and fault.breaks_deliveries
    ]
    found = []
    for run in evidence.runs:
        at = run.scheduled_ms / 1000
        arrivals = evidence.arrivals_by_run.get(run.run_id, ())
        if (
            run.mark.startswith(UNTOUCHED_PREFIX)
            and any(each.began_at <= at <= each.repaired_at for each in unrung)
            and not any(
                each.began_at <= at + UNRUNG_LATENESS
                and at <= each.repaired_at + RECOVERY_SECONDS
                for each in others
            )
        ):
            found.append(min((each.lateness for each in arrivals), default=NEVER))
    return sorted(found)


def check_unrung(evidence: Evidence) -> Iterator[Violation]:
    latenesses = unrung_latenesses(evidence)
    if len(latenesses) >= MIN_UNRUNG:
        late = latenesses[len(latenesses) * 99 // 100]
        if late > UNRUNG_LATENESS:
            yield Violation("late though only bells were gone", "", f"p99 {late:.2f} s")


def count_duplicates(evidence: Evidence) -> tuple[int, int]:
    """Requests that reached the target beyond one for each intended attempt.

    First those of runs that lost a worker, then those of connections that were cut.
    """
    after_lost_workers = on_cut_connections = 0
    for run in evidence.runs:
        intended = max(1, run.attempt_count - run.lost_count)
        arrivals = evidence.arrivals_by_run.get(run.run_id, ())
        extra = max(0, len(arrivals) - intended)
        by_workers = min(extra, run.lost_count)
        after_lost_workers += by_workers
        on_cut_connections += extra - by_workers
    return after_lost_workers, on_cut_connections


def recovery_times(evidence: Evidence) -> Mapping[str, list[float]]:
    """For each kind of fault, seconds until something was delivered on time again."""
    on_time = sorted(
        (arrival.scheduled_ms / 1000, arrival.arrived_at)
        for arrival in evidence.arrivals
        if arrival.lateness <= ON_TIME_LIMIT
    )
    found: dict[str, list[float]] = {}
    for fault in evidence.faults:
        place = bisect.bisect_left(on_time, (fault.recovery_starts_at, 0.0))
        following = on_time[place:][:50]
        recovered_at = min((at for _, at in following), default=NEVER)
        found.setdefault(fault.kind, []).append(recovered_at - fault.recovery_starts_at)
    return found
