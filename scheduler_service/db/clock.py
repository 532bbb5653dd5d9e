"""The clock of the service, which is the database's, not this machine's.

Statements that a process executes anyway read it. In between, time advances by the
machine's monotonic clock, which is never set.
"""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from scheduler_service.db.statements import prepared

# Seconds that a reading is used. A monotonic clock drifts by at most half a millisecond
# in that time, and a change of the database's clock is noticed after it.
READING_LIFETIME = 1.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# This clock advances while the machine is suspended; not every system has it.
_BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Reading(NamedTuple):
    """A moment of the database's clock, with the ticks at which it was read."""

    asked_at: float
    answered_at: float
    moment: datetime

    def now(self, at: float) -> datetime:
        return self.moment + timedelta(seconds=at - self.answered_at)


_reading: _Reading | None = None


def now() -> datetime:
    """The time of the database: never ahead, and behind by at most its response time.

    Asks the database only if there is no recent reading.
    """
    at, known = ticks(), _reading
    if known is not None and at - known.asked_at < READING_LIFETIME:
        return known.now(at)
    return read()


def read() -> datetime:
    """Ask the database for the present moment, also inside a transaction."""
    asked_at = ticks()
    with prepared() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    record_reading(moment, asked_at=asked_at)
    return moment


def record_reading(moment: datetime, *, asked_at: float) -> None:
    """Record the clock_timestamp() that a statement has just returned.

    `asked_at` is ticks() before the statement. Of recent readings the one with the
    shortest way from the database is used.
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
    """Seconds on a clock that is never set, since some moment."""
    return time.clock_gettime(_BOOT_TIME)


# Ids.

# The time in the last id: 48 bits of milliseconds and 12 bits of their fraction.
_last_place = 0
_next_place = threading.Lock()
# Ids that are created faster run ahead of the clock; further ahead, the clock was set.
_MAX_PLACES_AHEAD = 4096 * 1000


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562), ordered by creation; exactly within one process."""
    global _last_place
    place = (now() - EPOCH) // timedelta(microseconds=1) * 4096 // 1000
    with _next_place:
        if place <= _last_place < place + _MAX_PLACES_AHEAD:
            place = _last_place + 1
        _last_place = place
    random = uuid.uuid4().int & ((1 << 62) - 1)
    high = (place >> 12) << 16 | 0x7000 | (place & 0xFFF)
    return uuid.UUID(int=high << 64 | 0b10 << 62 | random)
