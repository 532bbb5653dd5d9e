"""Make, renew and release the leases of runs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from uuid import UUID

from django.conf import settings

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import prepared
from tasks_api.taking import statements

# The presence in a lease whose holder no beat ever misses.
NO_PRESENCE = 0
# The reason on a run that a worker holds and has not begun. Without it, the run's request
# may be in flight.
UNSENT_REASON = "Waits for its turn at its host."


def new_lease(presence: int) -> UUID:
    """A lease whose first 32 bits say who holds it."""
    return UUID(int=presence << 96 | random.getrandbits(96))


def undo_take(lease: UUID) -> None:
    """Give back whatever a statement that failed has taken under a lease."""
    with prepared() as cursor:
        cursor.execute(statements.UNDO_TAKE, [lease])


def mark_unsent(held: Iterable[tuple[UUID, UUID]], *, is_unsent: bool) -> None:
    """Say on (run, lease) pairs that their requests have not begun, or that they have.

    A run whose request has not begun when its worker dies does not count as lost.
    """
    reason = UNSENT_REASON if is_unsent else ""
    with prepared() as cursor:
        cursor.execute(statements.MARK_UNSENT, [reason, *columns(held)])


def renew(held: Iterable[tuple[UUID, UUID]]) -> dict[UUID, str]:
    """Prolong the leases of (run, lease) pairs; returns the runs that are still ours.

    Each comes with the user who asked to cancel it, or an empty text.
    """
    values = [settings.SCHEDULER_LEASE, *columns(held)]
    with prepared() as cursor:
        cursor.execute(statements.RENEW_LEASES, values)
        return dict(cursor.fetchall())


def release(presences: Iterable[int]) -> int:
    """End the leases of workers that are gone; returns how many there were."""
    bounds = [
        (UUID(int=presence << 96), UUID(int=(presence + 1 << 96) - 1))
        for presence in presences
    ]
    with prepared() as cursor:
        cursor.execute(statements.END_LEASES, columns(bounds))
        return int(cursor.rowcount)
