"""The command `scheduler` as a process, against the service itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.api.tasks.request_fields import open_headers
from tasks_api.domain.request_options import parse_options
from tasks_api.models import Task
from tests.conftest import MakeTask
from tests.integration.support.backfills import hourly_task, settle
from tests.integration.support.long_work import begin_run, latest_run_of, make_long_work
from tests.integration.support.routes import store_failed_run
from tests.receiver import Receiver
from tests.unit.test_client_webhooks import SECRET, sign_headers

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "scheduler_client"]
SPAN = ("--start", "2090-12-05T08:00:00Z", "--end", "2091-12-05T08:00:00Z")
FILE = """
tag: web
defaults:
  cron: "0 6 * * *"
  headers: {X-Key: "${KEY}"}
tasks:
  - name: a
    url: https://example.com/a
  - name: b
    url: https://example.com/b
    timezone: Europe/Berlin
    paused: true
  - name: c
    queue: mail
    cron:
    headers:
    run_datetime: 2090-12-05 08:00:00
"""


def environment(**more: str) -> dict[str, str]:
    path = str(ROOT / "clients" / "python" / "src")
    return os.environ | {"PYTHONPATH": path, "KEY": "s3cret"} | more


class Shell:
    """Runs the command with the address of a service and a token."""

    def __init__(self, url: str, token: str) -> None:
        self.environment = environment(SCHEDULER_URL=url, SCHEDULER_TOKEN=token)

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> str:
        ended = self.run(*words, stdin=stdin)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout if code in (0, 4) else ended.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def shell(live_server: LiveServer, user: User) -> Shell:
    return Shell(live_server.url, accounts.issue_token(user))


def test_a_task_is_created_changed_and_removed(shell: Shell) -> None:
    words = ("--at", "2090-12-05T08:00:00Z", "--url", "https://example.com/x")
    task_id = shell("tasks", "create", *words, "--name", "once").strip()

    assert Task.objects.get(pk=task_id).name == "once"
    shown = shell.json("tasks", "show", "once")
    assert shown["run_datetime"] == "2090-12-05 08:00:00"
    assert "once 2090-12-05 08:00:00Z" in shell("tasks", "list")
    shell("tasks", "pause", "once")
    assert shell.json("tasks", "list", "--state", "paused")[0]["id"] == task_id
    shell("tasks", "resume", task_id)
    changed = shell.json("tasks", "change", "once", "-d", '{"tags": ["x"]}')
    assert changed["tags"] == ["x"]
    assert len(shell.json("tasks", "run", "once")["run_id"]) == 36
    assert "2090-12-05T08:00:00" in shell("next", "once")
    put = shell("tasks", "put", "once", *words, "--tag", "y").strip()
    assert (put, Task.objects.get(pk=put).tags) == (task_id, ["y"])
    shell("tasks", "remove", "once")
    assert shell.json("tasks", "list") == []


def test_a_list_shows_which_tasks_are_paused(shell: Shell, make_task: MakeTask) -> None:
    make_task(name="goes-on")
    make_task(name="waits")
    shell("tasks", "pause", "waits")

    head, *rows = (re.split(r"  +", row) for row in shell("tasks", "list").splitlines())

    names, states = head.index("name"), head.index("state")
    assert {row[names]: row[states] for row in rows} == {
        "goes-on": "active",
        "waits": "paused",
    }


def test_tasks_are_read_from_standard_input(shell: Shell) -> None:
    tasks = [{"cron": "@daily", "url": f"https://example.com/{n}"} for n in range(3)]

    ids = shell("tasks", "create", "-f", "-", stdin=json.dumps(tasks)).split()

    assert Task.objects.filter(pk__in=ids).count() == 3


def test_a_preview_shows_changes_of_the_clock(shell: Shell) -> None:
    words = ("--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "-n", "2")

    shown = shell("preview", *words, "--from", "2027-03-27T12:00:00Z")

    assert "moved: there is no 2027-03-28T02:30:00" in shown


def test_a_failed_run_is_listed_redriven_and_accounted_for(
    shell: Shell, make_task: MakeTask
) -> None:
    task = make_task(name="nightly")
    failed = store_failed_run(task)

    assert str(failed.pk) in shell("runs", "list", "--state", "failed")
    assert shell.json("runs", "show", str(failed.pk))["state"] == "failed"
    assert len(shell("redrive", "--state", "failed").split()) == 1
    # The test inserted the run, so it was not planned.
    assert "= balance" in shell("account", str(task.pk))
    assert shell.json("account", "nightly")["unplanned"] == 1
    assert "failed" in shell("stats")
    assert "= balance" in shell("account")
    assert "fire times" in shell("forecast", "--by", "host", "--bucket", "60")
    shell("redrive", code=2)


def test_a_backfill_is_planned_carried_out_and_cancelled(
    shell: Shell, user: User
) -> None:
    task = hourly_task(user, name="hourly")
    settle(task)

    plan = shell("backfill", "hourly", "--pace", "1/hour", "--plan")
    digest = plan.split()[-1]
    words = ("backfill", "hourly", "--pace", "1/hour", "--hash", digest)
    made = shell.json(*words)

    assert plan.startswith("9 runs would be sent\nslots: ")
    assert made["count"] == 9
    assert f"backfill: {made['backfill']}" not in plan
    cancel = ("runs", "cancel", "--state", "pending", "--backfill", made["backfill"])
    assert len(shell(*cancel).split()) == 9


def test_tokens_are_issued_and_revoked(shell: Shell) -> None:
    clear_text = shell("tokens", "issue", "ci", "--scope", "read").strip()
    assert clear_text.startswith("sch_")
    [token] = [t for t in shell.json("tokens", "list") if t["name"] == "ci"]
    assert "ci" in shell("tokens", "show", token["id"])
    shell("tokens", "revoke", token["id"])
    assert "403" in shell("audit", code=1)


def test_an_administrator_manages_users_and_secrets(shell: Shell, user: User) -> None:
    assert "403" in shell("users", "list", code=1)
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)

    assert shell.json("users", "add", "bob")["role"] == "member"
    assert shell.json("users", "change", "bob", "--role", "admin")["role"] == "admin"
    assert not shell.json("users", "deactivate", "bob")["is_active"]
    assert shell.json("users", "activate", "bob") == shell.json("users", "show", "bob")
    assert shell("users", "list").splitlines()[1].startswith("bob")
    assert shell("secrets", "rotate", "--overlap", "60").startswith("whsec_")
    assert len(shell.json("secrets", "list")) == 2


def test_an_administrator_manages_lanes(shell: Shell, user: User) -> None:
    assert "403" in shell("lanes", "create", "crm", code=1)
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    limits = ("--rate", "20/min", "--burst", "4", "--breaker", "10/30")

    made = shell.json("lanes", "create", "crm", "--host", "api.example.com", *limits)
    changed = shell.json("lanes", "change", "crm", "--rate", "none")
    paused = shell.json("lanes", "pause", "crm", "--reason", "it moves")

    assert made["rate"] == {"limit": 20, "per": "minute", "burst": 4}
    assert made["breaker"] == {"after": 10, "for": 30}
    assert (changed["rate"], changed["host"]) == (None, "api.example.com")
    assert paused["state"]["reason"] == "it moves"
    assert not shell.json("lanes", "resume", "crm")["state"]["paused"]
    assert shell("lanes", "list").splitlines()[1].split()[0] == "crm"
    shell("lanes", "remove", "crm")
    assert shell.json("lanes", "list") == []


def test_an_administrator_manages_channels_and_rules(shell: Shell, user: User) -> None:
    assert "403" in shell("channels", "create", "ops", "ntfy", "--topic", "a", code=1)
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    made = shell.json("channels", "create", "ops", "ntfy", "--topic", "a")
    channel_id = made["id"]

    assert shell.json("channels", "show", channel_id) == made
    assert shell("channels", "list").splitlines()[1].split()[1:3] == ["ops", "ntfy"]
    assert shell.json("channels", "test", channel_id)["task_id"]
    quiet = ("--quiet", "22:00-07:00", "--timezone", "Europe/Berlin")
    events = ("run.failed", "task.recovered")
    rule = shell.json("rules", "create", channel_id, *events, "--tag", "a", *quiet)
    assert (rule["events"], rule["tag"]) == (list(events), "a")
    assert rule["quiet_hours"]["timezone"] == "Europe/Berlin"
    assert "--quiet" in shell("rules", "create", "x", "y", "--quiet", "7", code=2)
    for kind, item in (("channels", made), ("rules", rule)):
        assert shell.json(kind, "pause", item["id"])["paused"]
        assert shell.json(kind, "resume", item["id"]) == item
    assert rule["id"] in shell("rules", "list")
    shell("rules", "remove", rule["id"])
    shell("channels", "remove", channel_id)
    assert shell.json("channels", "list") == []


def test_an_administrator_manages_calendars(
    shell: Shell, user: User, tmp_path: Path
) -> None:
    assert "403" in shell("calendars", "create", "closed", code=1)
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    options = ("--zone", "Europe/Berlin", "--weekday", "sun", "--holidays", "DE-BY")
    made = shell.json("calendars", "create", "closed", *options)
    assert made["holidays"] == {"country": "DE", "subdivision": "BY"}

    assert shell.json("calendars", "show", "closed") == made
    assert shell("calendars", "list").splitlines()[1].split()[0] == "closed"
    epiphany = date(timezone.now().year + 1, 1, 6)
    sunday = epiphany + timedelta(days=7 - epiphany.isoweekday() % 7)
    span = ("--from", str(epiphany), "--to", str(sunday))
    days = shell("calendars", "days", "closed", *span)
    assert [line.split()[0] for line in days.splitlines()[1:]] == [
        str(epiphany),
        str(sunday),
    ]
    assert "no day" in shell("calendars", "days", "closed", "--from", "x", code=2)
    file = tmp_path / "a.ics"
    file.write_text(
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20270104\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    assert shell.json("calendars", "import", "closed", str(file))["dates"] == [
        "2027-01-04"
    ]
    plan = shell("calendars", "change", "closed", "--weekday", "sat", "--plan")
    assert plan.startswith("0 of 0 tasks change before ")
    changed = shell.json(
        "calendars", "change", "closed", "-d", '{"dates": ["2027-02-01"]}'
    )
    assert (changed["version"], changed["weekdays"]) == (3, [])
    assert len(shell.json("calendars", "versions", "closed")) == 3
    shell("calendars", "remove", "closed")
    assert shell.json("calendars", "list") == []


def test_all_tasks_of_a_user_are_transferred(
    shell: Shell, user: User, colleague: User, make_task: MakeTask
) -> None:
    tasks = [make_task() for _ in range(3)]
    assert "403" in shell("users", "transfer", "ann", "adam", code=1)
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)

    output = shell("users", "transfer", "ann", "adam")

    assert output == "3 tasks are adam's now\n"
    assert {task.owner_id for task in Task.objects.all()} == {colleague.pk}
    assert shell.json("users", "transfer", "ann", "adam") == {"count": 0}
    back = shell.json("users", "transfer", "adam", "ann")
    assert back == {"count": len(tasks)}
    assert "400" in shell("users", "transfer", "ann", "ann", code=1)
    assert "no such user" in shell("users", "transfer", "ann", "nobody", code=1)
    assert "404" in shell("users", "transfer", "nobody", "ann", code=1)
    assert set(Task.objects.values_list("owner", flat=True)) == {user.pk}


def test_a_token_is_never_sent_to_the_url_of_a_task(
    shell: Shell, receiver: Receiver
) -> None:
    """`--url` is a field of the task, and not the address of the service."""
    task = ("--url", receiver.url + "/hook", "--timeout", "7", "--retries", "2")

    shell("tasks", "create", "--every", "3600", *SPAN, *task, "--name", "hook")

    shown = shell.json("tasks", "show", "hook")
    assert shown["url"] == receiver.url + "/hook"
    assert shown["timeout_seconds"] == 7
    assert shown["retry"]["max_attempts"] == 3
    assert receiver.requests == []


def test_a_name_may_end_with_a_slash(shell: Shell, make_task: MakeTask) -> None:
    tasks = {name: make_task(name=name) for name in ("reports", "reports/")}

    shell("tasks", "remove", "reports/")

    alive = Task.objects.filter(ended_at=None).values_list("name", flat=True)
    assert tasks.keys() - set(alive) == {"reports/"}


def test_a_list_says_if_there_are_more(shell: Shell, make_task: MakeTask) -> None:
    for name in ("a", "b", "c"):
        make_task(name=name)

    def listed(*words: str) -> tuple[int, str]:
        ended = shell.run("tasks", "list", "--json", *words)
        return len(json.loads(ended.stdout)), ended.stderr

    assert listed() == (3, "")
    assert listed("--limit", "3") == (3, "")
    assert listed("--all") == (3, "")
    count, note = listed("--limit", "2")
    assert count == 2
    assert note == (
        "scheduler: Only the first 2 are shown; for more, use --limit or --all.\n"
    )


def test_numbers_of_a_file_arrive_digit_by_digit(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    data = '{"a": 1e3, "b": 0.10000000000000000000001, "c": -0, "d": 9007199254740993}'
    fields = '"run_datetime": "2090-12-05T08:00:00Z", "url": "https://example.com/x"'
    file.write_text(f'{{\n\t"name": "exact", {fields}, "post_data": {data}}}')

    shell("tasks", "create", "-f", str(file))

    body = json.loads(Task.objects.get(name="exact").body, parse_float=str)
    assert body == {
        "a": "1E+3",
        "b": "0.10000000000000000000001",
        "c": 0,
        "d": 9007199254740993,
    }


def test_long_work_is_reported(shell: Shell, user: User) -> None:
    task = make_long_work(user)
    run_token = begin_run(task)
    run_id = str(latest_run_of(task).pk)

    assert shell.json("runs", "heartbeat", run_id)["deadline"]
    shell.environment["SCHEDULER_TOKEN"] = run_token
    assert "JSON" in shell("runs", "complete", run_id, "-d", "{", code=2)
    assert shell("runs", "complete", run_id, "-d", "7").strip() == "succeeded"
    assert "409" in shell("runs", "fail", run_id, "--reason", "x", code=1)


def test_a_file_is_planned_and_applied(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text(FILE)

    planned = shell("plan", "-f", str(file), "--check", code=4)
    assert Task.objects.count() == 0
    [fingerprint] = re.findall(r"--plan (\w+)", planned)
    assert "+ create a" in planned
    assert "s3cret" not in planned
    shell("apply", "-f", str(file), "--plan", fingerprint)
    assert "Plan for web: 3 kept" in shell("plan", "-f", str(file), "--check")
    file.write_text(FILE.replace("0 6", "0 7").partition("  - name: c")[0])
    shell("tasks", "pause", "a")
    changed = shell("plan", "-f", str(file))
    assert "cron: 0 6 * * * → 0 7 * * *" in changed
    assert "- delete c" in changed
    assert "+ fires no more" in changed
    assert "412" in shell("apply", "-f", str(file), "--plan", fingerprint, code=1)
    assert "Cannot ask for confirmation" in shell("apply", "-f", str(file), code=2)
    assert "Done for web" in shell("apply", "-f", str(file), "--yes")
    assert "2 kept" in shell("apply", "-f", str(file), "--yes")
    assert {task["name"] for task in shell.json("tasks", "list")} == {"a", "b"}


def test_errors_have_exit_codes(shell: Shell) -> None:
    assert "404" in shell("tasks", "show", "nothing", code=1)
    assert "usage" in shell("tasks", "frobnicate", code=2)
    unreachable = ("--server", "http://127.0.0.1:1", "--server-retries", "0")
    [message] = shell("tasks", "list", *unreachable, code=3).splitlines()
    assert message.endswith(
        "No answer to GET http://127.0.0.1:1/tasks/: Connection refused"
    )
    assert "whsec_" in shell("listen", "--secret", "whsec_!", code=2)
    shell.environment["SCHEDULER_TOKEN"] = ""
    assert "SCHEDULER_TOKEN" in shell("tasks", "list", code=2)


class ListenProcess:
    """Runs `scheduler listen`. Kills it after 30 seconds, so that no test hangs."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "listen", "--port", "0", "--secret", SECRET, "--json", *words],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.guard = threading.Timer(30, self.process.kill)
        self.guard.start()
        assert self.process.stderr
        self.url = self.process.stderr.readline().split()[2]

    def read_requests(self) -> list[dict[str, Any]]:
        output, _ = self.process.communicate()
        self.guard.cancel()
        return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def listening() -> Iterator[ListenProcess]:
    started = ListenProcess("--count", "3", "--status", "503", "--times", "1")
    yield started
    started.process.kill()
    started.read_requests()


