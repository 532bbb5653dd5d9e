"""The clock that everything goes by: the database's."""

from __future__ import annotations

from datetime import datetime

from scheduler_service.statements import prepared


def now() -> datetime:
    """The moment itself, also in a transaction that began before it."""
    with prepared() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
