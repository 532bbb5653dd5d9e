"""RabbitMQ is the broker, and there is no Redis; a node dies, and nobody restarts a part."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Exchange, Producer

from deploy.ha.rabbitmq_nodes import is_installed
from tests.acceptance.broker_service import BrokerService, SteadyTasks
from tests.acceptance.harness import Harness, eventually
from tests.acceptance.rabbitmq import RabbitMQ
from tests.acceptance.tasks import count_requests_by_run, create_task_at, in_seconds
from tests.broker_messages import DELIVER_TASK, QUEUE, build_fire_message
from tests.receiver import Receiver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not is_installed(),
        reason="RabbitMQ is not installed: `apt install rabbitmq-server`.",
    ),
]


def make_nodes(
    tmp_path_factory: pytest.TempPathFactory, count: int
) -> Iterator[RabbitMQ]:
    made = RabbitMQ(tmp_path_factory.mktemp("mq"), nodes=count)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    yield from make_nodes(tmp_path_factory, 1)


@pytest.fixture
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    yield from make_nodes(tmp_path_factory, 3)


def make_service(harness: Harness, nodes: RabbitMQ) -> BrokerService:
    # The harness has a Redis, which the service must not need.
    return BrokerService(harness, nodes.settings)


def assert_each_was_sent_once(tasks: SteadyTasks, target: Receiver) -> None:
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert len(target.requests) == tasks.created


def assert_flower_shows_runs(
    harness: Harness, service: BrokerService, target: Receiver
) -> None:
    def shows_a_run() -> bool:
        # Flower waits longer and longer before it connects again, so runs must go on.
        create_task_at(harness, f"{target.url}/flower", in_seconds(1))
        target.wait_for(len(target.requests) + 1)
        shown = service.read_flower("/api/tasks?limit=20")
        # The event of the last one may still be on its way.
        return any(
            request.headers["webhook-id"] in shown
            for request in target.requests
            if request.path == "/flower"
        )

    eventually(shows_a_run, timeout=120, every=1)
    assert QUEUE in service.read_flower("/broker")


def test_every_task_is_sent_once_when_the_only_node_is_killed(
    harness: Harness, one_node: RabbitMQ, target: Receiver
) -> None:
    service = make_service(harness, one_node)
    with service.running():
        with SteadyTasks(harness, target) as tasks:
            tasks.wait_for_more(20)

            one_node.kill("mq1")
            eventually(lambda: service.read_broker_state() == "unreachable")
            tasks.wait_for_more(20)
            one_node.start_node("mq1")
            eventually(lambda: service.read_broker_state() == "ok", timeout=120)

            tasks.wait_for_more(50)
        tasks.wait_for_all()

        assert_each_was_sent_once(tasks, target)
        assert not service.has_stopped()
        eventually(lambda: one_node.count_consumers("mq1", QUEUE) == 2)
        assert_flower_shows_runs(harness, service, target)
        metrics = service.read_metrics()
        assert "scheduler_broker_up 1.0" in metrics
        assert "scheduler_refused_total" not in metrics


def test_every_task_is_sent_once_when_a_node_of_three_is_killed(
    harness: Harness, three_nodes: RabbitMQ, target: Receiver
) -> None:
    service = make_service(harness, three_nodes)
    with service.running():
        with SteadyTasks(harness, target) as tasks:
            tasks.wait_for_more(20)

            # The first one has the connections of all, and leads the queue.
            three_nodes.kill("mq1")
            tasks.wait_for_more(50)
            eventually(lambda: service.read_broker_state() == "ok", timeout=60)
            tasks.wait_for_more(50)
        tasks.wait_for_all()

        # Workers take the bells from the new leader. It still counts consumers of the
        # dead node, so their number says nothing.
        eventually(lambda: "scheduler_broker_depth 0.0" in service.read_metrics())
        assert_each_was_sent_once(tasks, target)
        assert not service.has_stopped()
        assert_flower_shows_runs(harness, service, target)


def test_a_frozen_or_full_node_stops_no_delivery(
    harness: Harness, one_node: RabbitMQ, target: Receiver
) -> None:
    service = make_service(harness, one_node)
    with service.running():
        with SteadyTasks(harness, target) as tasks:
            tasks.wait_for_more(5)

            one_node.node("mq1").send_signal(signal.SIGSTOP)
            eventually(lambda: service.read_broker_state() == "unreachable", timeout=60)
            tasks.wait_for_more(20)
            one_node.node("mq1").send_signal(signal.SIGCONT)
            eventually(lambda: service.read_broker_state() == "ok", timeout=60)

            one_node.control("set_vm_memory_high_watermark", "absolute", "1MB")
            eventually(lambda: service.read_broker_state() == "unfit", timeout=60)
            tasks.wait_for_more(20)
            one_node.control("set_vm_memory_high_watermark", "0.4")
            eventually(lambda: service.read_broker_state() == "ok", timeout=60)

            tasks.wait_for_more(20)
        tasks.wait_for_all()
        assert not service.has_stopped()
        assert_each_was_sent_once(tasks, target)


def test_a_queue_of_another_kind_is_named_and_ends_no_beat(
    harness: Harness, one_node: RabbitMQ, target: Receiver
) -> None:
    service = make_service(harness, one_node)
    with service.running():
        one_node.control("delete_queue", QUEUE)
        with Connection(one_node.url) as connection:
            # Whoever comes first decides; workers declare it again when they lose it.
            eventually(lambda: declare_classic(connection))
        eventually(lambda: service.read_broker_state() == "unfit")
        create_task_at(harness, f"{target.url}/x", in_seconds(2))
        target.wait_for(1)
        assert not service.has_stopped()


def declare_classic(connection: Connection) -> bool:
    channel: Any = connection.default_channel
    try:
        channel.queue_delete(QUEUE)
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
    except connection.channel_errors:
        connection.collect()
        return False
    return True


POISON = (
    (b"", "application/json"),
    (b"{", "application/json"),
    (b"\xff\xfe", "application/json"),
    (b"garbage", "application/x-python-serialize"),
    (b"[]", "no/such-type"),
)


def test_no_message_ends_a_worker_or_fires_a_task(
    harness: Harness, one_node: RabbitMQ, target: Receiver
) -> None:
    service = make_service(harness, one_node)
    with service.running():
        paused = create_task_at(harness, f"{target.url}/paused", in_seconds(600))
        harness.api.post(f"{harness.url}/tasks/{paused}/pause/", timeout=5)
        with Connection(one_node.url) as connection:
            send_poison(connection)
            send_raw(connection, build_fire_message(paused))
        stranger = Celery("stranger", broker=one_node.url, set_as_current=False)
        stranger.control.shutdown()
        stranger.control.rate_limit(DELIVER_TASK, "1/h")
        stranger.close()

        create_task_at(harness, f"{target.url}/hook", in_seconds(1))
        requests = target.wait_for(1)
        eventually(lambda: "scheduler_broker_depth 0.0" in service.read_metrics())

        assert [each.path for each in requests] == ["/hook"]
        assert not service.has_stopped()


def send_poison(connection: Connection) -> None:
    for body, content_type in POISON:
        for headers in ({}, {"task": DELIVER_TASK, "id": "1"}, {"task": 7}):
            producer = Producer(connection.default_channel, Exchange(""))
            producer.publish(
                body,
                routing_key=QUEUE,
                content_type=content_type,
                content_encoding="utf-8",
                headers=headers,
            )


def send_raw(connection: Connection, body: str) -> None:
    producer = Producer(connection.default_channel, Exchange(""))
    producer.publish(
        body,
        routing_key=QUEUE,
        content_type="application/json",
        content_encoding="utf-8",
    )
