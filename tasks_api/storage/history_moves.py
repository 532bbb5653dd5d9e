"""Move runs into history that an upgrade left elsewhere, a batch at a time.

A migration leaves runs that are over in the table of the release before, where readers
find them. Processes of that release also leave runs that they end among the live ones.
Each batch is one statement, so an interrupted move goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from tasks_api.domain.ids import moment_of
from tasks_api.storage import partitions
from tasks_api.storage.run_statements import (
    FIND_OLDEST_RUN_BEFORE,
    MOVE_BATCH_SIZE,
    MOVE_RUNS_BEFORE,
    MOVE_RUNS_OVER,
)

# Runs that are older go to the default partition. A day costs readers some time.
MAX_DAYS_BACK = 400
# The seconds of a round, and the rest after each batch as a share of the time that it
# took. During the rest, workers have the database to themselves.
ROUND_SECONDS = 30.0
REST_RATIO = 1.0

FIRST_ID = UUID(int=0)


def move_into_history(
    *, now: datetime, pause: Callable[[float], object] = time.sleep
) -> int:
    """Move runs for one round; return their number.

    `pause` may end the round by returning something true.
    """
    ends_at = time.monotonic() + ROUND_SECONDS
    moved = _move(MOVE_RUNS_OVER, ends_at, pause)
    if partitions.has_old_table():
        _make_days_before(now)
        moved += _move(MOVE_RUNS_BEFORE, ends_at, pause)
    partitions.drop_empty_old_tables()
    return moved


def _move(statement: str, ends_at: float, pause: Callable[[float], object]) -> int:
    moved: int = 0
    after = FIRST_ID
    while True:
        began = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(statement, {"after": after})
            count, last = cursor.fetchone()
        moved += int(count)
        ended = time.monotonic()
        if count < MOVE_BATCH_SIZE or ended > ends_at:
            return moved
        if pause((ended - began) * REST_RATIO):
            return moved
        after = last


def _make_days_before(now: datetime) -> None:
    """Make the days of the runs of the release before, for which none are made ahead."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_OLDEST_RUN_BEFORE)
        oldest = cursor.fetchone()
    if oldest is not None:
        since = datetime.fromtimestamp(moment_of(oldest[0]), tz=UTC)
        limit = now - MAX_DAYS_BACK * partitions.DAY
        partitions.make_days(now=now, since=max(since, limit))
