"""Make workers look for new work as soon as it is committed."""

from __future__ import annotations

from django.db import transaction

from tasks_api.messaging import broker


def ring_after_commit() -> None:
    transaction.on_commit(broker.ring)
