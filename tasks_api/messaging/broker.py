"""Ring workers: bells are messages without contents, that make a worker look."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from uuid import UUID

from celery import current_app

from scheduler_service.brokers.urls import is_rabbitmq
from tasks_api.messaging import rabbitmq, redis_broker
from tasks_api.messaging.errors import SEND_ERRORS
from tasks_api.messaging.producers import acquire_producer

logger = logging.getLogger(__name__)

DELIVER_TASK = "tasks_api.tasks.deliver"
ANNOUNCE_ENDS_TASK = "tasks_api.tasks.tell_ends"
MAX_RUNS_PER_MESSAGE = 500
COUNT_TIMEOUT = 1.0


def ring(bells: int = 1) -> bool:
    """Make workers look for what is due, each bell one of them; return if all were rung.

    A bell may be lost, doubled or late: workers look by themselves every second, too. The
    call never blocks for longer than the timeouts of the broker, and never retries.
    """
    try:
        for _ in range(bells):
            _send(DELIVER_TASK)
    except SEND_ERRORS as error:
        logger.warning("The broker takes no messages: %s", error)
        return False
    return True


def announce_ends(run_ids: Sequence[UUID]) -> None:
    """Ask a worker to tell Flower how these runs ended while no worker held them."""
    for start in range(0, len(run_ids), MAX_RUNS_PER_MESSAGE):
        part = run_ids[start : start + MAX_RUNS_PER_MESSAGE]
        try:
            _send(ANNOUNCE_ENDS_TASK, [run_id.hex for run_id in part])
        except SEND_ERRORS as error:
            logger.warning("The broker takes no messages: %s", error)
            return


def _send(name: str, *args: list[str]) -> None:
    with acquire_producer(current_app) as producer:
        current_app.send_task(
            name,
            args,
            producer=producer,
            retry=False,
            argsrepr=f"({sum(map(len, args))} runs)" if args else "()",
            kwargsrepr="{}",
        )


def check_usable(url: str, *, timeout: float = 1.0) -> None:
    """Check that a broker takes messages, and keeps those that it took.

    Raises UnusableBroker, or BrokerAway if it does not answer.
    """
    if is_rabbitmq(url):
        rabbitmq.check_usable(url, timeout=timeout)
    else:
        redis_broker.check_usable(url, timeout=timeout)


def count_messages(url: str) -> int:
    """Return how many messages wait for a worker. Raises BrokerAway."""
    if is_rabbitmq(url):
        return rabbitmq.count_messages(url)
    return redis_broker.count_messages(url, timeout=COUNT_TIMEOUT)


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
