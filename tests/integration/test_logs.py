"""Log lines carry the ids of run, task and tenant, and nothing that a tenant sent."""

from __future__ import annotations

import json
import logging
import sys
from uuid import UUID

import pytest

from scheduler_service.logs import JSONFormatter, TextFormatter
from tasks_api import failures
from tasks_api.delivery.record import Finished
from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.delivery.retry import GiveUp, RetryAfter, Succeed, Verdict
from tests.conftest import NOON

RUN, TASK, LEASE = UUID(int=1), UUID(int=2), UUID(int=3)


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("x.y", logging.INFO, "f.py", 1, message, None, None)
    made.created = NOON.timestamp()
    made.__dict__ |= extra
    return made


def finished(verdict: Verdict) -> Finished:
    url = "https://user:secret@example.com/path?key=secret"
    run = Claimed(RUN, TASK, 7, NOON, 2, "POST", url, '{"secret": 1}', LEASE)
    return Finished(run, Outcome(500, "", 3, answer=b"secret"), verdict, NOON)


def test_a_line_for_people_ends_with_the_ids() -> None:
    formatter = TextFormatter("{asctime} {levelname} {name}: {message}", style="{")

    assert formatter.format(record("It is so.", run_id=RUN, tenant_id=7)) == (
        f"2026-11-22T12:00:00.000Z INFO x.y: It is so. run_id={RUN} tenant_id=7"
    )


def test_a_line_for_machines_is_one_object() -> None:
    line = JSONFormatter().format(record('Line 1\n"2"', run_id=RUN, other="x"))

    assert "\n" not in line
    assert json.loads(line) | {"process": 0} == {
        "time": "2026-11-22T12:00:00.000Z",
        "level": "INFO",
        "logger": "x.y",
        "message": 'Line 1\n"2"',
        "run_id": str(RUN),
        "process": 0,
    }


def test_a_traceback_is_part_of_the_object() -> None:
    failed = record("Oh.")
    try:
        raise ValueError("why")
    except ValueError:
        failed.exc_info = sys.exc_info()

    line = JSONFormatter().format(failed)

    assert "ValueError: why" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (GiveUp("HTTP 500"), "Attempt 2 at example.com failed: HTTP 500"),
        (
            RetryAfter("HTTP 500", 4.0),
            "Attempt 2 at example.com failed and is made again in 4.0 s: HTTP 500",
        ),
    ],
)
def test_a_failure_is_told_with_its_ids_and_without_secrets(
    caplog: pytest.LogCaptureFixture, verdict: Verdict, message: str
) -> None:
    caplog.set_level(logging.INFO)

    failures.log([finished(Succeed()), finished(verdict)])

    [line] = caplog.records
    found = json.loads(JSONFormatter().format(line))
    assert found["message"] == message
    assert (found["run_id"], found["task_id"]) == (str(RUN), str(TASK))
    assert found["tenant_id"] == "7"
    assert "secret" not in json.dumps(found)


def test_a_dead_target_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    failures.log([finished(GiveUp("HTTP 500"))] * 500)

    assert len(caplog.messages) == failures.MOST + 1
    assert caplog.messages[-1] == f"And {500 - failures.MOST} more runs failed."


def test_an_operator_may_turn_them_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    failures.log([finished(GiveUp("HTTP 500"))])

    assert caplog.messages == []
