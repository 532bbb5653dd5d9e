"""Log lines carry the ids of run, task and tenant, and nothing that a tenant sent."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from uuid import UUID

import pytest

from scheduler_service.process.logs import (
    JSONFormatter,
    NonBlockingHandler,
    TextFormatter,
)
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, RetryAfter, Succeed, Verdict
from tasks_api.worker import failure_log
from tasks_api.worker.record import AttemptResult
from tests.conftest import NOON

RUN, TASK, LEASE = UUID(int=1), UUID(int=2), UUID(int=3)


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("x.y", logging.INFO, "f.py", 1, message, None, None)
    made.created = NOON.timestamp()
    made.__dict__ |= extra
    return made


def finished(verdict: Verdict) -> AttemptResult:
    url = "https://user:secret@example.com/path?key=secret"
    run = ClaimedRun(RUN, TASK, 7, NOON, 2, "POST", url, '{"secret": 1}', lease=LEASE)
    return AttemptResult(run, HttpResult(500, "", 3, answer=b"secret"), verdict, NOON)


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


def test_a_line_for_machines_names_its_cell() -> None:
    line = JSONFormatter(cell="eu1").format(record("Hello"))

    assert json.loads(line)["cell"] == "eu1"


@pytest.mark.parametrize(
    "evil",
    [
        "x\n2026-11-22T12:00:00.000Z CRITICAL root: all is lost",
        "x\r\x1b[2K\x1b[1A",
        "x\u2028y",
        "x\x9b2Ky\x7f",
        "x\u202egnp.exe",
        "x\udc80",
        "x\0\t",
    ],
)
def test_no_text_of_others_forges_a_line_or_moves_the_cursor(evil: str) -> None:
    people = TextFormatter("{asctime} {levelname} {name}: {message}", style="{")
    failed = record("It failed: " + evil)
    try:
        raise ValueError(evil)
    except ValueError:
        failed.exc_info = sys.exc_info()

    for formatter in (people, JSONFormatter()):
        text = formatter.format(failed)
        assert all(each.isprintable() for each in text.replace("\n", ""))
        head, *rest = text.split("\n")
        assert head.startswith(("{", "2026-"))
        assert all(line.startswith("    ") for line in rest)
        assert text.encode()
    found = json.loads(JSONFormatter().format(failed))
    assert found["message"] == "It failed: " + evil


@pytest.mark.parametrize(
    "text",
    [
        "netloc 'us\uff03er:hunter2@127.0.0.1:8610' contains invalid characters",
        "cannot open https://hunter2@example.com/x",
        "postgresql://me:hunter2@db/x is away",
        "redis://:hunter2@redis:6379/0",
    ],
)
def test_no_line_has_the_credentials_of_a_url(text: str) -> None:
    people = TextFormatter("{message}", style="{")
    failed = record(text)
    try:
        raise ValueError(text)
    except ValueError:
        failed.exc_info = sys.exc_info()

    for formatter in (people, JSONFormatter()):
        assert "hunter2" not in formatter.format(failed)


def test_no_traceback_has_a_url() -> None:
    failed = record("Oh.")
    try:
        raise ValueError("https://example.com/path?key=hunter2")
    except ValueError:
        failed.exc_info = sys.exc_info()

    line = JSONFormatter().format(failed)

    assert "example.com" not in line


def small_pipe() -> tuple[int, int]:
    end, beginning = os.pipe()
    fcntl.fcntl(beginning, fcntl.F_SETPIPE_SZ, 4096)
    return end, beginning


def test_writing_a_log_line_does_not_wait_for_its_reader() -> None:
    end, beginning = small_pipe()
    handler = NonBlockingHandler(beginning, capacity=100)

    for number in range(500):
        handler.handle(record(f"{number} {'x' * 100}"))
    assert handler.dropped >= 300
    handler.flush()

    lines: list[str] = []
    with open(end) as reader:
        # All of them: the thread must not write on, into a file of the next test.
        while sum(" xxx" in line for line in lines) < 500 - handler.dropped:
            lines.append(reader.readline())
    assert lines[0].startswith("0 ")
    assert any("lines of log were dropped" in line for line in lines)
    os.close(beginning)


def test_lines_arrive_in_their_order_and_before_a_process_ends() -> None:
    end, beginning = os.pipe()
    handler = NonBlockingHandler(beginning)

    for number in range(50):
        handler.handle(record(str(number)))
    handler.flush()

    assert os.read(end, 10_000).decode().split() == [str(n) for n in range(50)]
    os.close(beginning)
    os.close(end)


def test_a_reader_that_has_gone_ends_nobody() -> None:
    end, beginning = os.pipe()
    os.close(end)
    handler = NonBlockingHandler(beginning)

    handler.handle(record("x"))
    handler.flush()

    os.close(beginning)


def test_a_process_that_was_forked_writes_lines_of_its_own() -> None:
    end, beginning = os.pipe()
    program = (
        "import logging, os, sys\n"
        "from scheduler_service.process.logs import NonBlockingHandler\n"
        "handler = NonBlockingHandler(int(sys.argv[1]))\n"
        "logging.getLogger().addHandler(handler)\n"
        "logging.warning('parent')\n"
        "handler.flush()\n"
        "if os.fork() == 0:\n"
        "    logging.warning('child')\n"
        "    handler.flush()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "logging.warning('parent again')\n"
    )

    subprocess.run(
        [sys.executable, "-c", program, str(beginning)],
        pass_fds=[beginning],
        check=True,
    )

    assert os.read(end, 10_000).decode() == "parent\nchild\nparent again\n"
    os.close(beginning)
    os.close(end)


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

    failure_log.log_failures([finished(Succeed()), finished(verdict)])

    [line] = caplog.records
    found = json.loads(JSONFormatter().format(line))
    assert found["message"] == message
    assert (found["run_id"], found["task_id"]) == (str(RUN), str(TASK))
    assert found["tenant_id"] == "7"
    assert "secret" not in json.dumps(found)


def test_a_dead_target_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    failure_log.log_failures([finished(GiveUp("HTTP 500"))] * 500)

    assert len(caplog.messages) == failure_log.MAX_LINES + 1
    assert caplog.messages[-1] == f"And {500 - failure_log.MAX_LINES} more runs failed."


def test_an_operator_may_turn_them_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    failure_log.log_failures([finished(GiveUp("HTTP 500"))])

    assert caplog.messages == []


def test_rows_that_are_not_understood_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0
    log = failure_log.UnreadableRowLog(clock=lambda: now)
    run = finished(Succeed()).run

    for _ in range(500):
        log.report(run, ValueError("secret"))
    now += failure_log.WARNING_INTERVAL
    log.report(run, ValueError("secret"))

    first, second = caplog.records
    assert "does not understand it: ValueError" in first.getMessage()
    assert first.getMessage().endswith("since the last such line: 0)")
    assert second.getMessage().endswith("since the last such line: 499)")
    assert JSONFormatter().format(first).count(str(RUN)) == 1
    assert "secret" not in caplog.text
