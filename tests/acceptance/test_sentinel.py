"""Sentinels watch two Redis servers; the master dies, and no part is restarted by hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from accounts.throttling import REFUSALS_KEY
from tests.acceptance.broker_service import BrokerService, SteadyTasks
from tests.acceptance.harness import Harness, eventually
from tests.acceptance.sentinels import Sentinels
from tests.acceptance.tasks import count_requests_by_run
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    made = Sentinels(tmp_path_factory.mktemp("r"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def service(harness: Harness, servers: Sentinels) -> Iterator[BrokerService]:
    made = BrokerService(harness, servers.settings)
    with made.running():
        yield made


def test_every_task_is_sent_once_when_the_master_is_killed(
    harness: Harness, servers: Sentinels, service: BrokerService, target: Receiver
) -> None:
    first, second = servers.ports
    with SteadyTasks(harness, target) as tasks:
        tasks.wait_for_more(20)

        servers.programs.kill(first)
        eventually(lambda: service.read_broker_state() != "ok")
        eventually(lambda: service.read_broker_state() == "ok", timeout=90)

        tasks.wait_for_more(50)
    tasks.wait_for_all()

    assert servers.find_master() == second
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert len(target.requests) == tasks.created
    assert not service.has_stopped()
    with servers.connect_to(second) as master:
        # Workers take bells there, and Flower hears of runs.
        assert master.exists("_kombu.binding.deliver")
        eventually(lambda: master.llen("deliver") == 0)
    last = target.requests[-1].headers["webhook-id"]
    eventually(lambda: last in service.read_flower("/api/tasks?limit=20"))
    assert "deliver" in service.read_flower("/broker")


def test_all_that_uses_redis_follows_the_master(
    harness: Harness, servers: Sentinels, service: BrokerService
) -> None:
    first, second = servers.ports
    servers.programs.kill(first)
    eventually(lambda: servers.find_master() == second, timeout=90)
    eventually(lambda: service.read_broker_state() == "ok", timeout=90)

    wrong = harness.api.get(
        f"{service.url}/tasks/", headers={"Authorization": "Bearer wrong"}, timeout=10
    )

    assert wrong.status_code == 401
    with servers.connect_to(second) as master:
        eventually(lambda: master.hget(REFUSALS_KEY, "token"))
    metrics = service.read_metrics()
    assert 'scheduler_refused_total{credential="token"} 1.0' in metrics
    assert "scheduler_broker_up 1.0" in metrics


def test_a_master_that_comes_back_as_a_replica_is_left_alone(
    servers: Sentinels, service: BrokerService
) -> None:
    first, second = servers.ports
    # Its clients see no lost connection, only silence, and then a replica.
    servers.programs.running[first].send_signal(signal.SIGSTOP)
    eventually(lambda: servers.find_master() == second, timeout=90)
    servers.programs.running[first].send_signal(signal.SIGCONT)

    with servers.connect_to(first) as former:
        eventually(lambda: former.info("replication")["role"] == "slave")
    eventually(lambda: service.read_broker_state() == "ok", timeout=90)
    assert not service.has_stopped()
