"""The clock that everything goes by, the database's, whatever this machine's own one says.

It is read by statements that a process makes anyway, and in between it goes on by the
monotonic clock of the machine, which nobody sets.
"""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from scheduler_service.db.statements import prepared

# How old a reading may be. A monotonic clock loses or gains half a millisecond in it at
# most, and a database whose clock is set is followed after it.
READING_LIFETIME = 1.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# It goes on while the machine is suspended, where there is such a clock.
_BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Reading(NamedTuple):
    """A moment of the database's clock, by ours."""

    asked_at: float
    answered_at: float
    moment: datetime

    def now(self, at: float) -> datetime:
        return self.moment + timedelta(seconds=at - self.answered_at)


_reading: _Reading | None = None


def now() -> datetime:
    """What the database's clock says, or a moment before it: never ahead.

    Behind by the way of an answer from the database at most. Asks it only where nothing
    was learned for a while.
    """
    at, known = ticks(), _reading
    if known is not None and at - known.asked_at < READING_LIFETIME:
        return known.now(at)
    return read()


def read() -> datetime:
    """Ask the database: the moment itself, also in a transaction that began before it."""
    asked_at = ticks()
    with prepared() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    record_reading(moment, asked_at=asked_at)
    return moment


def record_reading(moment: datetime, *, asked_at: float) -> None:
    """Take note of what a statement has just answered that selects clock_timestamp().

    `asked_at` is ticks() from before it. Of readings that are not old, the one counts
    that was the quickest to come.
    """
    global _reading
    at, known = ticks(), _reading
    fresh = _Reading(asked_at, at, moment)
    if (
        known is None
        or at - known.asked_at >= READING_LIFETIME
        or known.now(at) < moment
    ):
        _reading = fresh


def ticks() -> float:
    """Seconds since some moment, on a clock that nobody sets."""
    return time.clock_gettime(_BOOT_TIME)


# Ids.

# The last 48 bits of milliseconds and 12 of their fraction that an id was made of.
_last_place = 0
_next_place = threading.Lock()
# A process may have made ids faster than there are places; beyond, the clock was set.
_MAX_PLACES_AHEAD = 4096 * 1000


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562) for rows in the order of their making; in a process it is exact."""
    global _last_place
    place = (now() - EPOCH) // timedelta(microseconds=1) * 4096 // 1000
    with _next_place:
        if place <= _last_place < place + _MAX_PLACES_AHEAD:
            place = _last_place + 1
        _last_place = place
    random = uuid.uuid4().int & ((1 << 62) - 1)
    high = (place >> 12) << 16 | 0x7000 | (place & 0xFFF)
    return uuid.UUID(int=high << 64 | 0b10 << 62 | random)
