"""The thread that records verdicts, in batches, and renews the leases of runs still held."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connections

from accounts.services import load_delivery_limits
from tasks_api.delivery import faults
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.metrics import counters
from tasks_api.monitoring import gaps
from tasks_api.monitoring.heartbeats import Presence
from tasks_api.taking import leases
from tasks_api.worker import lane_answers, threads, verdicts
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.record import AttemptResult
from tasks_api.worker.verdicts import Listener
from tasks_api.worker.workload import Workload

logger = logging.getLogger(__name__)

# Attempts in one statement.
RECORD_BATCH_SIZE = 500
# Seconds that a verdict waits at most for others.
RECORD_DELAY = 0.05
# Seconds between two looks at the database while nothing ends.
IDLE_WAIT = 0.5
# Seconds that a run is held before its row says that its request has not begun.
UNSENT_AFTER = 0.5


class _EndedAttempt(NamedTuple):
    run: ClaimedRun
    result: HttpResult
    ended_at: datetime


class Recorder:
    def __init__(
        self,
        workload: Workload,
        contact: DatabaseContact,
        presence: Presence,
        *,
        is_transport_alive: Callable[[], bool],
        cancel: Callable[[Mapping[UUID, str]], None],
        on_recorded: Listener,
        on_beat: Callable[[int], None],
    ) -> None:
        self._workload = workload
        self._contact = contact
        self._presence = presence
        self._is_transport_alive = is_transport_alive
        self._cancel = cancel
        self._on_recorded = on_recorded
        self._on_beat = on_beat
        self._work_notes = gaps.WorkNotes(gaps.Kind.WORKER)
        self._ended: SimpleQueue[_EndedAttempt] = SimpleQueue()
        # By the monotonic clock, like `active_at`: when the recorder was last at work.
        self._renew_at = self._mark_at = 0.0
        self.active_at = time.monotonic()
        self.thread = threads.make_thread(self._run, "recorder")

    def add(self, run: ClaimedRun, result: HttpResult) -> None:
        """Have an attempt judged and recorded. Any thread may call this."""
        self._ended.put(_EndedAttempt(run, result, self._contact.datetime()))

    def _run(self) -> None:
        unwritten: list[_EndedAttempt] = []
        while self._is_busy() or unwritten:
            self.active_at = time.monotonic()
            try:
                unwritten.extend(self._collect())
                self._presence.keep()
                self._contact.note_answer()
                self._go_on_without(self._work_notes.note)
                self._mark_unsent()
                if time.monotonic() >= self._renew_at:
                    self._keep_up()
                    self._renew_at = time.monotonic() + settings.SCHEDULER_LEASE / 4
                if unwritten:
                    self._record([verdicts.judge_attempt(*each) for each in unwritten])
                    unwritten = []
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                threads.recover("record", error)
        connections.close_all()

    def _is_busy(self) -> bool:
        work = self._workload
        return not work.is_stopping or work.held_count > 0 or not self._ended.empty()

    def _collect(self) -> list[_EndedAttempt]:
        """The attempts that have ended, given a moment to become several."""
        try:
            first = self._ended.get(timeout=IDLE_WAIT)
        except Empty:
            return []
        ended = [first]
        if self._ended.qsize() < RECORD_BATCH_SIZE:
            # Not by waiting for each: waking up for it costs as much as judging it.
            time.sleep(RECORD_DELAY)
        with suppress(Empty):
            while len(ended) < RECORD_BATCH_SIZE:
                ended.append(self._ended.get_nowait())
        self._workload.make_room()
        return ended

    def _record(self, results: Sequence[AttemptResult]) -> None:
        ours = verdicts.write_results(results)
        self._workload.remove_recorded(item.run for item in results)
        late = len(results) - len(ours)
        if late:
            counters.count_late(late)
            logger.warning("%d answers came after their lease was over.", late)
        lane_answers.note(results)
        starts_others = verdicts.follow_up(results, now=self._contact.datetime())
        if starts_others or self._workload.frees_lanes(item.run for item in results):
            self._workload.ring()
        recorded = [item for item in results if item.run.run_id in ours]
        verdicts.notify_listener(self._on_recorded, recorded)

    def _keep_up(self) -> None:
        """Do what is due every quarter of a lease, and announce this worker."""
        if not (self._is_transport_alive() or self._workload.is_stopping):
            # Other processes get its runs when their leases end, which would not happen
            # while this process renews them.
            logger.critical("The transport has failed, so this worker ends.")
            os._exit(os.EX_SOFTWARE)
        self._renew_leases()
        self._contact.read_clock()
        for step in (self._refresh_limits, self._write_heartbeat):
            self._go_on_without(step)
        self._contact.announced.set()

    def _go_on_without(self, step: Callable[[], None]) -> None:
        """Do what the work itself does not need; only an outage raises."""
        try:
            step()
        except Exception as error:
            if faults.is_outage(error):
                raise
            logger.error("A worker goes on without: %s", faults.summarize(error))

    def _renew_leases(self) -> None:
        asked_at = time.monotonic()
        old = self._workload.claimed_before(asked_at - settings.SCHEDULER_LEASE / 4)
        if old:
            kept = leases.renew(held.lease for held in old)
            self._workload.prolong(kept, asked_at + settings.SCHEDULER_LEASE)
            if cancelled := {run_id: user for run_id, user in kept.items() if user}:
                self._workload.cancel(cancelled)
                self._cancel(cancelled)

    def _refresh_limits(self) -> None:
        asked = self._workload.list_tenants()
        self._workload.refresh(asked, load_delivery_limits(asked))

    def _write_heartbeat(self) -> None:
        self._on_beat(self._presence.key)

    def _mark_unsent(self) -> None:
        """Mark the runs that wait for their hosts: if this worker dies, they are not lost.

        Few runs wait for so long. Marking the others too would cost a statement for each
        batch, so they count as lost.
        """
        now = time.monotonic()
        if now < self._mark_at:
            return
        self._mark_at = now + UNSENT_AFTER / 2
        unsent, begun = self._workload.find_marks(now - UNSENT_AFTER)
        for runs, is_unsent in ((begun, False), (unsent, True)):
            if runs:
                leases.mark_unsent([run.lease for run in runs], is_unsent=is_unsent)
        self._workload.note_marks(unsent=unsent, begun=begun)
