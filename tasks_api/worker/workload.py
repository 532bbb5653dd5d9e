"""The work of a worker: its backlog, the runs that it holds, and its room for more.

All threads of the worker share it, and one lock guards it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from django.conf import settings

from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.ids import moment_of
from tasks_api.domain.states import Trouble
from tasks_api.monitoring.watchdog import WorkerVitals
from tasks_api.worker.backlog import Backlog
from tasks_api.worker.capacity import Capacity
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.held_runs import HeldRun, HeldRuns

# Runs in one claim: as many as their bodies are cheap to hold.
CLAIM_BATCH_SIZE = 500
# Runs in the backlog before the worker leaves messages to the broker.
MAX_BACKLOG = 20_000
# Beats ring only for runs that are due within an hour. Others would only take up a place.
MAX_SECONDS_AHEAD = 3600.0
# Fire times lie apart. Waiting this long lets one statement claim several runs.
CLAIM_DELAY = 0.01
# Answers that make room for others at once, before their verdicts are written.
REFILL_BATCH_SIZE = 250
# A run's id knows its moment to the millisecond, rounded down.
ID_PRECISION = 0.001


class Workload:
    def __init__(self, contact: DatabaseContact) -> None:
        self._contact = contact
        self._changed = threading.Condition()
        self._backlog = Backlog()
        # Taken from the backlog by the claimer, and not claimed yet.
        self._claiming: list[UUID] = []
        self._held = HeldRuns()
        self._max_bytes: int = settings.SCHEDULER_MAX_BYTES_IN_FLIGHT
        self._answered = 0
        self._accepted_at = time.monotonic()
        self.capacity = Capacity()
        self.is_stopping = False

    # What messages bring, and what goes back to other workers.

    def accept(self, run_ids: Iterable[UUID]) -> None:
        """Add runs to the backlog. Blocks while it is full."""
        with self._changed:
            while len(self._backlog) >= MAX_BACKLOG and not self.is_stopping:
                self._changed.wait()
            # Before the database has said so, this machine may be wrong about the time.
            knows_time = self._contact.announced.is_set()
            latest = self._contact.now() + MAX_SECONDS_AHEAD if knows_time else math.inf
            wanted = {run_id for run_id in run_ids if moment_of(run_id) < latest}
            self._backlog.add(i for i in wanted if i not in self._held)
            self._accepted_at = time.monotonic()
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self.is_stopping = True
            self._changed.notify_all()

    def pop_unclaimed(self) -> list[UUID]:
        """Empty the backlog, and return what it had with what is being claimed."""
        with self._changed:
            taken = [*self._backlog, *self._claiming]
            self._backlog = Backlog()
            self._changed.notify_all()
        return taken

    def list_backlog(self) -> list[UUID]:
        with self._changed:
            return list(self._backlog)

    def vitals(self, *, claimed_at: float, recorded_at: float) -> WorkerVitals:
        with self._changed:
            wait = self._seconds_to_wait()
            return WorkerVitals(
                held=len(self._held),
                accepted=len(self._backlog),
                has_room=len(self._backlog) < MAX_BACKLOG,
                overdue=0.0 if wait is None else max(0.0, -wait),
                accepted_at=self._accepted_at,
                claimed_at=claimed_at,
                recorded_at=recorded_at,
                is_cut_off=self._contact.is_cut_off,
            )

    # What the claimer does.

    def wait_for_due(self) -> list[UUID] | None:
        """Wait for runs that are due, and take them; None when the worker stops."""
        with self._changed:
            while not self.is_stopping:
                wait = self._seconds_to_wait()
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                elif due := self._pop_due():
                    return due
        return None

    def end_claim(self) -> None:
        self._claiming = []

    @property
    def bytes_left(self) -> int:
        """How many bytes one claim may bring; a single run may always come."""
        return max(1, self._max_bytes - self._held.bytes)

    def put_back(self, run_ids: Iterable[UUID]) -> None:
        with self._changed:
            self._backlog.add(run_ids)

    def hold(self, runs: Sequence[ClaimedRun], claimed_at: float) -> int:
        """Hold claimed runs; returns how many bytes they have."""
        until = claimed_at + settings.SCHEDULER_LEASE
        with self._changed:
            added = self._held.add(runs, claimed_at=claimed_at, until=until)
            self.capacity.begin(runs)
            # Some runs were claimed by other workers, so that others may come.
            self._backlog.unblock(self.capacity.places_left)
        return added

    def hold_back(self) -> None:
        with self._changed:
            self.capacity.hold_back()

    def remove_delivered(self, runs: Iterable[ClaimedRun]) -> None:
        """Let go of runs that are over and recorded at once."""
        with self._changed:
            for run in runs:
                self.capacity.end(run)
                self._held.remove(run)

    # What the transport asks and reports.

    def may_start(self, run: ClaimedRun) -> bool:
        """Whether a request may be sent now that its turn has come, and is still ours."""
        with self._changed:
            now = time.monotonic()
            return now >= self.capacity.resumes_at and self._held.begin(run, now)

    def note_result(self, run: ClaimedRun, result: HttpResult) -> None:
        with self._changed:
            self.capacity.end(run)
            if result.trouble is Trouble.LOCAL:
                self.capacity.hold_back()
            self._answered += 1
            if self._answered >= REFILL_BATCH_SIZE:
                self._make_room()

    # What the recorder does.

    @property
    def held_count(self) -> int:
        return len(self._held)

    def make_room(self) -> None:
        """Let blocked runs take the places of those whose answers are here."""
        with self._changed:
            self._make_room()

    def remove_recorded(self, runs: Iterable[ClaimedRun]) -> None:
        with self._changed:
            for run in runs:
                self._held.remove(run)
            self._changed.notify_all()

    def add_next(self, run_ids: Iterable[UUID]) -> None:
        """Add the runs that may begin after others of their tasks."""
        with self._changed:
            self._backlog.add(run_ids)
            self._changed.notify_all()

    def claimed_before(self, moment: float) -> list[HeldRun]:
        with self._changed:
            return list(self._held.claimed_before(moment))

    def prolong(self, run_ids: Iterable[UUID], until: float) -> None:
        with self._changed:
            self._held.prolong(run_ids, until)

    def find_marks(self, claimed_before: float) -> tuple[list[HeldRun], list[HeldRun]]:
        """The runs to mark as unsent, and those whose mark is to be removed."""
        with self._changed:
            return self._held.find_unsent(claimed_before), self._held.find_begun()

    def note_marks(
        self, *, unsent: Collection[HeldRun], begun: Collection[HeldRun]
    ) -> None:
        with self._changed:
            self._held.note_marks(unsent=unsent, begun=begun)

    def refresh(self, tenant_limits: Mapping[int, int]) -> list[UUID]:
        """Take over new limits; returns runs that have been blocked for long."""
        with self._changed:
            self.capacity.refresh(tenant_limits)
            self._make_room()
            return self._backlog.pop_blocked_for_long()

    # The caller of these holds the lock.

    def _seconds_to_wait(self) -> float | None:
        """Until the first run is due; None while there is nothing, or no room for it."""
        first = self._backlog.first_due_at()
        if first is None or self._total_left() <= 0:
            return None
        wait = first + ID_PRECISION + CLAIM_DELAY - self._contact.now()
        return max(wait, self.capacity.resumes_at - time.monotonic())

    def _pop_due(self) -> list[UUID]:
        self._claiming = self._backlog.pop(
            until=self._contact.now() - ID_PRECISION,
            limit=min(CLAIM_BATCH_SIZE, self._total_left()),
            places_left=self.capacity.frozen(),
        )
        self._changed.notify_all()
        return self._claiming

    def _total_left(self) -> int:
        if self._held.bytes >= self._max_bytes:
            return 0
        return self.capacity.total_left(len(self._held))

    def _make_room(self) -> None:
        self._answered = 0
        self._backlog.unblock(self.capacity.places_left)
        self._changed.notify_all()
