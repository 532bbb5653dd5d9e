"""Ring workers for what a change has made due."""

from __future__ import annotations

from django.db import transaction

from tasks_api.messaging import broker


def ring_after_commit() -> None:
    """Let workers look for what is due as soon as the transaction is committed."""
    transaction.on_commit(broker.ring)
