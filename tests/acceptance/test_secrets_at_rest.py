"""What a tenant gives in confidence is in no file of a running service, nor in its answers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
import requests

from scheduler_service.embedded import redis_client_url
from tests.acceptance.harness import Harness, eventually, free_port
from tests.acceptance.test_processes import soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

MARK = "m4rk3r-0f-4-s3cr3t"


@pytest.fixture
def running(harness: Harness) -> Iterator[Harness]:
    processes = [
        harness.start_part(part, LOG_LEVEL="DEBUG") for part in ("worker", "beat")
    ]
    harness.environment |= {"FLOWER_PORT": str(free_port())}
    flower = harness.start_part("flower")
    eventually(lambda: harness.is_ready())
    yield harness
    for process in (*processes, flower):
        harness.stop_process(process, signal.SIGTERM)


def in_files(harness: Harness, text: str) -> set[str]:
    """Where it stands: logs, tables and the log of their changes, Flower's file."""
    found = set()
    for path in harness.home.rglob("*"):
        # Servers delete files of theirs at any time.
        with suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                found.add(str(path.relative_to(harness.home)))
    return found


def in_flower(harness: Harness, ids: list[str]) -> str:
    """What it tells, once it tells of all of these."""
    port = harness.environment["FLOWER_PORT"]
    user, _, password = (harness.home / "flower_basic_auth").read_text().partition(":")
    answer = requests.get(
        f"http://127.0.0.1:{port}/api/tasks", auth=(user, password.strip()), timeout=10
    )
    assert answer.status_code == 200
    return answer.text if all(each in answer.text for each in ids) else ""


def in_redis(harness: Harness) -> list[bytes]:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as client:
        return [key for key in client.scan_iter() if MARK.encode() in client.dump(key)]


def test_credentials_and_headers_are_in_no_file_and_no_answer(
    running: Harness, target: Receiver
) -> None:
    harness = running
    host = target.url.removeprefix("http://")
    target.answer("/fails", status=503)
    tasks = [
        {"url": f"http://ann:{MARK}@{host}/{path}", "headers": {"X-Key": MARK}}
        for path in ("well", "fails")
    ]
    tasks.append({"url": f"http://{MARK}@127.0.0.1:9/", "retry": {"min_delay": 1}})
    at = soon(2).isoformat()
    ids = [
        harness.create_task(task_type="one_time", run_datetime=at, **task)
        for task in tasks
    ]
    refused = {"task_type": "one_time", "run_datetime": at, "url": f"http://{MARK}@/"}
    answers = [harness.api.post(f"{harness.url}/tasks/", json=refused, timeout=10)]

    arrived = target.wait_for(2)
    eventually(lambda: "made again in" in harness.read_logs())
    shown = eventually(lambda: in_flower(harness, ids))
    answers += [
        harness.api.get(f"{harness.url}/tasks/{path}", timeout=10)
        for each in ids
        for path in (f"id/{each}", f"{each}/runs/", f"{each}/account/")
    ]

    assert {each.headers["x-key"] for each in arrived} == {MARK}
    assert MARK not in json.dumps([answer.text for answer in answers])
    assert MARK not in shown
    assert in_redis(harness) == []
    # Who looks for it would find it.
    assert in_files(harness, f"@{host}/well")
    assert in_files(harness, MARK) == set()
