"""Claim runs, and renew and release their leases."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.conf import settings

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import check_columns, prepared
from tasks_api.delivery.request import ClaimedRun
from tasks_api.worker import statements

# The presence in a lease whose holder no beat ever misses.
NO_PRESENCE = 0
# The reason on a run that a worker holds and has not begun. Without it, the run's request
# may be in flight.
UNSENT_REASON = "Waits for its turn at its host."
# More than any claim has, for callers that need not hold the requests in memory.
UNLIMITED_BYTES = 2**62


def new_lease(presence: int) -> UUID:
    """A lease whose first 32 bits say who holds it."""
    return UUID(int=presence << 96 | random.getrandbits(96))


def count_bytes(run: ClaimedRun) -> int:
    """What a run takes up in memory, counted as in `CLAIM_RUNS`."""
    return sum(map(_count_octets, (run.body, run.request, run.url)))


def _count_octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def claim(
    run_ids: Sequence[UUID],
    *,
    presence: int = NO_PRESENCE,
    lease: UUID | None = None,
    max_bytes: int = UNLIMITED_BYTES,
) -> list[ClaimedRun]:
    """Claim those of some runs that are due and free, and whose task may fire.

    The earliest come first, and no more once they have `max_bytes` together. The others
    are another worker's, or stay until their `wake_at`, when a beat settles them.
    """
    lease = lease or new_lease(presence)
    values = {
        "runs": array(run_ids),
        "lease": lease,
        "term": settings.SCHEDULER_LEASE,
        "bytes": max_bytes,
    }
    with prepared() as cursor:
        cursor.execute(statements.CLAIM_RUNS, values)
        check_columns(cursor, statements.CLAIMED_RUN_COLUMNS)
        # The runs share one lease object: many equal values are written faster.
        return [ClaimedRun._make((*row, lease)) for row in cursor.fetchall()]


def undo_claim(run_ids: Iterable[UUID], lease: UUID) -> None:
    """Undo a claim that failed, whatever it has taken."""
    with prepared() as cursor:
        cursor.execute(statements.UNDO_CLAIM, [array(run_ids), lease])


def mark_unsent(held: Iterable[tuple[UUID, UUID]], *, is_unsent: bool) -> None:
    """Say on (run, lease) pairs that their requests have not begun, or that they have.

    A run whose request has not begun when its worker dies does not count as lost.
    """
    reason = UNSENT_REASON if is_unsent else ""
    with prepared() as cursor:
        cursor.execute(statements.MARK_UNSENT, [reason, *columns(held)])


def explain_wait(run_ids: Iterable[UUID]) -> None:
    """Say on pending runs that they wait for others of their tenant."""
    with prepared() as cursor:
        cursor.execute(statements.EXPLAIN_WAIT, [array(run_ids)])


def renew(held: Iterable[tuple[UUID, UUID]]) -> set[UUID]:
    """Prolong the leases of (run, lease) pairs; returns the runs that are still ours."""
    values = [settings.SCHEDULER_LEASE, *columns(held)]
    with prepared() as cursor:
        cursor.execute(statements.RENEW_LEASES, values)
        return {run_id for (run_id,) in cursor.fetchall()}


def release(presences: Iterable[int]) -> int:
    """End the leases of workers that are gone; returns how many there were."""
    bounds = [
        (UUID(int=presence << 96), UUID(int=(presence + 1 << 96) - 1))
        for presence in presences
    ]
    with prepared() as cursor:
        cursor.execute(statements.END_LEASES, columns(bounds))
        return int(cursor.rowcount)
