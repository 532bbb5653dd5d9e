"""Connect to Redis, for each form that REDIS_URL may have.

Celery connects by itself; see scheduler_service/brokers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

SENTINEL = "sentinel"
SCHEMES = ("redis", "rediss", "redis+socket", SENTINEL)
SENTINEL_PORT = 26379


FORMS = "redis://host:6379/0, rediss://… or sentinel://host:26379/0"


def find_url_problem(url: str, master: str, variable: str = "REDIS_URL") -> str:
    """A sentence about what is wrong with the URL of a Redis, without its password."""
    for each in url.split(";"):
        try:
            parts = urlsplit(each)
            _ = parts.port
        except ValueError as error:
            return f"{variable} cannot be read: {error}."
        if parts.scheme not in SCHEMES:
            return (
                f"{variable} begins with {parts.scheme or 'nothing'}://, and must name "
                f"a Redis: {FORMS}. Only CELERY_BROKER_URL may name RabbitMQ, as "
                "amqp://user:password@host//."
            )
    if is_sentinel(url) and not master:
        return (
            f"{variable} names Sentinels: set REDIS_SENTINEL_MASTER to the name of the "
            "master that they watch."
        )
    return ""


def timeout_options(timeout: float) -> dict[str, Any]:
    """Options for one try within these seconds; redis-py would retry."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
    }


class MaskedPassword(str):
    """A password that Celery does not show when it prints its settings.

    Celery masks settings by their names, and not those inside another setting.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr("********")


def is_sentinel(url: str) -> bool:
    return url.startswith(f"{SENTINEL}://")


def redis_client_url(url: str) -> str:
    """The same URL as redis-py writes it."""
    if not url.startswith("redis+socket://"):
        return url
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.netloc}{parts.path}?db={database.lstrip('/')}"


def open_client(url: str, *, timeout: float) -> redis.Redis:
    """A client of the Redis that takes writes, for the life of a process."""
    limits = timeout_options(timeout)
    if not is_sentinel(url):
        return redis.Redis.from_url(redis_client_url(url), **limits)
    master = settings.REDIS_SENTINEL_MASTER
    client: redis.Redis = _sentinels(url, limits).master_for(master)  # type: ignore[no-untyped-call]  # so in redis-py
    return client


@contextmanager
def connect(url: str, *, timeout: float) -> Iterator[redis.Redis]:
    """A client of the Redis that takes writes, found through Sentinels if the URL names any."""
    limits = timeout_options(timeout)
    if not is_sentinel(url):
        with redis.Redis.from_url(redis_client_url(url), **limits) as client:
            yield client
        return
    sentinels = _sentinels(url, limits)
    try:
        with sentinels.master_for(settings.REDIS_SENTINEL_MASTER) as client:  # type: ignore[no-untyped-call]  # so in redis-py
            yield client
    finally:
        for each in sentinels.sentinels:
            each.close()


def _sentinels(url: str, limits: dict[str, Any]) -> Sentinel:
    parts = [urlsplit(each) for each in url.split(";")]
    first = parts[0]
    return Sentinel(  # type: ignore[no-untyped-call]  # so in redis-py
        [(each.hostname, each.port or SENTINEL_PORT) for each in parts],
        sentinel_kwargs=limits | {"password": settings.REDIS_SENTINEL_PASSWORD or None},
        db=int(first.path.strip("/") or 0),
        username=unquote(first.username or "") or None,
        password=unquote(first.password or "") or None,
        **limits,
    )
