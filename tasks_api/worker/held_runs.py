"""The runs that a worker has taken, until their results are recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple
from uuid import UUID

from tasks_api.delivery.request import ClaimedRun
from tasks_api.taking.room import count_bytes
from tasks_api.taking.start_windows import StartWindow


class HeldRun(NamedTuple):
    run: ClaimedRun
    claimed_at: float
    size: int

    @property
    def lease(self) -> tuple[UUID, UUID]:
        return self.run.run_id, self.run.lease


class HeldRuns:
    """The caller locks. Moments are those of the monotonic clock."""

    def __init__(self) -> None:
        # In the order in which they were taken.
        self._held: dict[UUID, HeldRun] = {}
        self._lease_ends: dict[UUID, float] = {}
        # Runs whose requests have begun, and runs whose rows say that theirs have not.
        self._begun: set[UUID] = set()
        # When runs in lanes may start.
        self._windows: dict[UUID, StartWindow] = {}
        self._marked_unsent: set[UUID] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(
        self,
        runs: Sequence[ClaimedRun],
        *,
        claimed_at: float,
        until: float,
        windows: Mapping[UUID, StartWindow],
    ) -> None:
        """Hold runs whose leases end at `until`."""
        for run in runs:
            # Another worker took it from us, and we took it again.
            if (old := self._held.get(run.run_id)) is not None:
                self._forget(old)
            held = HeldRun(run, claimed_at, count_bytes(run))
            self._held[run.run_id] = held
            self._lease_ends[run.run_id] = until
            self.bytes += held.size
        self._windows.update(windows)

    def remove(self, run: ClaimedRun) -> None:
        """Let go of a run, if it is still held under the same lease."""
        held = self._held.get(run.run_id)
        if held is not None and held.run.lease == run.lease:
            self._forget(held)

    def begin(self, run: ClaimedRun, now: float) -> bool:
        """Note that its request begins; False if its lease or its start window is over."""
        if now >= self._lease_ends.get(run.run_id, 0.0):
            return False
        window = self._windows.get(run.run_id)
        if window is not None and not window.opens_at <= now < window.closes_at:
            return False
        self._begun.add(run.run_id)
        return True

    def claimed_before(self, moment: float) -> Iterator[HeldRun]:
        return takewhile(lambda held: held.claimed_at < moment, self._held.values())

    def prolong(self, run_ids: Iterable[UUID], until: float) -> None:
        for run_id in run_ids:
            if run_id in self._lease_ends:
                self._lease_ends[run_id] = until

    def cancel(self, run_ids: Iterable[UUID]) -> None:
        """Let no request begin of runs that a user cancelled."""
        for run_id in run_ids:
            if run_id in self._lease_ends:
                self._lease_ends[run_id] = 0.0

    def find_unsent(self, claimed_before: float) -> list[HeldRun]:
        """Runs whose requests have not begun, and whose rows do not say so yet."""
        return [
            held
            for held in self.claimed_before(claimed_before)
            if held.run.run_id not in self._begun
            and held.run.run_id not in self._marked_unsent
        ]

    def find_begun(self) -> list[HeldRun]:
        """Runs whose rows still say that their requests have not begun."""
        return [self._held[run_id] for run_id in self._marked_unsent & self._begun]

    def note_marks(
        self, *, unsent: Collection[HeldRun], begun: Collection[HeldRun]
    ) -> None:
        self._marked_unsent.difference_update(held.run.run_id for held in begun)
        ids = {held.run.run_id for held in unsent}
        self._marked_unsent |= ids & self._held.keys()

    def _forget(self, held: HeldRun) -> None:
        run_id = held.run.run_id
        del self._held[run_id], self._lease_ends[run_id]
        self.bytes -= held.size
        self._begun.discard(run_id)
        self._windows.pop(run_id, None)
        self._marked_unsent.discard(run_id)
