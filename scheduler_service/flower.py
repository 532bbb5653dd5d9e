"""Flower behind its password, all of it but `/healthcheck`, and with few tries at that.

Flower 2.2.0 shows `/metrics` to everybody, and lets who likes try passwords for ever.
`manage.py flower` starts it through this module.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict, deque
from typing import Any

from celery.bin.celery import main as celery
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.web import HTTPError, authenticated

# Wrong passwords of one address within so many seconds, before it is told to wait.
MAX_FAILURES = 10
FAILURE_WINDOW = 60.0
# Addresses that are kept in mind.
MAX_ADDRESSES = 10_000


class FailedLogins:
    """Which addresses have shown wrong passwords lately."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, address: str, now: float) -> None:
        times = self._of.setdefault(address, deque(maxlen=MAX_FAILURES))
        times.append(now)
        self._of.move_to_end(address)
        if len(self._of) > MAX_ADDRESSES:
            self._of.popitem(last=False)

    def are_too_many(self, address: str, now: float) -> bool:
        times = self._of.get(address, deque())
        return len(times) == MAX_FAILURES and now - times[0] < FAILURE_WINDOW


def guard() -> None:
    """Patch Flower's handlers, before its application is made of them."""
    failures = FailedLogins()
    original = BaseHandler.get_current_user

    def get_current_user(self: Any) -> Any:
        address, now = self.request.remote_ip, time.monotonic()
        if failures.are_too_many(address, now):
            raise HTTPError(429, "Too many wrong passwords; try again in a minute")
        try:
            return original(self)
        except HTTPError:
            # Browsers ask without one at first.
            if "Authorization" in self.request.headers:
                failures.note(address, now)
            raise

    BaseHandler.get_current_user = get_current_user
    Metrics.get = authenticated(Metrics.get)


def main() -> None:
    guard()
    sys.argv = ["celery", "--quiet", "-A", "scheduler_service", "flower"]
    sys.exit(celery())


if __name__ == "__main__":
    main()