def test_a_receiver_verifies_reports_and_responds(listening: ListenProcess) -> None:
    headers = sign_headers(datetime.now(UTC), b'{"n": 1}')

    responses = [
        requests.post(listening.url + "/x", data=body, headers=headers, timeout=10)
        for body in (b'{"n": 1}', b'{"n": 1}', b'{"n": 2}')
    ]

    assert [response.status_code for response in responses] == [503, 200, 401]
    first, second, forged = listening.read_requests()
    assert (first["signature"], first["webhook_id"]) == ("ok", "run-1")
    assert (second["status"], second["body"]) == (200, '{"n": 1}')
    assert forged["signature"] == "The signature does not match the secret"


@pytest.fixture
def billing(shell: Shell) -> None:
    for name in ("a", "b"):
        fields = {
            "headers": {"X-Key": "old", "X-Other": "kept"},
            "url": "https://example.com/x",
            "cron": "0 6 * * *",
        }
        shell(
            *("tasks", "create", "--name", name, "--tag", "billing"),
            *("--data", json.dumps(fields)),
        )
    shell(
        "tasks",
        "create",
        "--name",
        "other",
        "--url",
        "https://b.example/",
        "--cron",
        "0 6 * * *",
    )


def paused_names(shell: Shell) -> set[str]:
    return {task["name"] for task in shell.json("tasks", "list", "--state", "paused")}


