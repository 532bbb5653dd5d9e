"""The contact of a worker with its database: the time there, and whether it answers."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from scheduler_service.db import clock

# The recorder asks the database twice a second. One that is silent for so long is
# away for this worker, and maybe not for others.
MAX_SILENCE = 2.0


class DatabaseContact:
    def __init__(self) -> None:
        # From `clock.ticks()` to the database's clock.
        self._clock_offset = 0.0
        # By the monotonic clock. At the start, the database has not answered yet.
        self._answered_at = -MAX_SILENCE
        # Whether beats know of this worker's presence; from then on it knows the time.
        self.announced = threading.Event()

    def now(self) -> float:
        """The database's clock, as far as this process knows it."""
        return clock.ticks() + self._clock_offset

    def datetime(self) -> datetime:
        return datetime.fromtimestamp(self.now(), tz=UTC)

    def read_clock(self) -> None:
        self._clock_offset = clock.read().timestamp() - clock.ticks()

    def note_answer(self) -> None:
        self._answered_at = time.monotonic()

    @property
    def is_cut_off(self) -> bool:
        """Whether the database is silent, so that other workers should hear the bells."""
        return time.monotonic() - self._answered_at > MAX_SILENCE
