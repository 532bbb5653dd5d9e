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
from tests.acceptance.harness import Harness, eventually, free_port
from tests.acceptance.tasks import in_seconds
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

SECRET = "m4rk3r-0f-4-s3cr3t"


@pytest.fixture
def running_service(harness: Harness) -> Iterator[Harness]:
    processes = [
        harness.start_part(part, LOG_LEVEL="DEBUG") for part in ("worker", "beat")
    ]
    harness.environment |= {"FLOWER_PORT": str(free_port())}
    flower = harness.start_part("flower")
    eventually(harness.is_ready)
    eventually(lambda: is_flower_up(harness))
    yield harness
    for process in (*processes, flower):
        harness.stop_process(process, signal.SIGTERM)


def is_flower_up(harness: Harness) -> bool:
    url = f"http://127.0.0.1:{harness.environment['FLOWER_PORT']}/healthcheck"
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


def files_with(harness: Harness, text: str) -> set[str]:
    """Files with a text: logs, tables and the log of their changes, Flower's database."""
    found = set()
    for path in harness.home.rglob("*"):
        # Servers delete their files at any time.
        with suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                found.add(str(path.relative_to(harness.home)))
    return found


def read_flower(harness: Harness, ids: list[str]) -> str:
    """Flower's tasks, once all of these are among them."""
    port = harness.environment["FLOWER_PORT"]
    user, _, password = (harness.home / "flower_basic_auth").read_text().partition(":")
    answer = requests.get(
        f"http://127.0.0.1:{port}/api/tasks", auth=(user, password.strip()), timeout=10
    )
    assert answer.status_code == 200
    return answer.text if all(each in answer.text for each in ids) else ""


def redis_keys_with_secret(harness: Harness) -> list[bytes]:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as client:
        return [
            key for key in client.scan_iter() if SECRET.encode() in client.dump(key)
        ]


def test_credentials_and_headers_are_in_no_file_and_no_answer(
    running_service: Harness, target: Receiver
) -> None:
    harness = running_service
    host = target.url.removeprefix("http://")
    target.answer("/fails", status=503)
    tasks = [
        {"url": f"http://ann:{SECRET}@{host}/{path}", "headers": {"X-Key": SECRET}}
        for path in ("well", "fails")
    ]
    tasks.append({"url": f"http://{SECRET}@127.0.0.1:9/", "retry": {"min_delay": 1}})
    at = in_seconds(2).isoformat()
    ids = [
        harness.create_task(task_type="one_time", run_datetime=at, **task)
        for task in tasks
    ]
    refused = {"task_type": "one_time", "run_datetime": at, "url": f"http://{SECRET}@/"}
    answers = [harness.api.post(f"{harness.url}/tasks/", json=refused, timeout=10)]

    arrived = target.wait_for(2)
    eventually(lambda: "made again in" in harness.read_logs())
    shown = eventually(lambda: read_flower(harness, ids))
    answers += [
        harness.api.get(f"{harness.url}/tasks/{path}", timeout=10)
        for each in ids
        for path in (f"id/{each}", f"{each}/runs/", f"{each}/account/")
    ]

    assert {each.headers["x-key"] for each in arrived} == {SECRET}
    assert SECRET not in json.dumps([answer.text for answer in answers])
    assert SECRET not in shown
    assert redis_keys_with_secret(harness) == []
    # The search finds what is there.
    assert files_with(harness, f"@{host}/well")
    assert files_with(harness, SECRET) == set()


def test_where_a_channel_sends_is_in_no_file_and_no_answer(
    running_service: Harness, target: Receiver
) -> None:
    harness = running_service
    target.answer("/fails", status=500)
    harness.manage("set_role", "ann", "admin", "--tenant", "Alpha")
    url = f"{target.url}/{SECRET}"
    channels = [
        {"name": "chat", "kind": "slack", "url": url},
        {"name": "pager", "kind": "pagerduty", "routing_key": SECRET, "url": url},
    ]
    answers = []
    for channel in channels:
        made = harness.api.post(f"{harness.url}/channels/", json=channel, timeout=10)
        rule = {"channel_id": made.json()["id"], "events": ["run.failed"]}
        answers += [
            made,
            harness.api.post(f"{harness.url}/rules/", json=rule, timeout=10),
        ]
    harness.create_task(
        task_type="one_time",
        run_datetime=in_seconds(6).isoformat(),
        url=f"{target.url}/fails",
    )

    _, *told = target.wait_for(3, timeout=60)
    paths = ("channels/", "rules/", "runs/?notice=true", "audit/")
    answers += [harness.api.get(f"{harness.url}/{path}", timeout=10) for path in paths]

    assert {request.path for request in told} == {f"/{SECRET}"}
    assert {answer.status_code for answer in answers} == {200, 201}
    assert SECRET not in json.dumps([answer.text for answer in answers])
    assert redis_keys_with_secret(harness) == []
    assert files_with(harness, SECRET) == set()