@pytest.mark.usefixtures("billing")
def test_the_tasks_of_a_filter_are_paused_and_resumed(shell: Shell) -> None:
    pause = ("tasks", "pause", "--tag", "billing", "--reason", "a move")

    assert "Plan: 2 tasks" in shell(*pause, "--plan")
    assert paused_names(shell) == set()
    assert shell(*pause, "--catch-up", "latest") == "2 paused\n"
    assert paused_names(shell) == {"a", "b"}
    assert shell.json("tasks", "show", "a")["catch_up"] == "latest"
    assert shell("tasks", "resume", "--name-prefix", "a") == "1 resumed\n"
    assert shell.json("tasks", "resume", "--host", "example.com") == {"resumed": 1}
    assert paused_names(shell) == set()


@pytest.mark.usefixtures("billing")
def test_one_header_of_many_tasks_is_replaced_after_a_plan(shell: Shell) -> None:
    words = ("tasks", "change", "--tag", "billing", "--set-header", "X-Key: n3w")

    plan = shell(*words, "--plan")
    assert "~ change a" in plan
    assert "headers: other values" in plan
    assert "Plan: 2 of 2 change" in plan
    assert "n3w" not in plan
    assert "use --yes or --plan" in shell(*words, code=2)
    assert "Done: 2 of 2 change" in shell(*words, "--yes")
    assert "0 of 2 change" in shell(*words)

    stored = [
        open_headers(parse_options(t.request)) for t in Task.objects.exclude(request="")
    ]
    assert stored == [{"X-Key": "n3w", "X-Other": "kept"}] * 2


