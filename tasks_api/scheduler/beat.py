"""The beat: ring workers before something is due, rescue runs, and keep house.

A beat keeps no state that matters. So any number of beats may run: each works on rows
that the others have not locked, and the death of a beat loses nothing. Workers take what
is due by themselves; without a beat they look every second.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from functools import partial
from typing import Any

from celery import signals
from celery.beat import Scheduler, Service
from django.db import Error as DatabaseError
from django.db import connections

from tasks_api.messaging import broker
from tasks_api.monitoring import exporter, gaps, heartbeats
from tasks_api.monitoring.watchdog import BeatWatchdog
from tasks_api.scheduler import isolation, overdue, poll, rescue
from tasks_api.scheduler.bells import Bells
from tasks_api.scheduler.edits import EditFollower
from tasks_api.scheduler.missing_workers import MissingWorkers, OutageGuard
from tasks_api.scheduler.notices import NoticeSender
from tasks_api.scheduler.operator_tasks import OperatorTasks
from tasks_api.scheduler.other_cells import UrgentTasks
from tasks_api.services import catch_ups, held_runs, lapsing, pausing
from tasks_api.storage import schedule_changes, task_counts
from tasks_api.worker import long_work

logger = logging.getLogger(__name__)

# A task that is stored just before it is due fires at most this many seconds late.
TICK_INTERVAL = 0.4
HEARTBEAT_INTERVAL = 4.0
# Tasks that one statement ends.
END_BATCH_SIZE = 1000
# Paused tasks that one transaction resumes.
RESUME_BATCH_SIZE = 500


@signals.beat_init.connect
def _stop_between_ticks(sender: Service, **kwargs: Any) -> None:
    """Let SIGTERM and SIGINT end the beat after its tick, not in the middle of one.

    Celery's own handler closes the scheduler at once, on the database connection that
    the interrupted statement still uses, and would wait for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sender.stop())


class TenantScheduler(Scheduler):
    """Rings for tasks of tenants, and fires those of operators as Celery does."""

    def setup_schedule(self) -> None:
        """Prepare the parts of a tick. No schedule is loaded: the database has it."""
        self._name = f"beat@{socket.gethostname()}:{os.getpid()}"
        self._next_heartbeat = 0.0
        self._work_notes = gaps.WorkNotes(gaps.Kind.BEAT)
        self._poller = poll.make_poller()
        self._bells = Bells()
        self._full_tenants = overdue.FullTenants()
        self._edits = EditFollower()
        self._missing_workers = MissingWorkers()
        self._outage_guard = OutageGuard()
        self._operator_tasks = OperatorTasks(self)
        self._notices = NoticeSender()
        self._urgent_tasks = UrgentTasks()
        self._parts = isolation.TickParts()
        self._reported = ""
        self._watch = BeatWatchdog()
        exporter.serve("beat", self._watch.problem)

    def tick(self, *args: object, **kwargs: object) -> float:
        """Run the parts of a tick; return the seconds to sleep."""
        self._watch.ticked()
        try:
            sleep = self._tick()
            self._reported = ""
            return sleep
        except isolation.DatabaseAway as error:
            if str(error) != self._reported:
                logger.warning("The database does not answer: %s", error)
            self._reported = str(error)
            connections.close_all()
            return 1.0

    def _tick(self) -> float:
        run = self._parts.run
        run("Looking for missing workers", self._missing_workers.check, None)
        seen = run("Polling", self._poller.poll, poll.UNKNOWN_RESULT)
        seen_at = time.monotonic()
        floor = self._poller.floor
        run("Ringing", partial(self._bells.ring_for, seen), None)
        is_full = run("Rescue", partial(self._rescue, seen, seen_at, floor), False)
        is_full |= run("Letting runs wait", partial(self._let_wait, seen, floor), False)
        run("Following edits", partial(self._follow_edits, seen), None)
        run("Sending operators' tasks", self._operator_tasks.fire_due, None)
        is_full |= run("Resuming tasks", partial(_resume_tasks, seen, floor), False)
        if seen.has_late_runs_on_calendars:
            run("Spreading out held runs", held_runs.spread_out_late, 0)
        is_full |= run("Ending tasks", partial(_end_tasks, seen, floor), False)
        is_full |= run("Ending what lapsed", partial(_end_lapsed, seen), False)
        is_full |= run(
            "Settling schedule changes", partial(_settle_changes, seen, floor), False
        )
        is_full |= run("Catching up", partial(_catch_up, seen, floor), False)
        is_full |= run("Sending notices", partial(self._send_notices, seen), False)
        run("Keeping tasks aside", self._urgent_tasks.keep_aside, None)
        run("Recording a heartbeat", self._record_heartbeat, None)
        run("Noting that a beat is at work", self._work_notes.note, None)
        # After a full batch there may be more, so tick again at once.
        if is_full:
            return 0.0
        return max(0.0, TICK_INTERVAL - (time.monotonic() - seen_at))

    def _rescue(
        self, seen: poll.PollResult, seen_at: float, floor: poll.Floor | None
    ) -> bool:
        leases_until = self._outage_guard.leases_until(seen.now, seen_at)
        if not seen.has_stuck_runs:
            return False
        since = floor and floor.wake_at
        rescued = rescue.rescue_runs(leases_until=leases_until, since=since)
        expired = long_work.expire(since=since)
        broker.announce_ends(expired.run_ids)
        if rescued.ready or expired.has_next:
            broker.ring()
        return rescued.is_full

    def _let_wait(self, seen: poll.PollResult, floor: poll.Floor | None) -> bool:
        since = floor and floor.fire_at
        return seen.has_overdue_tasks and overdue.let_wait(
            since=since, full=self._full_tenants
        )

    def _send_notices(self, seen: poll.PollResult) -> bool:
        return seen.has_due_notices and self._notices.send_due()

    def _follow_edits(self, seen: poll.PollResult) -> None:
        if self._edits.follow(seen.edited_at):
            self._operator_tasks.reload()

    def _record_heartbeat(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            heartbeats.record_heartbeat("beat", self._name)
            census = heartbeats.count_alive()
            self._bells.workers = int(census["workers"]["alive"] or 0)
            self._next_heartbeat = time.monotonic() + HEARTBEAT_INTERVAL

    def close(self) -> None:
        try:
            heartbeats.remove(self._name)
        except DatabaseError:
            logger.info("Stopped without saying so: the database does not answer.")
        connections.close_all()
        super().close()


def _resume_tasks(seen: poll.PollResult, floor: poll.Floor | None) -> bool:
    if not seen.has_pauses_that_are_over:
        return False
    since = floor and floor.resume_at
    return pausing.resume_due(limit=RESUME_BATCH_SIZE, since=since) == RESUME_BATCH_SIZE


def _end_tasks(seen: poll.PollResult, floor: poll.Floor | None) -> bool:
    if not seen.has_past_tasks:
        return False
    since = floor and floor.ends_at
    ended = task_counts.end_all_expired_tasks(limit=END_BATCH_SIZE, since=since)
    return ended == END_BATCH_SIZE


def _end_lapsed(seen: poll.PollResult) -> bool:
    return seen.has_lapsed_bounds and lapsing.end_lapsed()


def _settle_changes(seen: poll.PollResult, floor: poll.Floor | None) -> bool:
    return seen.has_open_changes and schedule_changes.settle_open_changes(
        since=floor and floor.change_id
    )


def _catch_up(seen: poll.PollResult, floor: poll.Floor | None) -> bool:
    return seen.has_open_changes and catch_ups.settle_catch_ups(
        since=floor and floor.change_id
    )
