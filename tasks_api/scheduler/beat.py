"""The beat: ask the database what is due, ring the workers, remember nothing.

Because it keeps no state that matters, any number of copies may run: each claims rows
that the others have not locked, and losing one copy loses nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from celery import signals
from celery.beat import Scheduler, SchedulingError, Service
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import F
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import ModelEntry

from scheduler_service.db import clock
from tasks_api.messaging import broker
from tasks_api.monitoring import exporter, heartbeats
from tasks_api.monitoring.watchdog import BeatWatch
from tasks_api.scheduler import (
    dispatch,
    isolation,
    poll,
    rescue,
)
from tasks_api.storage import (
    run_rows,
    schedule_changes,
    schedule_edits,
    schedule_rows,
    task_counts,
)
from tasks_api.worker import leases, long_work

logger = logging.getLogger(__name__)

# A task that is stored less than the look-ahead before it is due waits this at most.
LONGEST_SLEEP = 0.2
HEARTBEAT = 4.0
# How often workers are looked for, and how long one is out of sight before it is gone.
# Longer than a worker needs to come back that has lost its session.
LOOK_FOR_WORKERS = 0.5
GONE = 2.0
# Right after a restart of PostgreSQL nobody is there yet.
SETTLED = 5.0
# How soon runs are rung for again whose message the broker did not take.
BROKER_PAUSE = timedelta(seconds=2)
# A broken entry, or one that another beat has in hand, is looked at again after this.
LOOK_AGAIN = 1.0
LONGEST_LOOK = 60.0


@signals.beat_init.connect
def _stop_between_ticks(sender: Service, **kwargs: Any) -> None:
    """Let SIGTERM and SIGINT end the beat after its tick, not in the middle of one.

    Celery's own handler closes the scheduler at once, on a database connection that
    the interrupted statement still holds: it would wait for itself for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sender.stop())


