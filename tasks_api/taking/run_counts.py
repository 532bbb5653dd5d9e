"""Count for the admin when schedules last ran and how often, in sets every few seconds.

Nobody reads these columns for each fire. If a process dies, the counts of its last
seconds are missing there; runs and accounts are exact.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import prepared
from tasks_api.taking import statements

# Seconds for which counts are gathered, and how many tasks are written at once.
WRITE_INTERVAL = 5.0
WRITE_BATCH_SIZE = 1000


class RunCounts:
    def __init__(self) -> None:
        self._runs: Counter[UUID] = Counter()
        self._ran_at: dict[UUID, datetime] = {}
        self._write_at = time.monotonic() + WRITE_INTERVAL

    def add(self, task_ids: Iterable[UUID], at: datetime) -> None:
        """Note a run of each task."""
        for task_id in task_ids:
            self._runs[task_id] += 1
            self._ran_at[task_id] = at

    def write_if_due(self) -> None:
        if self._runs and time.monotonic() >= self._write_at:
            self.write()

    def write(self) -> None:
        # In the order of their ids, so that two workers cannot wait for each other.
        counted = sorted(self._runs)
        while counted:
            part, counted = counted[:WRITE_BATCH_SIZE], counted[WRITE_BATCH_SIZE:]
            rows = [
                (each, self._ran_at.pop(each), self._runs.pop(each)) for each in part
            ]
            with prepared() as cursor:
                cursor.execute(statements.COUNT_RUNS, columns(rows))
        self._write_at = time.monotonic() + WRITE_INTERVAL
