"""Redis as the broker: whether it is fit, and how many messages it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from celery import current_app

from scheduler_service.redis.connections import connect
from tasks_api.messaging.errors import BrokerAway, UnusableBroker, UnusableForNow

# The key that check_usable() writes.
TRIAL_KEY = "scheduler.trial"
REPLICA_ERROR = (
    "Redis is a read-only replica, which takes no messages: the URL must name the "
    "master, or Sentinels that know it."
)
MEMORY_ERROR = "Redis is full, and takes no messages: raise its maxmemory, or empty what else is in it."
COMMAND_ERROR = "Redis refuses what this service needs: {}"
EVICTION_ERROR = (
    "Redis has maxmemory-policy {}, which silently drops messages when its memory is "
    "full. Set it to noeviction."
)


def check_usable(url: str, *, timeout: float) -> None:
    """Check that Redis accepts writes and evicts no keys.

    Raises UnusableBroker or BrokerAway.
    """
    with _named_errors(), connect(url, timeout=timeout) as client:
        policy = client.info("memory")["maxmemory_policy"]
        client.set(TRIAL_KEY, 1, ex=60)
    if policy != "noeviction":
        raise UnusableBroker(EVICTION_ERROR.format(policy))


def count_messages(url: str, *, timeout: float) -> int:
    """Return how many messages wait for a worker. Raises BrokerAway."""
    try:
        with connect(url, timeout=timeout) as client:
            return int(client.llen(current_app.conf.task_default_queue))
    except (redis.RedisError, OSError) as error:
        raise BrokerAway(str(error)) from error


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except redis.ReadOnlyError as error:
        raise UnusableForNow(REPLICA_ERROR) from error
    except redis.OutOfMemoryError as error:
        raise UnusableForNow(MEMORY_ERROR) from error
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise UnusableBroker(COMMAND_ERROR.format(error)) from error
    except redis.ResponseError as error:
        raise UnusableForNow(COMMAND_ERROR.format(error)) from error
    except (redis.RedisError, OSError) as error:
        raise BrokerAway(str(error)) from error
