"""Make workers look for new work, and tell Flower of ends, once they are committed."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from tasks_api.domain.states import RunState
from tasks_api.messaging import broker
from tasks_api.services.cancellation import CancelledRun


def ring_after_commit() -> None:
    transaction.on_commit(broker.ring)


def announce_after_commit(cancelled: Sequence[CancelledRun]) -> None:
    """Ring for runs that waited for cancelled ones, and tell Flower of those."""
    over = [run.run_id for run in cancelled if run.state == RunState.CANCELLED]
    transaction.on_commit(broker.ring)
    transaction.on_commit(lambda: broker.announce_ends(over))
