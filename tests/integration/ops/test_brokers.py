"""A Redis is fit when workers can write to it; what is wrong with it is a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import redis
from django.conf import LazySettings
from django.test import Client

from scheduler_service.brokers import urls
from scheduler_service.local import redis_server
from scheduler_service.redis import connections
from scheduler_service.redis.connections import redis_client_url
from tasks_api import tasks
from tasks_api.api.ops import health
from tasks_api.messaging import redis_broker
from tasks_api.monitoring.watchdog import WorkerVitals, WorkerWatchdog
from tests.acceptance.harness import ROOT

MASTER = "mymaster"


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, settings: LazySettings
) -> Iterator[redis.Redis]:
    """A Redis of our own, to be spoilt, which the settings name."""
    made = redis_server.Redis(tmp_path_factory.mktemp("r"))
    process = made.start()
    made.wait_until_ready(process)
    settings.CELERY_BROKER_URL = made.url
    with redis.Redis.from_url(redis_client_url(made.url)) as client:
        yield client
    process.send_signal(made.stop_signal)
    process.wait(timeout=30)


def make_replica(server: redis.Redis) -> None:
    server.replicaof("127.0.0.1", 9)


def make_full(server: redis.Redis) -> None:
    server.config_set("maxmemory", 1)


def make_forgetful(server: redis.Redis) -> None:
    server.config_set("maxmemory-policy", "allkeys-lru")


def make_closed(server: redis.Redis) -> None:
    server.config_set("requirepass", "secret")


SPOILT = [
    (make_replica, "Redis is a read-only replica"),
    (make_full, "Redis is full, and takes no messages"),
    (make_forgetful, "maxmemory-policy allkeys-lru"),
    (make_closed, "Redis refuses what this service needs: "),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("spoil", "sentence"), SPOILT)
def test_readiness_says_why_a_redis_is_unfit(
    server: redis.Redis,
    client: Client,
    spoil: Callable[[redis.Redis], None],
    sentence: str,
) -> None:
    assert client.get("/readyz").json()["broker"] == "ok"
    spoil(server)
    health.readiness.reset()

    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["broker"]) == ("degraded", "unfit")
    assert sentence in answer.json()["reason"]
    assert "scheduler_broker_up 0" in client.get("/metrics").content.decode()


@pytest.mark.parametrize(
    "spoil", [make_forgetful, make_closed], ids=lambda f: f.__name__
)
def test_a_worker_does_not_start_on_a_redis_that_stays_unfit(
    server: redis.Redis, spoil: Callable[[redis.Redis], None]
) -> None:
    spoil(server)

    with pytest.raises(SystemExit, match="Redis"):
        tasks._check_broker()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (make_full, redis_broker.MEMORY_ERROR),
        (make_replica, redis_broker.REPLICA_ERROR),
    ],
)
def test_a_worker_starts_without_bells_and_says_why(
    server: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[redis.Redis], None],
    sentence: str,
) -> None:
    spoil(server)

    tasks._check_broker()

    assert sentence in caplog.messages


def test_a_worker_answers_its_probes(server: redis.Redis) -> None:
    idle = WorkerVitals(0, 0.0, 0.0, 0.0, 1e12, 1e12)
    watch = WorkerWatchdog(lambda: idle)
    make_full(server)

    watch.check()
    assert (watch.problem(), watch.remark()) == ("", redis_broker.MEMORY_ERROR)

    server.config_set("maxmemory", 0)
    watch.check()
    assert watch.remark() == ""


@pytest.mark.parametrize(
    ("url", "master", "expected"),
    [
        ("redis://h:6379/0", "", ""),
        ("rediss://:p@h:6380/2", "", ""),
        ("redis+socket:///run/r.sock?virtual_host=1", "", ""),
        ("sentinel://a:26379/0;sentinel://b:26379", MASTER, ""),
        ("sentinel://a:26379/0", "", "set REDIS_SENTINEL_MASTER"),
        ("amqp://u:p@h//", "", "Only CELERY_BROKER_URL may name RabbitMQ"),
        ("valkey://h", "", "begins with valkey://"),
        ("h:6379", "", "begins with h://"),
        ("", "", "begins with nothing://"),
        ("sentinel://a:1;amqp://b:1", MASTER, "begins with amqp://"),
        ("redis://h:port/0", "", "cannot be read"),
    ],
)
def test_a_url_of_another_kind_is_refused(url: str, master: str, expected: str) -> None:
    found = connections.find_url_problem(url, master)

    assert expected in found
    assert bool(found) == bool(expected)
    assert "u:p@" not in found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://u:p@h//", ""),
        ("amqps://u:p@a:5671/cell;amqps://u:p@b:5671/cell", ""),
        ("redis://h:6379/0", ""),
        ("sentinel://a:26379/0", "CELERY_BROKER_URL names Sentinels"),
        ("amqp://u:p@a//;redis://u:p@b", "and so must each of its nodes"),
        ("amqp://u:p@a:port//", "CELERY_BROKER_URL cannot be read"),
        ("kafka://u:p@h", "CELERY_BROKER_URL begins with kafka://"),
    ],
)
def test_a_broker_of_another_kind_is_refused(url: str, expected: str) -> None:
    found = urls.find_url_problem(url, "")

    assert expected in found
    assert bool(found) == bool(expected)
    assert "u:p@" not in found


@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "check"),
        ("-m", "scheduler_service.web"),
        ("-m", "celery", "-A", "scheduler_service", "worker"),
        ("-m", "celery", "-A", "scheduler_service", "beat"),
    ],
    ids=lambda command: command[-1],
)
def test_every_process_ends_with_a_sentence_about_its_settings(
    command: tuple[str, ...],
) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"REDIS_URL": "amqp://user:secret@rabbit//"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "REDIS_URL begins with amqp://, and must name a Redis" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