@pytest.mark.usefixtures("billing")
def test_fields_and_parts_of_many_tasks_change_together(shell: Shell) -> None:
    shell(
        *("tasks", "change", "--tag", "billing", "--timeout", "7", "--yes"),
        *("--add-tag", "eu", "--remove-tag", "billing", "--url-host", "c.example"),
        *("--set-header", "X-Other:", "--data", '{"spread": 60}'),
    )

    for task in shell.json("tasks", "list", "--tag", "eu"):
        assert task["url"] == "https://c.example/x"
        assert (task["timeout_seconds"], task["spread"]) == (7, 60)
        assert task["headers"] == {"X-Key": "[redacted]"}
        assert task["tags"] == ["eu"]


@pytest.mark.parametrize(
    "words",
    [
        ("pause",),
        ("pause", "a", "--tag", "billing"),
        ("resume", "a", "--plan"),
        ("change",),
        ("change", "--tag", "billing"),
        ("change", "--timeout", "7"),
        ("change", "a", "--host", "example.com"),
        ("change", "a", "--set-header", "X: y"),
        ("change", "--tag", "billing", "--set-header", "X"),
        ("change", "--tag", "x", "--timeout", "7", "--if-match", '"1"'),
    ],
)
def test_a_command_is_about_tasks_or_about_a_filter(
    shell: Shell, words: tuple[str, ...]
) -> None:
    assert "scheduler:" in shell("tasks", *words, code=2)
