"""What Prometheus is told: by web of the whole service, by each worker of its own work."""

from __future__ import annotations

import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, Release, RetryAfter, Succeed, Verdict
from tasks_api.domain.schedules import Interval, Once
from tasks_api.messaging import broker
from tasks_api.metrics import registry
from tasks_api.models import Run
from tasks_api.monitoring import exporter, heartbeats
from tasks_api.moving import freezing
from tasks_api.scheduler import rescue
from tasks_api.services import pausing
from tasks_api.worker import run_counters
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.acceptance.harness import eventually, free_port
from tests.conftest import MakeTask, tenant_of
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    store_task,
    take_due,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[3]
Samples = dict[str, float]


def samples(text: str) -> Samples:
    """Values by name and labels, such as `scheduler_runs_total{state=failed}`."""
    return {
        sample.name
        + (
            "{" + ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())) + "}"
            if sample.labels
            else ""
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted() -> Samples:
    return samples(registry.exposition().decode())


def surveyed(client: Client) -> Samples:
    return samples(client.get("/metrics").content.decode())


@pytest.fixture
def before() -> Samples:
    """What was counted already; the counters of a process never go back."""
    return counted()


def gained(before: Samples) -> Samples:
    after = counted()
    changed = {name for name in after if name.startswith("scheduler_")}
    return {
        name: after[name] - before.get(name, 0.0)
        for name in changed
        if after[name] != before.get(name, 0.0)
    }


def finished(
    verdict: Verdict, *, late: float = 0.0, number: int = 1, status: int | None = 200
) -> AttemptResult:
    due = timezone.now()
    run = ClaimedRun(uuid4(), uuid4(), 1, due, number, "POST", "http://x/", "")
    outcome = HttpResult(status, "", 40)
    return AttemptResult(run, outcome, verdict, due + timedelta(seconds=late))


def test_a_batch_is_counted_by_end_answer_and_lateness(before: Samples) -> None:
    run_counters.count_results(
        [
            finished(Succeed(), late=0.004),
            finished(Succeed(), late=0.3),
            finished(GiveUp("HTTP 500"), late=0.3, status=500),
            finished(GiveUp("timeout"), late=90.0, status=None),
            # The second attempt is as late as it was told to be.
            finished(RetryAfter("HTTP 503", 9.0), late=9.0, number=2, status=503),
            finished(Release()),
        ]
    )

    found = gained(before)
    assert found["scheduler_runs_total{state=succeeded}"] == 2
    assert found["scheduler_runs_total{state=failed}"] == 2
    assert found["scheduler_lateness_seconds_bucket{le=0.005}"] == 1
    assert found["scheduler_lateness_seconds_bucket{le=0.5}"] == 3
    assert found["scheduler_lateness_seconds_bucket{le=60}"] == 3
    assert found["scheduler_lateness_seconds_count"] == 4
    assert found["scheduler_lateness_seconds_sum"] == pytest.approx(90.604)
    assert found["scheduler_attempt_seconds_count{outcome=2xx}"] == 2
    assert found["scheduler_attempt_seconds_count{outcome=5xx}"] == 2
    assert found["scheduler_attempt_seconds_count{outcome=none}"] == 1
    assert found["scheduler_doubles_prevented_total{by=lease}"] == 1


def test_a_worker_counts_the_answers_to_what_another_one_has_taken_since(
    user: User, receiver: Receiver, engine: Engine, before: Samples
) -> None:
    receiver.answer("/slow", delay=1)
    store_task(user, Once(timezone.now()), receiver.url + "/slow")
    engine.ring()
    receiver.wait_for(1)
    Run.objects.update(lease=uuid4())

    counter = "scheduler_doubles_prevented_total{by=record}"
    eventually(lambda: counter in gained(before))

    assert gained(before)[counter] == 1
    assert Run.objects.get().state == "running"


def test_the_runs_that_are_made_and_those_that_are_rescued_are_counted(
    user: User, before: Samples
) -> None:
    start = timezone.now() - 2.5 * HOUR
    store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    store_task(user, Once(timezone.now()))
    lost, _ = take_due()
    Run.objects.filter(pk=lost.run_id).update(wake_at=timezone.now() - SECOND)

    rescue.rescue_runs()

    found = gained(before)
    assert found["scheduler_runs_made_total"] == 4
    assert found["scheduler_runs_total{state=missed}"] == 2
    assert found["scheduler_lease_lost_total"] == 1


def test_web_tells_what_waits(user: User, client: Client) -> None:
    for _ in range(3):
        store_task(user, Once(timezone.now() - 30 * SECOND))
    held = store_task(user, Once(timezone.now() - 90 * SECOND))
    store_task(user, Once(timezone.now() + HOUR))
    sent, *_ = [run for run in take_due() if run.task_id != held.pk]
    Run.objects.exclude(pk=sent.run_id).update(
        state="pending", lease=None, wake_at=timezone.now()
    )
    store_task(user, Once(timezone.now() - 10 * SECOND))
    pausing.pause_tasks(user, [str(held.pk)], now=timezone.now())
    heartbeats.record_heartbeat("beat", "b")
    broker.ring()

    found = surveyed(client)

    # Two runs that wait, and a task that no worker has taken yet.
    assert found["scheduler_due"] == 3
    assert 30 <= found["scheduler_oldest_due_seconds"] < 60
    assert found["scheduler_runs_waiting{state=pending}"] == 3
    assert found["scheduler_runs_waiting{state=running}"] == 1
    assert found["scheduler_runs_waiting{state=retrying}"] == 0
    assert found["scheduler_processes_alive{kind=beat}"] == 1
    assert found["scheduler_processes_alive{kind=worker}"] == 0
    assert found["scheduler_broker_depth"] >= 1
    assert found["scheduler_database_up"] == found["scheduler_broker_up"] == 1


