"""What a tenant gives in confidence is in no file of a running service, nor in its answers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
import requests

from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.stand import Stand, eventually, free_port
from tests.acceptance.test_processes import soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

MARK = "m4rk3r-0f-4-s3cr3t"


@pytest.fixture
def running(stand: Stand) -> Iterator[Stand]:
    processes = [stand.run(part, LOG_LEVEL="DEBUG") for part in ("worker", "beat")]
    stand.environment |= {"FLOWER_PORT": str(free_port())}
    flower = stand.run("flower")
    eventually(lambda: stand.is_ready())
    yield stand
    for process in (*processes, flower):
        stand.end(process, signal.SIGTERM)


def in_files(stand: Stand, text: str) -> set[str]:
    """Where it stands: logs, tables and the log of their changes, Flower's file."""
    found = set()
    for path in stand.home.rglob("*"):
        # Servers delete files of theirs at any time.
        with suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                found.add(str(path.relative_to(stand.home)))
    return found


def in_flower(stand: Stand, ids: list[str]) -> str:
    """What it tells, once it tells of all of these."""
    port = stand.environment["FLOWER_PORT"]
    user, _, password = (stand.home / "flower_basic_auth").read_text().partition(":")
    answer = requests.get(
        f"http://127.0.0.1:{port}/api/tasks", auth=(user, password.strip()), timeout=10
    )
    assert answer.status_code == 200
    return answer.text if all(each in answer.text for each in ids) else ""


def in_redis(stand: Stand) -> list[bytes]:
    with redis.Redis.from_url(redis_client_url(stand.redis.url)) as client:
        return [key for key in client.scan_iter() if MARK.encode() in client.dump(key)]


def test_credentials_and_headers_are_in_no_file_and_no_answer(
    running: Stand, target: Receiver
) -> None:
    stand = running
    host = target.url.removeprefix("http://")
    target.answer("/fails", status=503)
    tasks = [
        {"url": f"http://ann:{MARK}@{host}/{path}", "headers": {"X-Key": MARK}}
        for path in ("well", "fails")
    ]
    tasks.append({"url": f"http://{MARK}@127.0.0.1:9/", "retry": {"min_delay": 1}})
    at = soon(2).isoformat()
    ids = [
        stand.create(task_type="one_time", run_datetime=at, **task) for task in tasks
    ]
    refused = {"task_type": "one_time", "run_datetime": at, "url": f"http://{MARK}@/"}
    answers = [stand.api.post(f"{stand.url}/tasks/", json=refused, timeout=10)]

    arrived = target.wait_for(2)
    eventually(lambda: "made again in" in stand.logs())
    shown = eventually(lambda: in_flower(stand, ids))
    answers += [
        stand.api.get(f"{stand.url}/tasks/{path}", timeout=10)
        for each in ids
        for path in (f"id/{each}", f"{each}/runs/", f"{each}/account/")
    ]

    assert {each.headers["x-key"] for each in arrived} == {MARK}
    assert MARK not in json.dumps([answer.text for answer in answers])
    assert MARK not in shown
    assert in_redis(stand) == []
    # Who looks for it would find it.
    assert in_files(stand, f"@{host}/well")
    assert in_files(stand, MARK) == set()
