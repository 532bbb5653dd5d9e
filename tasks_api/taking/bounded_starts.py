"""Admit the runs of tasks that a bounded token made, and count the starts of their requests.

The rows of the bounds are locked while starts are counted, so no two workers admit the
same start. A start counts for a day and START_WITHIN more, because the request begins at
most so long after it was counted. A request that is counted and never sent counts, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from accounts.models import TokenBounds
from accounts.services import token_bounds
from scheduler_service.db import clock
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.bounds import START_WITHIN, WINDOW
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.storage import quota_statements as statements
from tasks_api.storage import starts

# Until the next look at a run, if no start says when there is room again.
PAUSE = timedelta(seconds=30)
ENDING_REASON = "Waits: the bounds of its token are about to end."
LAPSED_REASON = "The bounds of its token were not renewed in time."


@dataclass
class Admission:
    """The runs that may be taken now, by the bounds against which each counts."""

    run_ids: list[UUID] = field(default_factory=list)
    bounds: Mapping[int, TokenBounds] = field(default_factory=dict)


def admit(run_ids: Collection[UUID]) -> Admission:
    """Lock runs and their bounds; let those wait that the bounds do not allow now."""
    with prepared() as cursor:
        cursor.execute(statements.FIND_BOUNDS, [array(run_ids)])
        wanted = {bounds_id for (bounds_id,) in cursor.fetchall()}
    locked = token_bounds.lock_bounds(wanted)
    with prepared() as cursor:
        cursor.execute(statements.LOCK_WAITING_RUNS, [array(run_ids)])
        waiting: list[tuple[UUID, int]] = cursor.fetchall()
    return _admit_locked(waiting, locked)


def _admit_locked(
    waiting: Sequence[tuple[UUID, int]], locked: Mapping[int, TokenBounds]
) -> Admission:
    now, used = clock.read(), Counter(starts.count_starts(locked))
    releases = _Releases(len(waiting), now)
    admission = Admission(bounds=locked)
    held: list[tuple[UUID, datetime, str]] = []
    lapsed: list[UUID] = []
    for run_id, bounds_id in waiting:
        row = locked.get(bounds_id)
        if row is None or _lapses(row, locked, by=now):
            lapsed.append(run_id)
            continue
        if _lapses(row, locked, by=now + START_WITHIN):
            # It could begin too late, unless somebody renews the bounds meanwhile.
            held.append((run_id, now + START_WITHIN, ENDING_REASON))
            continue
        limits = {
            each: most
            for each in row.all_ids
            if (most := locked[each].max_runs_per_day) is not None
        }
        if over := [each for each, most in limits.items() if used[each] >= most]:
            until = max(releases.next_of(each) for each in over)
            held.append((run_id, until, _reason_until(until)))
        else:
            used.update(limits.keys())
            admission.run_ids.append(run_id)
    _hold(held)
    _cancel(lapsed)
    return admission


def _hold(held: Sequence[tuple[UUID, datetime, str]]) -> None:
    if held:
        with prepared() as cursor:
            cursor.execute(statements.HOLD_RUNS, columns(held))


def _cancel(run_ids: Sequence[UUID]) -> None:
    if run_ids:
        with prepared() as cursor:
            cursor.execute(statements.CANCEL_RUNS, [array(run_ids), LAPSED_REASON])
        counters.RUNS.labels(RunState.CANCELLED).inc(len(run_ids))


class _Releases:
    """The moments at which starts stop to count, one for each run that waits."""

    def __init__(self, limit: int, now: datetime) -> None:
        self._limit = limit
        self._now = now
        self._left: dict[int, list[datetime]] = {}

    def next_of(self, bounds_id: int) -> datetime:
        if bounds_id not in self._left:
            self._left[bounds_id] = self._read(bounds_id)
        left = self._left[bounds_id]
        return left.pop() if len(left) > 1 else left[0]

    def _read(self, bounds_id: int) -> list[datetime]:
        """The moments, the latest first; one at least."""
        found = starts.find_releases(bounds_id, self._limit)
        return found[::-1] or [self._now + PAUSE]


def count(admission: Admission, runs: Sequence[ClaimedRun]) -> None:
    """Count the starts of runs that were taken, in the transaction that admitted them."""
    limited = [
        (run.tenant_id, bounds_id)
        for run in runs
        if run.bounds_id is not None
        for bounds_id in admission.bounds[run.bounds_id].all_ids
        if admission.bounds[bounds_id].max_runs_per_day is not None
    ]
    if not limited:
        return
    ids = array({bounds_id for _, bounds_id in limited})
    with prepared() as cursor:
        cursor.execute(statements.INSERT_STARTS, columns(limited))
        values: dict[str, Any] = {"bounds": ids, "window": WINDOW}
        cursor.execute(statements.DELETE_STARTS, values)


def _lapses(
    row: TokenBounds, locked: Mapping[int, TokenBounds], *, by: datetime
) -> bool:
    lapse = token_bounds.lapse_of(row, locked)
    return lapse is not None and lapse <= by


def _reason_until(until: datetime) -> str:
    text = f"{until:%Y-%m-%d %H:%M:%S} UTC"
    return f"Waits for the runs a day of its token until {text}."
