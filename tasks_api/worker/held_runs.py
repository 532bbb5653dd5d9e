"""The runs that a worker has claimed, until what became of them is written down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple
from uuid import UUID

from tasks_api.delivery.request import ClaimedRun
from tasks_api.worker.leases import count_bytes


class HeldRun(NamedTuple):
    run: ClaimedRun
    claimed_at: float
    size: int

    @property
    def lease(self) -> tuple[UUID, UUID]:
        return self.run.run_id, self.run.lease


class HeldRuns:
    """Whoever uses it locks. Moments are those of the monotonic clock."""

    def __init__(self) -> None:
        # In the order of their claims.
        self._held: dict[UUID, HeldRun] = {}
        self._until: dict[UUID, float] = {}
        # Whose turn has come, and of whom it is said that it has not.
        self._begun: set[UUID] = set()
        self._said_unsent: set[UUID] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, run_id: UUID) -> bool:
        return run_id in self._held

    def add(
        self, runs: Sequence[ClaimedRun], *, claimed_at: float, until: float
    ) -> int:
        """Hold runs whose leases are good until a moment; returns what they weigh."""
        before = self.bytes
        for run in runs:
            # Somebody took it from us, and we took it again.
            if (old := self._held.get(run.run_id)) is not None:
                self._forget(old)
            held = HeldRun(run, claimed_at, count_bytes(run))
            self._held[run.run_id] = held
            self._until[run.run_id] = until
            self.bytes += held.size
        return self.bytes - before

    def let_go(self, run: ClaimedRun) -> None:
        """It is over, if this is the lease under which it is held."""
        held = self._held.get(run.run_id)
        if held is not None and held.run.lease == run.lease:
            self._forget(held)

    def begin(self, run: ClaimedRun, now: float) -> bool:
        """Its turn has come; no means that it is not ours any more."""
        if now >= self._until.get(run.run_id, 0.0):
            return False
        self._begun.add(run.run_id)
        return True

    def claimed_before(self, moment: float) -> Iterator[HeldRun]:
        return takewhile(lambda held: held.claimed_at < moment, self._held.values())

    def prolong(self, run_ids: Iterable[UUID], until: float) -> None:
        for run_id in run_ids:
            if run_id in self._until:
                self._until[run_id] = until

    def unsent(self, claimed_before: float) -> list[HeldRun]:
        """Those that wait, of which that is not said yet."""
        return [
            held
            for held in self.claimed_before(claimed_before)
            if held.run.run_id not in self._begun
            and held.run.run_id not in self._said_unsent
        ]

    def begun_meanwhile(self) -> list[HeldRun]:
        """Those of which it is said that they wait, and that do not any more."""
        return [self._held[run_id] for run_id in self._said_unsent & self._begun]

    def said(self, *, unsent: Collection[HeldRun], begun: Collection[HeldRun]) -> None:
        self._said_unsent.difference_update(held.run.run_id for held in begun)
        ids = {held.run.run_id for held in unsent}
        self._said_unsent |= ids & self._held.keys()

    def _forget(self, held: HeldRun) -> None:
        run_id = held.run.run_id
        del self._held[run_id], self._until[run_id]
        self.bytes -= held.size
        self._begun.discard(run_id)
        self._said_unsent.discard(run_id)