def test_nothing_waits_in_an_empty_service(client: Client) -> None:
    found = surveyed(client)

    assert (found["scheduler_due"], found["scheduler_oldest_due_seconds"]) == (0, 0)


def test_web_tells_of_tenants_that_are_frozen(user: User, client: Client) -> None:
    tenant = tenant_of(user)
    freezing.freeze(tenant, "elsewhere", uuid4())

    found = surveyed(client)

    assert found["scheduler_frozen_tenants"] == 1
    assert found["scheduler_oldest_frozen_seconds"] > 0
    # Its rows are waste here, and it is frozen for good.
    freezing.mark_as_moved(tenant)
    found = surveyed(client)
    assert found["scheduler_frozen_tenants"] == 0
    assert found["scheduler_oldest_frozen_seconds"] == 0


def test_a_server_that_is_away_is_told_of(
    client: Client, settings: LazySettings
) -> None:
    settings.CELERY_BROKER_URL = settings.REDIS_URL = "redis://127.0.0.1:9/0"
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_api_run RENAME TO gone")

    found = surveyed(client)

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE gone RENAME TO tasks_api_run")
    of_servers = {
        name: value
        for name, value in found.items()
        if not name.startswith(("scheduler_time_zones", "scheduler_version"))
    }
    assert of_servers == {"scheduler_database_up": 0, "scheduler_broker_up": 0}


def test_no_metric_names_a_tenant_or_a_target(
    user: User, client: Client, make_task: MakeTask
) -> None:
    make_task(url="http://secret.example/path")

    text = client.get("/metrics").content.decode() + registry.exposition().decode()

    assert "secret.example" not in text
    assert "Alpha" not in text
    assert set(re.findall(r"(\w+)=\"", text)) <= {
        "state",
        "outcome",
        "le",
        "because",
        "by",
        "kind",
        "credential",
        "version",
        "source",
    }


@pytest.mark.parametrize(
    ("development", "address", "status"),
    [(True, "127.0.0.1", 200), (True, "192.0.2.1", 401), (False, "127.0.0.1", 401)],
)
def test_without_a_token_only_development_shows_metrics_on_loopback(
    client: Client,
    settings: LazySettings,
    development: bool,
    address: str,
    status: int,
) -> None:
    settings.DEVELOPMENT = development

    answer = client.get("/metrics", REMOTE_ADDR=address)

    assert answer.status_code == status
    assert answer.has_header("WWW-Authenticate") == (status == 401)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Bearer other", 401),
        ("Bearer ünsafe", 401),
        ("bearer  t0ken", 200),
        ("Bearer t0ken", 200),
    ],
)
def test_the_token_opens_the_metrics_of_web_and_of_a_worker(
    client: Client, settings: LazySettings, header: str, status: int
) -> None:
    settings.METRICS_TOKEN = "t0ken"

    answer = client.get("/metrics", REMOTE_ADDR="192.0.2.1", HTTP_AUTHORIZATION=header)

    assert answer.status_code == status
    assert exporter.is_allowed(header) == (status == 200)


@pytest.fixture
def port(settings: LazySettings) -> int:
    number = free_port()
    settings.METRICS_PORT = number
    return number


@pytest.fixture
def health() -> list[str]:
    """What is wrong with the process; a test may say so."""
    return []


@pytest.fixture
def serving(port: int, health: list[str]) -> Iterator[str]:
    server = exporter.serve("worker", lambda: "".join(health))
    assert server is not None
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_worker_serves_its_metrics(serving: str) -> None:
    status, text = get(f"{serving}/metrics")

    assert status == 200
    assert "scheduler_lateness_seconds" in text
    assert "process_cpu_seconds_total" in text
    assert get(f"{serving}/other")[0] == 404


def test_a_worker_says_whether_it_is_well(serving: str, health: list[str]) -> None:
    assert get(f"{serving}/healthz") == (200, '{"kind": "worker", "status": "ok"}')

    health.append("It sleeps.")

    status, text = get(f"{serving}/healthz")
    assert (status, "It sleeps." in text) == (503, True)


def test_a_second_process_takes_the_next_port(serving: str, port: int) -> None:
    second = exporter.serve("beat", lambda: "")

    assert second is not None
    assert port < second.server_port < port + exporter.MAX_PORTS_TRIED
    second.shutdown()
    second.server_close()


def test_connections_that_say_nothing_take_few_threads_and_keep_nobody_out(
    serving: str, port: int
) -> None:
    before = threading.active_count()
    with ExitStack() as stack:
        for number in range(200):
            address = ("127.0.0.1", port)
            stack.enter_context(socket.create_connection(address, timeout=30))
            # Connections are taken in their order, so all that came before have been.
            # Of more than a few the kernel would take the next one a second later.
            if number % 4 == 0:
                get(f"{serving}/healthz")
        assert get(f"{serving}/metrics")[0] == 200

        bound = before + exporter.MAX_CONNECTIONS + 1
        eventually(lambda: threading.active_count() <= bound)

    eventually(lambda: threading.active_count() <= before)


def test_without_a_port_nothing_is_served(settings: LazySettings) -> None:
    settings.METRICS_PORT = 0

    assert exporter.serve("worker", lambda: "") is None
