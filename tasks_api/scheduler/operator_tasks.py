"""Send the periodic tasks of operators, as django-celery-beat does, from one beat."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from celery.beat import Scheduler, SchedulingError
from django.db import transaction
from django.db.models import F
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import ModelEntry

from scheduler_service.db import clock
from tasks_api.messaging.producers import acquire_producer
from tasks_api.storage import schedule_rows
from tasks_api.taking.isolation import is_foreign_error

logger = logging.getLogger(__name__)

# Seconds until a beat looks again at a row that another beat has locked; and, at most,
# at any row.
RECHECK_INTERVAL = 1.0
MAX_RECHECK_INTERVAL = 60.0


@dataclass(order=True)
class Recheck:
    """The monotonic time at which to look at a periodic task again."""

    at: float
    pk: int = field(compare=False)


class DatabaseClockEntry(ModelEntry):  # type: ignore[misc]  # it has no types
    """An entry whose due time is computed by the database's clock."""

    def __init__(self, row: PeriodicTask, now: datetime, **kwargs: Any) -> None:
        self._now = now
        super().__init__(row, **kwargs)
        zone = getattr(self.schedule, "tz", UTC)
        self.schedule.nowfun = lambda: now.astimezone(zone)

    def _default_now(self) -> datetime:
        return self._now


class OperatorTasks:
    """Sends the periodic tasks of operators; one beat sends each."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._rechecks: list[Recheck] = []
        # The last logged trouble of a row, and the row's `date_changed` at that time.
        self._logged: dict[int, tuple[str, datetime | None]] = {}

    def reload(self) -> None:
        self._rechecks = [
            Recheck(0.0, pk) for pk in schedule_rows.find_unowned_periodic_tasks()
        ]

    def fire_due(self) -> None:
        now = time.monotonic()
        for recheck in self._rechecks:
            if recheck.at <= now:
                recheck.at = now + self._fire(recheck.pk)

    def _fire(self, pk: int) -> float:
        """Send a task if it is due and unlocked; return seconds until the next look."""
        try:
            entry, before, wait = self._claim(pk)
        except Exception as error:
            if is_foreign_error(error):
                raise
            # An error of one row must neither stop the beat nor fill its log.
            self._log(pk, f"cannot be computed, and is passed over: {error}")
            # A change of the row makes the beat look at once.
            return MAX_RECHECK_INTERVAL
        if entry is None:
            return max(0.0, min(wait, MAX_RECHECK_INTERVAL))
        self._send(entry, before)
        return max(0.0, min(wait, MAX_RECHECK_INTERVAL))

    @transaction.atomic(durable=True)
    def _claim(self, pk: int) -> tuple[ModelEntry | None, datetime | None, float]:
        rows = PeriodicTask.objects.select_for_update(of=("self",), skip_locked=True)
        row = rows.filter(pk=pk, enabled=True).first()
        if row is None:
            return None, None, RECHECK_INTERVAL
        before = row.last_run_at
        # The row is locked, so the update undoes no edit.
        now = clock.now()
        entry = DatabaseClockEntry(row, now, app=self._scheduler.app)
        is_due, wait = entry.is_due()
        if not is_due:
            return None, None, wait
        PeriodicTask.objects.filter(pk=pk).update(
            last_run_at=now, total_run_count=F("total_run_count") + 1
        )
        return entry, before, RECHECK_INTERVAL

    def _send(self, entry: ModelEntry, before: datetime | None) -> None:
        try:
            with acquire_producer(self._scheduler.app) as producer:
                self._scheduler.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            # An unsent task has not run, so it stays due until the broker is back.
            self._log(entry.model.pk, f"is not sent, and stays due: {error}")
            rows = PeriodicTask.objects.filter(pk=entry.model.pk)
            rows.update(last_run_at=before, total_run_count=F("total_run_count") - 1)
        else:
            self._logged.pop(entry.model.pk, None)

    def _log(self, pk: int, trouble: str) -> None:
        """Log what is wrong with a row, once for each change of the row."""
        row = PeriodicTask.objects.filter(pk=pk).values_list("name", "date_changed")
        name, changed_at = row.first() or (str(pk), None)
        if self._logged.get(pk) != (trouble, changed_at):
            logger.warning("The periodic task %r %s", name, trouble)
        self._logged[pk] = trouble, changed_at
