"""Flower with a password for every page but `/healthcheck`, and queues of every broker.

Changes handlers of Flower 2.2.0, which shows `/metrics` to everybody, lets a client try
passwords without end, asks the first Sentinel alone, and needs RabbitMQ's management
plugin to count messages. Needed until Flower has all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Any

from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.web import HTTPError, authenticated

# Wrong passwords of one address within the window, in seconds, before it must wait.
MAX_FAILURES = 10
FAILURE_WINDOW = 60.0
# Addresses that are remembered; the oldest are forgotten first.
MAX_ADDRESSES = 10_000


class FailedLogins:
    """The moments of the last wrong passwords, by address."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str, now: float) -> None:
        times = self._of.setdefault(address, deque(maxlen=MAX_FAILURES))
        times.append(now)
        self._of.move_to_end(address)
        if len(self._of) > MAX_ADDRESSES:
            self._of.popitem(last=False)

    def are_too_many(self, address: str, now: float) -> bool:
        times = self._of.get(address, deque())
        return len(times) == MAX_FAILURES and now - times[0] < FAILURE_WINDOW


def require_passwords() -> None:
    """Patch the handlers; call it before Flower's application is made of them."""
    failures = FailedLogins()
    original = BaseHandler.get_current_user

    def get_current_user(self: Any) -> Any:
        address, now = self.request.remote_ip, time.monotonic()
        if failures.are_too_many(address, now):
            raise HTTPError(429, "Too many wrong passwords; try again in a minute")
        try:
            return original(self)
        except HTTPError:
            # The first request of a browser has no password yet.
            if "Authorization" in self.request.headers:
                failures.add(address, now)
            raise

    BaseHandler.get_current_user = get_current_user
    Metrics.get = authenticated(Metrics.get)


# Brokers whose queues Flower cannot read by itself.
CELERY_SCHEMES = frozenset(["amqp", "amqps", "sentinel"])


class CeleryQueues:
    """The queues as Celery's own connection to the broker shows them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: list(self._read(names)))

    def _read(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        with self._app.connection_for_read() as connection:
            for name in names:
                try:
                    _, ready, consumers = connection.default_channel.queue_declare(
                        queue=name, passive=True
                    )
                except connection.channel_errors:
                    # kombu finds no empty queue in Redis. RabbitMQ closes the channel.
                    connection.collect()
                    ready = consumers = 0
                yield {
                    "name": name,
                    "messages": ready,
                    "messages_ready": ready,
                    # kombu does not know those of Redis.
                    "consumers": consumers or None,
                }


def read_queues_by_celery() -> None:
    """Patch the handlers; call it before Flower's application is made of them."""
    original = BaseHandler.get_broker

    def get_broker(self: Any) -> Any:
        if self.capp.conf.broker_url.partition("://")[0] in CELERY_SCHEMES:
            return CeleryQueues(self.capp)
        return original(self)

    BaseHandler.get_broker = get_broker
