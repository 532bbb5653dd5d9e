"""The clock of the database, and how far a busy machine may be from it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection

HOUR = timedelta(hours=1)


# For what happens between two looks at the clock, on a busy machine.
CLOCK_TOLERANCE = timedelta(seconds=20)


def true_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
