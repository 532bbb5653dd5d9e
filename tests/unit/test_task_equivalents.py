"""The commands beside a form say to the client what the form says to the API."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from scheduler_client.cli.parser import build_parser
from scheduler_client.cli.task_fields import read_task
from scheduler_client.task_files import load_task_file, with_task_type

from console.task_forms import equivalents
from console.task_forms.bodies import Body
from tasks_api.api import json_codec

API = "http://127.0.0.1:8000"
PERIODIC = {"task_type": "periodic", "cron": "*/5 * * * *", "timezone": "Asia/Tokyo"}
BODIES: list[Body] = [
    {**PERIODIC, "url": "https://example.com/a?b=c&d='e'"},
    {"task_type": "periodic", "frequency": 3600, "end_datetime": None, "url": "x"},
    {"task_type": "one_time", "run_datetime": "2030-01-01T09:30", "queue": "jobs"},
    {
        **PERIODIC,
        "method": "PUT",
        "url": "https://example.com/",
        "headers": {"X-Api-Key": 'it\'s "$HOME"'},
        "post_data": json_codec.loads(b'{"n": 1.10, "big": 1e3, "on": "on", "t": "1:30"}'),
        "retry": {"max_attempts": 5, "min_delay": 2.5},
        "tags": ["reports", "eu"],
        "timeout_seconds": 20,
        "paused": True,
    },
]  # fmt: skip


def split(command: str) -> list[str]:
    """The arguments, as a shell reads lines that go on."""
    return shlex.split(command.replace("\\\n", ""))


@pytest.mark.parametrize("body", BODIES)
def test_the_command_of_the_client_says_the_same(body: Body) -> None:
    command = split(equivalents.of_new(body, api=API).cli)

    options = build_parser().parse_args(command[1:])

    assert with_task_type(read_task(options)) == body


def test_a_change_names_the_version_and_what_it_removes() -> None:
    change = {"task_type": "one_time", "run_datetime": "2030-01-01T09:30", "tags": None}

    found = equivalents.of_change(change, {}, api=API, task_id="7", etag='"7-2"')

    options = build_parser().parse_args(split(found.cli)[1:])
    assert (options.task, options.if_match) == ("7", '"7-2"')
    assert read_task(options) == change
    assert "-H 'If-Match: \"7-2\"'" in found.curl


@pytest.mark.parametrize("body", BODIES)
def test_the_file_for_apply_says_the_same(body: Body, tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(equivalents.of_new(body, api=API).yaml)

    file = load_task_file(path, {})

    [task] = [dict(each) for each in file.tasks]
    tags = [file.tag, *task.pop("tags", [])] if "tags" in body else []
    assert task.pop("name") == "choose-a-name"
    assert {**task, **({"tags": tags} if tags else {})} == body


@pytest.mark.parametrize("body", BODIES)
def test_curl_sends_the_body(body: Body) -> None:
    command = split(equivalents.of_new(body, api=API).curl)

    assert command[:2] == ["curl", f"{API}/tasks/"]
    assert json.loads(command[-1]) == json.loads(json_codec.dumps(body))
