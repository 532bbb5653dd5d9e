"""The part of a beat in notices: it turns those that are due into messages."""

from __future__ import annotations

import time

from scheduler_service.db import clock
from tasks_api.services import notice_sending

# Seconds between two attempts, while another beat sends them or one cannot be sent.
INTERVAL = 1.0


class NoticeSender:
    """Sends what is due, at most once a second."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def send_due(self) -> bool:
        """Returns whether more may be due."""
        if time.monotonic() < self._next_at:
            return False
        has_more = notice_sending.send_due(now=clock.now())
        if not has_more:
            self._next_at = time.monotonic() + INTERVAL
        return has_more
