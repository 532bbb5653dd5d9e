"""Is this worker or this beat still at work? Judged by what its own loops say.

Not by the database: while PostgreSQL is away, every process would seem dead, and a
worker that is killed for that loses the verdicts that it keeps in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import redis
from django.conf import settings

from tasks_api.messaging import broker

logger = logging.getLogger(__name__)

# How often a worker is looked at, in seconds.
WATCH_INTERVAL = 5.0


class WorkerVitals(NamedTuple):
    """What an engine has in hand, and when its parts were last at work (monotonic)."""

    held: int
    accepted: int
    has_room: bool
    # Seconds since the moment of the first run that could be claimed and is not.
    overdue: float
    accepted_at: float
    claimed_at: float
    recorded_at: float
    # Without a database there is nothing to take messages for.
    is_cut_off: bool = False


class WorkerWatchdog:
    """Notices a worker that has stopped recording, claiming or consuming."""

    def __init__(self, vitals: Callable[[], WorkerVitals]) -> None:
        self._vitals = vitals
        self._last = vitals()
        # Since when messages wait that this worker has room for, and takes none of.
        self._ignores_since: float | None = None
        # What is wrong around it, that no restart of this worker mends.
        self._remark = ""

    def remark(self) -> str:
        return self._remark

    def start(self) -> None:
        threading.Thread(target=self._check_forever, name="watch", daemon=True).start()

    def problem(self) -> str:
        """What is wrong with this worker, as a sentence; empty if nothing is."""
        vitals, now, patience = (
            self._vitals(),
            time.monotonic(),
            settings.PROBE_PATIENCE,
        )
        if now - vitals.recorded_at > patience:
            return f"Nothing was recorded for {now - vitals.recorded_at:.0f} seconds."
        unclaimed = min(vitals.overdue, now - vitals.claimed_at)
        if unclaimed > patience:
            return f"Runs that are due were not claimed for {unclaimed:.0f} seconds."
        if self._ignores_since and now - self._ignores_since > patience:
            seconds = now - self._ignores_since
            return f"Messages wait, and none was taken for {seconds:.0f} seconds."
        return ""

    def compare(self, depth: int) -> None:
        """Compare with the last look; `depth` is how many messages wait."""
        vitals, last = self._vitals(), self._last
        self._last = vitals
        takes = vitals.has_room and not vitals.is_cut_off
        if not depth or not takes or vitals.accepted_at > last.accepted_at:
            self._ignores_since = None
        elif self._ignores_since is None:
            self._ignores_since = time.monotonic()

    def _check_forever(self) -> None:
        while True:
            time.sleep(WATCH_INTERVAL)
            self.check()

    def check(self) -> None:
        self._remark = ""
        try:
            depth = broker.count_messages(settings.REDIS_URL)
            broker.check_usable(settings.REDIS_URL)
        except (redis.RedisError, OSError) as error:
            # Without a broker there is nothing to take.
            depth, self._remark = 0, f"Redis does not answer: {error}"
        except broker.UnusableBroker as reason:
            self._remark = str(reason)
        self.compare(depth)


class BeatWatchdog:
    """Notices a beat that has stopped ticking."""

    def __init__(self) -> None:
        self._ticked_at = time.monotonic()

    def ticked(self) -> None:
        self._ticked_at = time.monotonic()

    def problem(self) -> str:
        silence = time.monotonic() - self._ticked_at
        if silence > settings.PROBE_PATIENCE:
            return f"It has not ticked for {silence:.0f} seconds."
        return ""