class TenantScheduler(Scheduler):
    """Fires tenants' tasks from their rows, and everybody else's as Celery does."""

    def setup_schedule(self) -> None:
        """Nothing to load: the database is the schedule."""
        self._name = f"beat@{socket.gethostname()}:{os.getpid()}"
        self._next_heartbeat = 0.0
        self._looks = poll.Looks()
        self._edits = _Edits()
        self._missing = _MissingWorkers()
        self._outages = _Outages()
        self._nobodys = _NobodysTasks(self)
        self._parts = isolation.Parts()
        self._said = ""
        self._watch = BeatWatch()
        exporter.serve("beat", self._watch.complaint)

    def tick(self, *args: object, **kwargs: object) -> float:
        """Fire what is due; returns how many seconds to sleep."""
        self._watch.ticked()
        try:
            sleep = self._tick()
            self._said = ""
            return sleep
        except isolation.DatabaseAway as error:
            if str(error) != self._said:
                logger.warning("The database does not answer: %s", error)
            self._said = str(error)
            connection.close()
            return 1.0

    def _tick(self) -> float:
        run = self._parts.run
        run("Looking for workers", self._missing.follow, None)
        look = partial(self._looks.look, at_most=LONGEST_SLEEP)
        seen, seen_at = run("The look around", look, poll.BLIND), time.monotonic()
        since = self._looks.since
        is_full = run("Dispatch", partial(self._dispatch, seen, since), False)
        is_full |= run("Waking", partial(self._wake, seen, seen_at, since), False)
        run("Following edits", partial(self._follow_edits, seen), None)
        run("Tasks of no tenant", self._nobodys.fire_due, None)
        is_full |= run("Ending what is over", partial(_end, seen, since), False)
        is_full |= run("Settling changes", partial(_settle, seen, since), False)
        run("Saying that it is alive", self._say_alive, None)
        # A full batch means that more may be waiting, so come straight back.
        if is_full:
            return 0.0
        return max(0.0, seen.next_exact_in - (time.monotonic() - seen_at))

    def _dispatch(self, seen: poll.Outlook, since: poll.Since) -> bool:
        if not seen.has_due_tasks:
            return False
        due = isolation.dispatch_due(since=since.fire_at)
        self._ring(due)
        return due.is_full

    def _wake(self, seen: poll.Outlook, seen_at: float, since: poll.Since) -> bool:
        leases_until = self._outages.leases_until(seen.now, seen_at)
        if not seen.has_waking_runs:
            return False
        woken = rescue.wake_due(leases_until=leases_until, since=since.wake_at)
        self._ring(woken)
        self._expire(since.wake_at)
        return woken.is_full

    def _follow_edits(self, seen: poll.Outlook) -> None:
        if self._edits.follow(seen.edited_at):
            self._nobodys.reload()

    def _expire(self, since: datetime | None) -> None:
        """End the long work whose deadline has passed."""
        expired = long_work.expire(since=since)
        self._ring(dispatch.Dispatched(expired.to_ring, is_full=False))
        broker.tell_ends(expired.run_ids)

    def _ring(self, dispatched: dispatch.Dispatched) -> None:
        unsent = broker.ring(dispatched.run_ids)
        if unsent:
            run_rows.schedule_ring(unsent, after=BROKER_PAUSE)

    def _say_alive(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            heartbeats.beat("beat", self._name)
            self._next_heartbeat = time.monotonic() + HEARTBEAT

    def close(self) -> None:
        try:
            heartbeats.forget(self._name)
        except DatabaseError:
            logger.info("Stopped without saying so: the database does not answer.")
        connection.close()
        super().close()


def _end(seen: poll.Outlook, since: poll.Since) -> bool:
    if not seen.has_past_tasks:
        return False
    return task_counts.end_all_expired_tasks(since=since.ends_at) == dispatch.BATCH


def _settle(seen: poll.Outlook, since: poll.Since) -> bool:
    return seen.has_open_changes and schedule_changes.settle_open_changes(
        since=since.change_id
    )


class _Edits:
    """Notices when somebody edits schedules by the usual means, and follows."""

    def __init__(self) -> None:
        self._followed: object = self  # equal to no date: the first look follows all

    def follow(self, edited_at: datetime | None) -> bool:
        """Make tasks follow edits up to a moment; True when there may have been any."""
        if edited_at == self._followed:
            return False
        before: set[UUID] = set()
        while drifted := schedule_edits.edited_task_ids(limit=dispatch.BATCH):
            if before.issuperset(drifted) or not isolation.adopt_edits(drifted):
                # Another beat has them in hand, or nobody can follow them.
                return True
            before.update(drifted)
        self._followed = edited_at
        return True


class _Outages:
    """Keeps leases from being judged that nobody could renew, because of an outage.

    Every beat sees an outage of the database for itself: a tick took long. Then the
    leases that are over are those that were over before, until workers are back.
    """

    def __init__(self) -> None:
        # A beat that starts may have been away, and knows of no lease that is over.
        self._until = datetime.min.replace(tzinfo=UTC)
        self._answered_at: float | None = None
        self._settled_at = 0.0

    def leases_until(self, now: datetime, at: float) -> datetime:
        """Until when, by the database's clock, leases were as good as they say.

        The clocks, the database's and ours, were read before leases are judged: a server
        that is frozen in between judges by them.
        """
        before, self._answered_at = self._answered_at, at
        if before is None:
            self._settled_at = at + SETTLED
        elif at - before > max(settings.SCHEDULER_LEASE / 2, GONE):
            self._settled_at = at + SETTLED
            logger.warning(
                "A tick took %.1f seconds, as when the database is away; leases are "
                "judged again in %.0f seconds.",
                at - before,
                SETTLED,
            )
        if at >= self._settled_at:
            self._until = now
        return self._until


class _MissingWorkers:
    """Notices when a worker's process is gone, so that its runs need not wait."""

    def __init__(self) -> None:
        self._missing_since: dict[int, float] = {}
        self._looked_at = 0.0
        self._session: object = None
        self._connected_at = 0.0

    def follow(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_FOR_WORKERS:
            return
        is_new = self._session is not connection.connection
        # Whoever has not looked for a while has missed those that came back.
        if is_new or now - self._looked_at > GONE:
            self._missing_since.clear()
        if is_new:
            self._session, self._connected_at = connection.connection, now
        self._looked_at = now
        if now - self._connected_at >= SETTLED:
            self._look(now)

    def _look(self, now: float) -> None:
        since = self._missing_since
        self._missing_since = {
            presence: since.get(presence, now) for presence in heartbeats.absent()
        }
        gone = [key for key, at in self._missing_since.items() if now - at >= GONE]
        if not gone:
            return
        if runs := leases.release(gone):
            logger.warning("A worker is gone, and %d runs were under way there.", runs)
        heartbeats.forget_absent(gone)


@dataclass(order=True)
class _Look:
    """When to look at a periodic task again, by the monotonic clock."""

    at: float
    pk: int = field(compare=False)


class _Entry(ModelEntry):  # type: ignore[misc]  # it has no types
    """A periodic task at a moment of the database's clock, whatever this machine's says."""

    def __init__(self, row: PeriodicTask, now: datetime, **kwargs: Any) -> None:
        self._now = now
        super().__init__(row, **kwargs)
        zone = getattr(self.schedule, "tz", UTC)
        self.schedule.nowfun = lambda: now.astimezone(zone)

    def _default_now(self) -> datetime:
        return self._now


class _NobodysTasks:
    """The periodic tasks of no tenant: sent as django-celery-beat promises, by one beat."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._looks: list[_Look] = []
        # What was said of which row, as it was then.
        self._said: dict[int, tuple[str, datetime | None]] = {}

    def reload(self) -> None:
        self._looks = [_Look(0.0, pk) for pk in schedule_rows.unowned_periodic_tasks()]

    def fire_due(self) -> None:
        now = time.monotonic()
        for look in self._looks:
            if look.at <= now:
                look.at = now + self._fire(look.pk)

    def _fire(self, pk: int) -> float:
        """Send one if it is due and no other beat has it; returns when to look again."""
        try:
            entry, before, wait = self._claim(pk)
        except Exception as error:
            if isolation.is_of_the_server(error):
                raise
            # Whatever is wrong with one row must not stop the beat, nor fill its log.
            self._say(pk, f"cannot be computed, and is passed over: {error}")
            # Whoever changes it has us look at once.
            return LONGEST_LOOK
        if entry is None:
            return max(0.0, min(wait, LONGEST_LOOK))
        self._send(entry, before)
        return max(0.0, min(wait, LONGEST_LOOK))

    @transaction.atomic(durable=True)
    def _claim(self, pk: int) -> tuple[ModelEntry | None, datetime | None, float]:
        rows = PeriodicTask.objects.select_for_update(of=("self",), skip_locked=True)
        row = rows.filter(pk=pk, enabled=True).first()
        if row is None:
            return None, None, LOOK_AGAIN
        before = row.last_run_at
        # Made from a row that is locked, its own saves can undo nobody's edit.
        now = clock.now()
        entry = _Entry(row, now, app=self._scheduler.app)
        is_due, wait = entry.is_due()
        if not is_due:
            return None, None, wait
        PeriodicTask.objects.filter(pk=pk).update(
            last_run_at=now, total_run_count=F("total_run_count") + 1
        )
        return entry, before, LOOK_AGAIN

    def _send(self, entry: ModelEntry, before: datetime | None) -> None:
        try:
            self._scheduler.apply_async(entry, advance=False)
        except SchedulingError as error:
            # Not sent means not run: it stays due until the broker is back.
            self._say(entry.model.pk, f"is not sent, and stays due: {error}")
            rows = PeriodicTask.objects.filter(pk=entry.model.pk)
            rows.update(last_run_at=before, total_run_count=F("total_run_count") - 1)
        else:
            self._said.pop(entry.model.pk, None)

    def _say(self, pk: int, trouble: str) -> None:
        """Tell of a row's trouble, once for each change of it."""
        row = PeriodicTask.objects.filter(pk=pk).values_list("name", "date_changed")
        name, changed_at = row.first() or (str(pk), None)
        if self._said.get(pk) != (trouble, changed_at):
            logger.warning("The periodic task %r %s", name, trouble)
        self._said[pk] = trouble, changed_at
