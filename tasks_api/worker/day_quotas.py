"""Let tenants that have used up their runs of the day wait, by counts that workers share.

Each worker adds what it began, and reads what all began, once a second. So a quota may be
exceeded by what the other workers begin within a second. Without quotas nothing is read.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.specs import Surface
from tasks_api.storage import day_counts
from tasks_api.storage.day_counts import DayRuns
from tasks_api.taking.room import Room

SYNC_INTERVAL = 1.0


class DayQuotas:
    def __init__(self) -> None:
        self._unwritten: Counter[int] = Counter()
        self._seen = DayRuns(None, {})
        self._sync_at = 0.0

    def limit(self, room: Room, quotas: Mapping[int, int]) -> Room:
        """The room without places beyond the runs a day of tenants."""
        if not quotas:
            # Those of a tenant that is not known any more.
            self.write()
            return room
        if time.monotonic() >= self._sync_at or quotas.keys() - self._seen.runs.keys():
            self._synchronize(quotas)
        left = {each: most - self._used(each) for each, most in quotas.items()}
        places = {
            each: min(room.places_for(each), runs)
            for each, runs in left.items()
            if runs > 0
        }
        return room._replace(
            places_of={**room.places_of, **places},
            over_quota=sorted(each for each, runs in left.items() if runs <= 0),
            quota_day=self._seen.day,
        )

    def add(self, runs: Sequence[ClaimedRun], quotas: Mapping[int, int]) -> None:
        """Count the runs that begin, and no attempts after the first."""
        if quotas:
            self._unwritten.update(
                run.tenant_id
                for run in runs
                if run.tenant_id in quotas
                and run.number == 1
                and run.surface != Surface.NOTICES
            )

    def write(self) -> None:
        if self._unwritten:
            day_counts.add_runs(self._unwritten)
            self._unwritten.clear()

    def _used(self, tenant_id: int) -> int:
        return self._seen.runs[tenant_id] + self._unwritten[tenant_id]

    def _synchronize(self, quotas: Mapping[int, int]) -> None:
        self.write()
        self._seen = day_counts.read_runs(quotas)
        self._sync_at = time.monotonic() + SYNC_INTERVAL
