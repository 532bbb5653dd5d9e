"""Servers of a whole cell die under load, and nobody starts a process again."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import psutil
import pytest
import requests

from deploy.ha import rabbitmq_nodes
from tests.acceptance.ha_stack import HaHarness, HaStack, needs_ha_programs
from tests.acceptance.harness import eventually
from tests.acceptance.tasks import create_task_at, in_seconds, is_all_done
from tests.receiver import Receiver

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.slow, needs_ha_programs, pytest.mark.timeout(900)]
needs_rabbitmq = pytest.mark.skipif(
    not rabbitmq_nodes.is_installed(),
    reason="`apt install rabbitmq-server` to run this.",
)

# Seconds without an acknowledgement; the ttl of Patroni is most of it.
MAX_OUTAGE = 20.0
CLIENTS = 4
# Seconds between the requests of a client, and from a request to the fire time.
PAUSE, AHEAD = 0.15, 4


@pytest.fixture
def harness(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HaHarness]:
    broker = getattr(request, "param", "redis")
    started = HaHarness(tmp_path_factory.mktemp("h"), broker)
    try:
        started.start()
        yield started
    finally:
        started.stop()


class Clients:
    """Create tasks through the API without a pause, and remember what was acknowledged."""

    def __init__(self, harness: HaHarness, target: Receiver) -> None:
        self._harness = harness
        self._target = target
        self._stopping = threading.Event()
        # The path of each acknowledged task, and when.
        self.acknowledged: dict[str, float] = {}
        self._threads = [
            threading.Thread(target=self._create, args=(number,))
            for number in range(CLIENTS)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()

    def _create(self, client: int) -> None:
        number = 0
        with requests.Session() as session:
            session.headers.update(self._harness.api.headers)
            while not self._stopping.wait(PAUSE):
                number += 1
                path = f"/{client}-{number}"
                if self._is_created(session, path):
                    self.acknowledged[path] = time.time()

    def _is_created(self, session: requests.Session, path: str) -> bool:
        task = {
            "task_type": "one_time",
            "url": f"{self._target.url}{path}",
            "run_datetime": in_seconds(AHEAD).isoformat(),
        }
        try:
            url = f"{self._harness.url}/tasks/"
            return session.post(url, json=task, timeout=10).status_code == 201
        except requests.RequestException:
            return False

    def longest_gap(self, since: float) -> float:
        """The most seconds without an acknowledgement since a moment."""
        after = sorted(at for at in list(self.acknowledged.values()) if at > since)
        return max(end - begin for begin, end in pairwise([since, *after]))

    def wait_for_load(self) -> None:
        before = len(self.acknowledged)
        eventually(lambda: len(self.acknowledged) > before + 60, timeout=60)


def ids_by_path(target: Receiver) -> dict[str, set[str]]:
    found = defaultdict(set)
    for request in target.requests:
        found[request.path].add(request.headers["webhook-id"])
    return found


def wait_until_delivered(harness: HaHarness) -> None:
    eventually(lambda: is_all_done(harness), timeout=90, every=0.5)


def kill_leader(stack: HaStack) -> str:
    leader = stack.find_leader()
    stack.kill_node(leader)
    return leader


def kill_broker(stack: HaStack) -> str:
    """Kill the master of Redis, or the node of RabbitMQ that leads the queue."""
    node = "mq1" if "mq1" in stack.facts["broker"] else stack.find_redis_master()
    stack.kill_broker_node(node)
    return node


@pytest.mark.parametrize(
    "harness",
    ["redis", pytest.param("rabbitmq", marks=needs_rabbitmq)],
    indirect=True,
)
def test_a_cell_loses_its_leader_and_its_broker_and_nothing_that_was_acknowledged(
    harness: HaHarness, lone_target: Receiver
) -> None:
    stack = harness.stack
    clients = Clients(harness, lone_target)
    outages: dict[str, float] = {}
    killed: list[str] = []
    with clients.running():
        for kill in (kill_leader, kill_broker):
            clients.wait_for_load()
            killed_at = time.time()
            killed.append(kill(stack))
            clients.wait_for_load()
            outages[killed[-1]] = clients.longest_gap(killed_at)
        eventually(lambda: not stack.is_redis_master(killed[-1]), timeout=90)
        eventually(lambda: harness.read_broker_state() == "ok", timeout=90)
        clients.wait_for_load()
    wait_until_delivered(harness)

    sent = Counter(request.path for request in lone_target.requests)
    logger.info("%d acknowledged; none for %s s", len(clients.acknowledged), outages)
    assert not clients.acknowledged.keys() - sent.keys()
    assert {path: n for path, n in sent.items() if n > 1} == {}
    assert max(outages.values()) < MAX_OUTAGE
    assert harness.ended_parts() == []

    leader, broker_node = killed
    stack.start_node(leader)
    stack.start_node(broker_node)
    eventually(lambda: stack.status_of(leader, "/sync") == 200, timeout=90)
    create_task_at(harness, f"{lone_target.url}/again", in_seconds(1))
    eventually(lambda: "/again" in ids_by_path(lone_target))
    stack.interrupt()


def test_what_an_asynchronous_standby_lacks_is_sent_again_under_the_same_id(
    harness: HaHarness, lone_target: Receiver
) -> None:
    stack = harness.stack
    stack.configure(synchronous_mode=False, maximum_lag_on_failover=2**26)
    leader = stack.find_leader()
    [standby] = stack.facts["nodes"].keys() - {leader}
    eventually(lambda: stack.status_of(standby, "/async") == 200)
    clients = Clients(harness, lone_target)
    with clients.running():
        clients.wait_for_load()
        with lagging(stack, standby):
            time.sleep(AHEAD / 2)
            stack.kill_node(leader)
            killed_at = time.time()
        clients.wait_for_load()
    wait_until_delivered(harness)

    repeated = Counter(request.path for request in lone_target.requests)
    assert max(repeated.values()) > 1
    assert {p: ids for p, ids in ids_by_path(lone_target).items() if len(ids) > 1} == {}
    # Only what was acknowledged in the seconds that the standby lacks may be lost.
    lost = clients.acknowledged.keys() - repeated.keys()
    window = (killed_at - AHEAD / 2 - 1, killed_at + 1)
    assert all(window[0] < clients.acknowledged[path] < window[1] for path in lost)


@contextmanager
def lagging(stack: HaStack, standby: str) -> Iterator[None]:
    """Let a standby receive nothing, and not what is on the way to it either."""
    [receiver] = [
        process
        for process in stack.postmaster(standby).children()
        if "walreceiver" in " ".join(process.cmdline())
    ]
    receiver.suspend()
    try:
        yield
    finally:
        receiver.send_signal(signal.SIGTERM)
        receiver.resume()
        psutil.wait_procs([receiver], timeout=10)
