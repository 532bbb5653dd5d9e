"""How late fire times are when bells go through RabbitMQ, compared with Redis in one run.

It judges nothing; `--log-cli-level=INFO` shows the figures.
"""

from __future__ import annotations

import logging
import statistics
from collections import defaultdict
from collections.abc import Iterator

import pytest

from deploy.ha.rabbitmq_nodes import is_installed
from tests.acceptance.broker_service import BrokerService, SteadyTasks
from tests.acceptance.harness import Harness
from tests.acceptance.rabbitmq import RabbitMQ
from tests.acceptance.tasks import late_seconds
from tests.receiver import Receiver

logger = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not is_installed(),
        reason="RabbitMQ is not installed: `apt install rabbitmq-server`.",
    ),
]

ROUNDS = 2
TASKS = 200
# Seconds from the creation of a task to its fire time. Workers learn of the first kind by
# a bell alone, and of the second one also by their own looks.
AHEAD = {"stored just before": 0.6, "stored before": 3.0}


@pytest.fixture
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    made = RabbitMQ(tmp_path_factory.mktemp("mq"), nodes=3)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_bells_of_rabbitmq_and_of_redis(
    harness: Harness, three_nodes: RabbitMQ, target: Receiver
) -> None:
    settings: dict[str, dict[str, str]] = {
        "redis": {},
        "rabbitmq": three_nodes.settings,
    }
    late: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for broker in settings:
            service = BrokerService(harness, settings[broker])
            with service.running():
                for kind, ahead in AHEAD.items():
                    late[kind, broker] += measure(harness, target, ahead)
    for kind in AHEAD:
        report(kind, late[kind, "redis"], late[kind, "rabbitmq"])
    assert all(len(seconds) >= ROUNDS * TASKS for seconds in late.values())


def measure(harness: Harness, target: Receiver, ahead: float) -> list[float]:
    before = len(target.requests)
    with SteadyTasks(harness, target, ahead=ahead) as tasks:
        tasks.wait_for_more(TASKS)
    target.wait_for(before + tasks.created, timeout=90)
    return late_seconds(target.requests[before:])


def report(kind: str, redis: list[float], rabbitmq: list[float]) -> None:
    for percent in (50, 99):
        through_redis, through_rabbitmq = (
            1000 * statistics.quantiles(seconds, n=100)[percent - 1]
            for seconds in (redis, rabbitmq)
        )
        logger.info(
            "%s: p%d is %.0f ms through Redis and %.0f ms through RabbitMQ, %.2f times",
            kind,
            percent,
            through_redis,
            through_rabbitmq,
            through_rabbitmq / through_redis,
        )
