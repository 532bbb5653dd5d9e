"""Tell workers that runs are waiting. The row is the truth; this is the doorbell.

Losing a message here is allowed: a beat rings again for runs that nobody took.
"""

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
# Runs in one message: Celery's own work for a message is then some microseconds a run.
MAX_RUNS_PER_MESSAGE = 500
# The key that is written to find out whether writes work.
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


def ring_workers(run_ids: Sequence[UUID]) -> list[UUID]:
    """Send the runs' ids to the workers; returns those that could not be sent.

    Never blocks for longer than a socket timeout, and never retries.
    """
    return _send_all(DELIVER_TASK, run_ids)


def announce_ends(run_ids: Sequence[UUID]) -> None:
    """Have a worker tell Flower how these runs of long work ended."""
    _send_all(ANNOUNCE_ENDS_TASK, run_ids)


def _send_all(name: str, run_ids: Sequence[UUID]) -> list[UUID]:
    for start in range(0, len(run_ids), MAX_RUNS_PER_MESSAGE):
        try:
            _send(name, run_ids[start : start + MAX_RUNS_PER_MESSAGE])
        except (OperationalError, OSError, redis.RedisError) as error:
            logger.warning("The broker takes no messages: %s", error)
            return list(run_ids[start:])
    return []


def _send(name: str, run_ids: Sequence[UUID]) -> None:
    current_app.send_task(
        name,
        [[run_id.hex for run_id in run_ids]],
        retry=False,
        argsrepr=f"({len(run_ids)} runs)",
        kwargsrepr="{}",
    )


class UnusableBroker(Exception):
    """Why this Redis is of no use to workers, in a sentence."""


class UnusableForNow(UnusableBroker):
    """It may pass without an operator, so that a start need not fail for it."""


def check_usable(url: str, *, timeout: float = 1.0) -> None:
    """Do what beats and workers need: write, to a Redis that forgets nothing.

    Raises Unfit, or redis.RedisError when it does not answer.
    """
    try:
        with connect(url, timeout=timeout) as client:
            policy = client.info("memory")["maxmemory_policy"]
            client.set(TRIAL_KEY, 1, ex=60)
    except redis.ReadOnlyError as error:
        raise UnusableBroker(REPLICA_ERROR) from error
    except redis.OutOfMemoryError as error:
        raise UnusableForNow(MEMORY_ERROR) from error
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise UnusableBroker(COMMAND_ERROR.format(error)) from error
    except redis.ResponseError as error:
        raise UnusableForNow(COMMAND_ERROR.format(error)) from error
    if policy != "noeviction":
        raise UnusableBroker(EVICTION_ERROR.format(policy))


def count_messages(url: str) -> int:
    """How many messages wait for a worker. Raises redis.RedisError."""
    with connect(url, timeout=1) as client:
        return int(client.llen(current_app.conf.task_default_queue))


def parse_run_ids(texts: object) -> Iterator[UUID]:
    """The run ids of a message; what is none is passed over, and said once."""
    strange = 0
    for text in texts if isinstance(texts, list | tuple) else [texts]:
        try:
            yield UUID(hex=text)  # type: ignore[arg-type]  # that is asked here
        except (ValueError, AttributeError, TypeError):
            strange += 1
    if strange:
        logger.warning("A message holds what is no run id, %d times.", strange)
