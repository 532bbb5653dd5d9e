"""Count the requests of tenants and tokens with a quota, by the minute, in Redis.

A Redis that is away refuses nobody: each process goes by its own counts then, so the
quota of a tenant is that of each process until Redis is back. The same holds for ever if
RabbitMQ is the broker and there is no Redis at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import redis
from django.conf import settings

from accounts.throttling import WindowCounter
from scheduler_service.redis.connections import open_client

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=1)
# Seconds for an answer of Redis, and seconds without it after it gave none.
TIMEOUT = 0.25
PAUSE = 5.0
KEY = "scheduler:requests:{name}:{minute}"
# A count outlives its minute, because clocks differ.
KEY_LIFETIME = 150

_own = WindowCounter(2 * WINDOW.total_seconds())
_lock = threading.Lock()
_client: tuple[str, redis.Redis] | None = None
_away_until = 0.0


class Minute(NamedTuple):
    """The number of a minute, and when it ends."""

    number: int
    ends_at: datetime


def minute_of(now: datetime) -> Minute:
    number = int(now.timestamp() // WINDOW.total_seconds())
    ends_at = now.replace(second=0, microsecond=0) + WINDOW
    return Minute(number, ends_at)


def count_request(names: Sequence[str], minute: Minute) -> list[int]:
    """Count a request for each of some names; returns how many each has in the minute."""
    own = [_own.add((name, minute.number)) for name in names]
    return _ask_redis(lambda: _count_in_redis(names, minute), own)


def read_counts(names: Sequence[str], minute: Minute) -> list[int]:
    """How many requests each of some names has in the minute, without counting one."""
    own = [_own.count((name, minute.number)) for name in names]
    return _ask_redis(lambda: _read_from_redis(names, minute), own)


def _ask_redis(ask: Callable[[], list[int]], own: list[int]) -> list[int]:
    """The counts of Redis, or those of this process while Redis is away."""
    global _away_until
    if not settings.REDIS_URL or time.monotonic() < _away_until:
        return own
    try:
        return ask()
    except (redis.RedisError, OSError) as error:
        _away_until = time.monotonic() + PAUSE
        logger.warning("Requests are counted without Redis: %s", type(error).__name__)
        return own


def _count_in_redis(names: Sequence[str], minute: Minute) -> list[int]:
    with _connected().pipeline(transaction=False) as pipe:
        for name in names:
            key = KEY.format(name=name, minute=minute.number)
            pipe.incr(key)
            pipe.expire(key, KEY_LIFETIME)
        return [int(count) for count in pipe.execute()[::2]]


def _read_from_redis(names: Sequence[str], minute: Minute) -> list[int]:
    keys = [KEY.format(name=name, minute=minute.number) for name in names]
    with _connected().pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.get(key)
        return [int(count or 0) for count in pipe.execute()]


def _connected() -> redis.Redis:
    global _client
    with _lock:
        if _client is None or _client[0] != settings.REDIS_URL:
            url = settings.REDIS_URL
            _client = url, open_client(url, timeout=TIMEOUT)
        return _client[1]


def reset() -> None:
    """Forget what this process has counted, and that Redis was away."""
    global _away_until
    _own.clear()
    _away_until = 0.0
