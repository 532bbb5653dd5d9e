"""Ring workers: bells are messages in Redis, without contents, that make a worker look."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from uuid import UUID

import redis
from celery import current_app
from kombu.exceptions import OperationalError

from scheduler_service.redis.connections import connect

logger = logging.getLogger(__name__)

DELIVER_TASK = "tasks_api.tasks.deliver"
ANNOUNCE_ENDS_TASK = "tasks_api.tasks.tell_ends"
MAX_RUNS_PER_MESSAGE = 500
# The key that check_usable() writes.
TRIAL_KEY = "scheduler.trial"
REPLICA_ERROR = (
    "Redis is a read-only replica, which takes no messages: REDIS_URL must name the "
    "master, or Sentinels that know it."
)
MEMORY_ERROR = "Redis is full, and takes no messages: raise its maxmemory, or empty what else is in it."
COMMAND_ERROR = "Redis refuses what this service needs: {}"
EVICTION_ERROR = (
    "Redis has maxmemory-policy {}, which silently drops messages when its memory is "
    "full. Set it to noeviction."
)


def ring(bells: int = 1) -> bool:
    """Make workers look for what is due, each bell one of them; return if all were rung.

    A bell may be lost, doubled or late: workers look by themselves every second, too. The
    call never blocks for longer than a socket timeout, and never retries.
    """
    try:
        for _ in range(bells):
            _send(DELIVER_TASK)
    except (OperationalError, OSError, redis.RedisError) as error:
        logger.warning("The broker takes no messages: %s", error)
        return False
    return True


def announce_ends(run_ids: Sequence[UUID]) -> None:
    """Ask a worker to tell Flower how these runs ended while no worker held them."""
    for start in range(0, len(run_ids), MAX_RUNS_PER_MESSAGE):
        part = run_ids[start : start + MAX_RUNS_PER_MESSAGE]
        try:
            _send(ANNOUNCE_ENDS_TASK, [run_id.hex for run_id in part])
        except (OperationalError, OSError, redis.RedisError) as error:
            logger.warning("The broker takes no messages: %s", error)
            return


def _send(name: str, *args: list[str]) -> None:
    current_app.send_task(
        name,
        args,
        retry=False,
        argsrepr=f"({sum(map(len, args))} runs)" if args else "()",
        kwargsrepr="{}",
    )


class UnusableBroker(Exception):
    """Workers cannot use this Redis; the text says why."""


class UnusableForNow(UnusableBroker):
    """The trouble may pass without an operator, so a start need not fail for it."""


def check_usable(url: str, *, timeout: float = 1.0) -> None:
    """Check that Redis accepts writes and evicts no keys.

    Raises UnusableBroker, or redis.RedisError if Redis does not answer.
    """
    try:
        with connect(url, timeout=timeout) as client:
            policy = client.info("memory")["maxmemory_policy"]
            client.set(TRIAL_KEY, 1, ex=60)
    except redis.ReadOnlyError as error:
        raise UnusableForNow(REPLICA_ERROR) from error
    except redis.OutOfMemoryError as error:
        raise UnusableForNow(MEMORY_ERROR) from error
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise UnusableBroker(COMMAND_ERROR.format(error)) from error
    except redis.ResponseError as error:
        raise UnusableForNow(COMMAND_ERROR.format(error)) from error
    if policy != "noeviction":
        raise UnusableBroker(EVICTION_ERROR.format(policy))


def count_messages(url: str) -> int:
    """Return how many messages wait for a worker. Raises redis.RedisError."""
    with connect(url, timeout=1) as client:
        return int(client.llen(current_app.conf.task_default_queue))


def parse_run_ids(texts: object) -> Iterator[UUID]:
    """Yield the run ids of a message; other values are skipped, and logged once."""
    strange = 0
    for text in texts if isinstance(texts, list | tuple) else [texts]:
        try:
            yield UUID(hex=text)  # type: ignore[arg-type]  # that is asked here
        except (ValueError, AttributeError, TypeError):
            strange += 1
    if strange:
        logger.warning("A message holds what is no run id, %d times.", strange)
