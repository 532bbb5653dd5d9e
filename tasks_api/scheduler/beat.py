"""The beat: turn due tasks into runs, tick by tick, and ring the workers.

A beat keeps no state that matters. So any number of beats may run: each claims rows
that the others have not locked, and the death of a beat loses nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from celery import signals
from celery.beat import Scheduler, Service
from django.db import Error as DatabaseError
from django.db import connection

from tasks_api.messaging import broker
from tasks_api.monitoring import exporter, heartbeats
from tasks_api.monitoring.watchdog import BeatWatchdog
from tasks_api.scheduler import dispatch, isolation, poll, rescue
from tasks_api.scheduler.edits import EditFollower
from tasks_api.scheduler.missing_workers import MissingWorkers, OutageGuard
from tasks_api.scheduler.notices import NoticeSender
from tasks_api.scheduler.operator_tasks import OperatorTasks
from tasks_api.storage import run_rows, schedule_changes, task_counts
from tasks_api.worker import long_work

logger = logging.getLogger(__name__)

# A task that is stored just before it is due fires at most this many seconds late.
MAX_SLEEP = 0.2
HEARTBEAT_INTERVAL = 4.0
# The time until a beat rings again for runs whose message could not be sent.
RING_RETRY_DELAY = timedelta(seconds=2)


@signals.beat_init.connect
def _stop_between_ticks(sender: Service, **kwargs: Any) -> None:
    """Let SIGTERM and SIGINT end the beat after its tick, not in the middle of one.

    Celery's own handler closes the scheduler at once, on the database connection that
    the interrupted statement still uses, and would wait for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sender.stop())


class TenantScheduler(Scheduler):
    """Fires tasks of tenants from their rows, and those of operators as Celery does."""

    def setup_schedule(self) -> None:
        """Prepare the parts of a tick. No schedule is loaded: the database has it."""
        self._name = f"beat@{socket.gethostname()}:{os.getpid()}"
        self._next_heartbeat = 0.0
        self._poller = poll.Poller()
        self._edits = EditFollower()
        self._missing_workers = MissingWorkers()
        self._outage_guard = OutageGuard()
        self._operator_tasks = OperatorTasks(self)
        self._notices = NoticeSender()
        self._parts = isolation.TickParts()
        self._reported = ""
        self._watch = BeatWatchdog()
        exporter.serve("beat", self._watch.problem)

    def tick(self, *args: object, **kwargs: object) -> float:
        """Dispatch due tasks, and run the other parts; return the seconds to sleep."""
        self._watch.ticked()
        try:
            sleep = self._tick()
            self._reported = ""
            return sleep
        except isolation.DatabaseAway as error:
            if str(error) != self._reported:
                logger.warning("The database does not answer: %s", error)
            self._reported = str(error)
            connection.close()
            return 1.0

    def _tick(self) -> float:
        run = self._parts.run
        run("Looking for missing workers", self._missing_workers.check, None)
        find_work = partial(self._poller.find_work, at_most=MAX_SLEEP)
        seen, seen_at = run("Polling", find_work, poll.UNKNOWN_RESULT), time.monotonic()
        since = self._poller.since
        is_full = run("Dispatch", partial(self._dispatch, seen, since), False)
        is_full |= run("Waking runs", partial(self._wake, seen, seen_at, since), False)
        run("Following edits", partial(self._follow_edits, seen), None)
        run("Sending operators' tasks", self._operator_tasks.fire_due, None)
        is_full |= run("Ending tasks", partial(_end_tasks, seen, since), False)
        is_full |= run(
            "Settling schedule changes", partial(_settle_changes, seen, since), False
        )
        is_full |= run("Sending notices", self._notices.send_due, False)
        run("Recording a heartbeat", self._record_heartbeat, None)
        # After a full batch more may be due, so tick again at once.
        if is_full:
            return 0.0
        return max(0.0, seen.next_exact_in - (time.monotonic() - seen_at))

    def _dispatch(self, seen: poll.PollResult, since: poll.Since) -> bool:
        if not seen.has_due_tasks:
            return False
        due = isolation.dispatch_due(since=since.fire_at)
        self._ring(due)
        return due.is_full

    def _wake(self, seen: poll.PollResult, seen_at: float, since: poll.Since) -> bool:
        leases_until = self._outage_guard.leases_until(seen.now, seen_at)
        if not seen.has_waking_runs:
            return False
        woken = rescue.wake_runs(leases_until=leases_until, since=since.wake_at)
        self._ring(woken)
        self._expire(since.wake_at)
        return woken.is_full

    def _follow_edits(self, seen: poll.PollResult) -> None:
        if self._edits.follow(seen.edited_at):
            self._operator_tasks.reload()

    def _expire(self, since: datetime | None) -> None:
        """End the long work whose deadline has passed."""
        expired = long_work.expire(since=since)
        self._ring(dispatch.DispatchResult(expired.to_ring, is_full=False))
        broker.announce_ends(expired.run_ids)

    def _ring(self, dispatched: dispatch.DispatchResult) -> None:
        unsent = broker.ring_workers(dispatched.run_ids)
        if unsent:
            run_rows.schedule_ring(unsent, after=RING_RETRY_DELAY)

    def _record_heartbeat(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            heartbeats.record_heartbeat("beat", self._name)
            self._next_heartbeat = time.monotonic() + HEARTBEAT_INTERVAL

    def close(self) -> None:
        try:
            heartbeats.remove(self._name)
        except DatabaseError:
            logger.info("Stopped without saying so: the database does not answer.")
        connection.close()
        super().close()


def _end_tasks(seen: poll.PollResult, since: poll.Since) -> bool:
    if not seen.has_past_tasks:
        return False
    return task_counts.end_all_expired_tasks(since=since.ends_at) == dispatch.BATCH_SIZE


def _settle_changes(seen: poll.PollResult, since: poll.Since) -> bool:
    return seen.has_open_changes and schedule_changes.settle_open_changes(
        since=since.change_id
    )
