"""The work of a worker: when to look for more, the runs that it holds, and its room.

All threads of the worker share it, and one lock guards it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from django.conf import settings

from accounts.services import DeliveryLimits
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.shares import batch_places
from tasks_api.domain.states import Trouble
from tasks_api.monitoring.watchdog import WorkerVitals
from tasks_api.taking.room import BATCH_SIZE, Room
from tasks_api.taking.start_windows import StartWindow
from tasks_api.worker.capacity import Capacity
from tasks_api.worker.database_contact import DatabaseContact
from tasks_api.worker.held_runs import HeldRun, HeldRuns

# Seconds between two looks at the database while nothing is known to be due. With Redis
# away, a fire time that was stored a moment before is at most so late.
LOOK_INTERVAL = 1.0
# While one moment follows another within this time, a worker waits for so long after the
# next one, so that one statement takes several tasks.
TAKE_DELAY = 0.01
# Answers that make room for others at once, before their verdicts are written.
REFILL_BATCH_SIZE = 250


class Workload:
    def __init__(self, contact: DatabaseContact) -> None:
        self._contact = contact
        self._changed = threading.Condition()
        self._held = HeldRuns()
        self._max_bytes: int = settings.SCHEDULER_MAX_BYTES_IN_FLIGHT
        self._answered = 0
        # When to look next, by the monotonic clock; and whether room is all that lacks.
        self._look_at = time.monotonic()
        self._is_out_of_room = False
        self._rang_at = time.monotonic()
        self._lanes_with_places: frozenset[int] = frozenset()
        self.capacity = Capacity()
        # The runs a day of known tenants that have such a quota; replaced as a whole.
        self.run_quotas: Mapping[int, int] = {}
        self.is_stopping = False

    def ring(self) -> None:
        """Look at the database now, because something may be due soon."""
        with self._changed:
            self._rang_at = self._look_at = time.monotonic()
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self.is_stopping = True
            self._changed.notify_all()

    def vitals(
        self, *, looked_at: float, sent_at: float, recorded_at: float
    ) -> WorkerVitals:
        with self._changed:
            wait = self._seconds_to_wait()
            return WorkerVitals(
                held=len(self._held),
                overdue=0.0 if wait is None else max(0.0, -wait),
                rang_at=self._rang_at,
                looked_at=looked_at,
                sent_at=sent_at,
                recorded_at=recorded_at,
                is_cut_off=self._contact.is_cut_off,
            )

    # What the taker does.

    def wait_to_look(self) -> Room | None:
        """Wait until there is room and something may be due; None when the worker stops."""
        with self._changed:
            while not self.is_stopping:
                wait = self._seconds_to_wait()
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                else:
                    # What happens from now on asks for another look.
                    self._look_at = time.monotonic() + LOOK_INTERVAL
                    self._is_out_of_room = False
                    return self._room()
        return None

    def look_again(self, next_at: float | None, *, is_out_of_room: bool) -> None:
        """Look again at a moment of the database's clock, and if there is room again."""
        with self._changed:
            if next_at is not None:
                wait = next_at - self._contact.now()
                if wait < TAKE_DELAY:
                    wait += TAKE_DELAY
                self._look_at = min(self._look_at, time.monotonic() + wait)
            self._is_out_of_room = is_out_of_room

    def hold(
        self,
        runs: Sequence[ClaimedRun],
        taken_at: float,
        windows: Mapping[UUID, StartWindow],
    ) -> None:
        """Hold runs, some of which may start within their windows only."""
        until = taken_at + settings.SCHEDULER_LEASE
        with self._changed:
            self._held.add(runs, claimed_at=taken_at, until=until, windows=windows)
            self.capacity.begin(runs)

    def hold_back(self) -> None:
        with self._changed:
            self.capacity.hold_back()

    def learn(self, limits: Mapping[int, DeliveryLimits]) -> None:
        """Know the limits of tenants of which something is due."""
        with self._changed:
            self.capacity.learn(limits)
            self.run_quotas = self.capacity.run_quotas

    def note_lanes(self, with_places: frozenset[int]) -> None:
        """Take note of the lanes in which runs wait for the ends of others."""
        self._lanes_with_places = with_places

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
        """Let due runs take the places of those whose answers are here."""
        with self._changed:
            self._make_room()

    def remove_recorded(self, runs: Iterable[ClaimedRun]) -> None:
        with self._changed:
            for run in runs:
                self._held.remove(run)
            self._changed.notify_all()

    def frees_lanes(self, runs: Iterable[ClaimedRun]) -> bool:
        """Whether runs wait in lanes for the ends of these."""
        lanes = self._lanes_with_places
        return bool(lanes) and any(run.lane_id in lanes for run in runs)

    def claimed_before(self, moment: float) -> list[HeldRun]:
        with self._changed:
            return list(self._held.claimed_before(moment))

    def prolong(self, run_ids: Iterable[UUID], until: float) -> None:
        with self._changed:
            self._held.prolong(run_ids, until)

    def cancel(self, run_ids: Iterable[UUID]) -> None:
        with self._changed:
            self._held.cancel(run_ids)

    def find_marks(self, claimed_before: float) -> tuple[list[HeldRun], list[HeldRun]]:
        """The runs to mark as unsent, and those whose mark is to be removed."""
        with self._changed:
            return self._held.find_unsent(claimed_before), self._held.find_begun()

    def note_marks(
        self, *, unsent: Collection[HeldRun], begun: Collection[HeldRun]
    ) -> None:
        with self._changed:
            self._held.note_marks(unsent=unsent, begun=begun)

    def list_tenants(self) -> list[int]:
        with self._changed:
            return self.capacity.list_tenants()

    def refresh(
        self, asked: Collection[int], limits: Mapping[int, DeliveryLimits]
    ) -> None:
        """Follow the present limits of the tenants that were asked for."""
        with self._changed:
            self.capacity.refresh(asked, limits)
            self.run_quotas = self.capacity.run_quotas
            self._make_room()

    # The caller of these holds the lock.

    def _seconds_to_wait(self) -> float | None:
        """Until the next look is due; None while there is no room for anything."""
        if self._places_left() <= 0:
            return None
        now = time.monotonic()
        return max(self._look_at - now, self.capacity.resumes_at - now)

    def _places_left(self) -> int:
        if self._held.bytes >= self._max_bytes:
            return 0
        return self.capacity.total_left(len(self._held))

    def _room(self) -> Room:
        return self.capacity.room(
            places=min(BATCH_SIZE, batch_places(self._places_left())),
            max_bytes=max(1, self._max_bytes - self._held.bytes),
        )

    def _make_room(self) -> None:
        self._answered = 0
        if self._is_out_of_room:
            self._look_at = time.monotonic()
        self._changed.notify_all()
