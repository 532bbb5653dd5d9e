"""Notice that this worker or beat has stopped working, by the times of its own loops.

The database must not decide that: while PostgreSQL is away, every process would seem
dead, and a worker that is killed then loses the verdicts in its memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from django.conf import settings

from tasks_api.messaging import broker
from tasks_api.messaging.errors import BrokerAway, UnusableBroker

logger = logging.getLogger(__name__)

# Seconds between two checks of a worker.
WATCH_INTERVAL = 5.0


class WorkerVitals(NamedTuple):
    """The load of an engine, and the monotonic times at which its parts last worked."""

    held: int
    # Seconds since the engine should have looked for what is due.
    overdue: float
    rang_at: float
    looked_at: float
    sent_at: float
    recorded_at: float
    # Without the database the worker should not take messages.
    is_cut_off: bool = False


class WorkerWatchdog:
    """Notices that a worker has stopped recording, sending, looking or consuming."""

    def __init__(self, vitals: Callable[[], WorkerVitals]) -> None:
        self._vitals = vitals
        self._last = vitals()
        # Since this time messages wait, and the worker takes none.
        self._ignores_since: float | None = None
        # Trouble outside the worker, which a restart would not mend.
        self._remark = ""

    def remark(self) -> str:
        return self._remark

    def start(self) -> None:
        threading.Thread(target=self._check_forever, name="watch", daemon=True).start()

    def problem(self) -> str:
        """Return the trouble of this worker as a sentence, or an empty string."""
        vitals, now, patience = (
            self._vitals(),
            time.monotonic(),
            settings.PROBE_PATIENCE,
        )
        if now - vitals.recorded_at > patience:
            return f"Nothing was recorded for {now - vitals.recorded_at:.0f} seconds."
        if now - vitals.sent_at > patience:
            silence = now - vitals.sent_at
            return f"The transport has done nothing for {silence:.0f} seconds."
        unseen = min(vitals.overdue, now - vitals.looked_at)
        if unseen > patience:
            return f"It has not looked for what is due for {unseen:.0f} seconds."
        if self._ignores_since and now - self._ignores_since > patience:
            seconds = now - self._ignores_since
            return f"Messages wait, and none was taken for {seconds:.0f} seconds."
        return ""

    def compare(self, depth: int) -> None:
        """Compare with the last check; `depth` is the number of waiting messages."""
        vitals, last = self._vitals(), self._last
        self._last = vitals
        if not depth or vitals.is_cut_off or vitals.rang_at > last.rang_at:
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
            depth = broker.count_messages(settings.CELERY_BROKER_URL)
            broker.check_usable(settings.CELERY_BROKER_URL)
        except BrokerAway as error:
            # Without a broker there are no messages to take.
            depth, self._remark = 0, f"The broker does not answer: {error}"
        except UnusableBroker as reason:
            self._remark = str(reason)
        self.compare(depth)


class BeatWatchdog:
    """Notices that a beat has stopped ticking."""

    def __init__(self) -> None:
        self._ticked_at = time.monotonic()

    def ticked(self) -> None:
        self._ticked_at = time.monotonic()

    def problem(self) -> str:
        silence = time.monotonic() - self._ticked_at
        if silence > settings.PROBE_PATIENCE:
            return f"It has not ticked for {silence:.0f} seconds."
        return ""
