"""The newest timeline that any process has seen, in Redis.

A process that can reach only a former primary learns so that it is one. Redis is a hint
here as everywhere: without it, each process knows what it has seen itself. Values are
signed, because another client of Redis could otherwise have every primary refused.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import redis
from django.conf import settings
from django.core.signing import BadSignature, Signer

from scheduler_service.redis.connections import open_client

logger = logging.getLogger(__name__)

KEY_PREFIX = "scheduler.timeline."
# Seconds for each step; a session waits for it when it is opened.
TIMEOUT = 0.5


def exchange(system: int, timeline: int) -> int:
    """Store the timeline if it is the newest, and return the newest that is known."""
    if not settings.REDIS_URL:
        return timeline
    try:
        client = _client(settings.REDIS_URL)
        known = _read(client, system)
        if timeline > known:
            name = _name_of(system)
            value = _signer().sign(f"{name}:{timeline}")
            client.set(f"{KEY_PREFIX}{name}", value)
    except (redis.RedisError, OSError) as error:
        logger.debug("Redis does not tell timelines: %s", error)
        return timeline
    return max(timeline, known)


def forget() -> int:
    """Remove what is stored, and return of how many systems. Raises redis.RedisError."""
    if not settings.REDIS_URL:
        return 0
    client = _client(settings.REDIS_URL)
    keys = list(client.scan_iter(f"{KEY_PREFIX}*"))
    return int(client.delete(*keys)) if keys else 0


def _name_of(system: int) -> str:
    """Cells that were split from one have one system, and timelines of their own."""
    cell = f"{settings.SCHEDULER_CELL}." if settings.SCHEDULER_CELL else ""
    return f"{cell}{system}"


def _read(client: redis.Redis, system: int) -> int:
    name = _name_of(system)
    value = client.get(f"{KEY_PREFIX}{name}")
    if not isinstance(value, bytes):
        return 0
    try:
        of_system, _, timeline = (
            _signer().unsign(value.decode("ascii", "replace")).partition(":")
        )
    except BadSignature:
        return 0
    return int(timeline) if of_system == name else 0


def _signer() -> Signer:
    return Signer(salt="scheduler.timelines")


@lru_cache(maxsize=1)
def _client(url: str) -> redis.Redis:
    return open_client(url, timeout=TIMEOUT)
