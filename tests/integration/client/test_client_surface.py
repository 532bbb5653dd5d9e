"""The Python client covers the tasks API: every operation, parameter and field.

The operations come from the OpenAPI document, so these tests fail for a new operation
until it stands in the table below. A fake service responds with the examples of the
document.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from rest_framework.test import APIClient
from scheduler_client import Client, Task
from scheduler_client.cli.task_fields import FIELD_OPTIONS
from scheduler_client.task_files import load_task_file

from tests.integration.support.openapi_document import assert_fits, content_of
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC

# First segments of paths. The other wire formats have clients of their own.
COVERED_SEGMENTS = {"tasks", "runs", "tokens", "users", "signing-secrets", "audit"}
COVERED_SEGMENTS |= {"stats", "account", "forecast"}
COVERED_SEGMENTS |= {"channels", "rules", "usage", "calendars", "lanes"}
OTHER_SEGMENTS = {"", "api", "cron", "delete", "insert"}
OTHER_SEGMENTS |= {"complete", "enqueue", "heartbeat", "next", "queues", "reschedule"}
OTHER_SEGMENTS |= {"health", "healthz", "readyz"}
# The client pages by cursor, and `list_runs` has a task in its path.
UNUSED_PARAMETERS = {"cursor", "offset", "task"}
# Fields of responses that people read, and those that lead to the next page.
UNUSED_FIELDS = {"message", "next_cursor"}
# The bodies of these are a task, or any value.
OPEN_BODIES = {"create_task", "change_task", "put_task_by_name", "preview_task"}
OPEN_BODIES |= {"complete_run"}
PYTHON_NAMES = {"from": "since", "to": "until", "pass": "which_pass", "tasks": "steps"}
# `list_runs` takes an optional task, and people ask `why`.
METHOD_NAMES = {"list_runs_of_task": "list_runs", "explain_task": "why"}

TIME = datetime(2090, 12, 5, 8, tzinfo=UTC)
REASON: Any = {"reason": "HTTP 500", "code": 500}
HOLD: dict[str, Any] = {"reason": "x", "until": TIME, "catch_up": "latest"}
TIME_RANGE: dict[str, Any] = {"since": TIME, "until": TIME}
DAY = timedelta(days=1)
ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"
CHANNEL: dict[str, Any] = {
    "url": "https://example.com/",
    "recipients": ["a@example.com"],
}
CHANNEL |= {"routing_key": "k", "topic": "t", "token": "x"}
CHANNEL |= {"max_per_hour": 5, "paused": False}
CONTENT: dict[str, Any] = {
    "zone": "UTC",
    "dates": ["2026-12-24"],
    "ranges": [{"from": "2026-12-24", "to": "2027-01-01"}],
    "weekdays": ["sat"],
    "holidays": {"country": "DE", "subdivision": "BY"},
}
QUIET = {"from": "22:00", "to": "07:00", "timezone": "UTC"}
RULE: dict[str, Any] = {"task_id": ID, "tag": "a", "streak": 3, "late_after": 60}
RULE |= {"digest_seconds": 300, "quiet_hours": QUIET, "paused": False}

BOUNDS: dict[str, Any] = {"hosts": ["a"], "paths": ["/"], "methods": ["POST"]}
BOUNDS |= {"tags": ["x"], "runs_per_day": 1, "horizon": 1, "renew_within": 1}
BOUNDS |= {"tasks": 1, "requests_per_minute": 1, "payload_bytes": 1}
LANE: dict[str, Any] = {"host": "api.example.com", "concurrency": 5}
LANE |= {"rate": {"limit": 20}, "breaker": {"after": 10, "for": 30}}

Call = Callable[[Client], Any]

CALLS: dict[str, Call] = {
    "create_task": lambda c: c.create_task(ONE_TIME),
    "create_tasks": lambda c: c.create_tasks([ONE_TIME]),
    "get_task": lambda c: c.get_task(ID),
    "list_tasks": lambda c: next(
        c.list_tasks(
            name="a",
            name_prefix="a",
            host="a.example",
            search="c",
            lane="crm",
            outcomes=20,
            tags=["b"],
            state="active",
            task_type="periodic",
            created_after=TIME,
            created_before=TIME,
            next_run_after=TIME,
            next_run_before=TIME,
            owner="all",
        )
    ),
    "change_task": lambda c: c.change_task(ID, PERIODIC, if_match='"1"'),
    "remove_task": lambda c: c.remove_task(ID, if_match='"1"'),
    "get_task_by_name": lambda c: c.get_task_by_name("a"),
    "put_task_by_name": lambda c: c.put_task_by_name(
        "a", PERIODIC, if_match='"1"', if_none_match="*"
    ),
    "remove_task_by_name": lambda c: c.remove_task_by_name("a", if_match='"1"'),
    "pause_task": lambda c: c.pause_task(ID, **HOLD),
    "pause_tasks": lambda c: c.pause_tasks([ID], **HOLD),
    "resume_task": lambda c: c.resume_task(ID, catch_up="all"),
    "resume_tasks": lambda c: c.resume_tasks([ID], catch_up="all"),
    "change_tasks": lambda c: c.change_tasks(
        {"tag": "a"}, {"timeout_seconds": 7}, plan="0" * 32
    ),
    "run_task": lambda c: c.run_task(ID),
    "next_fire_times": lambda c: c.next_fire_times(ID, n=3),
    "preview_task": lambda c: c.preview_task(PERIODIC, n=3, since=TIME, copies=2),
    "apply_tasks": lambda c: c.apply_tasks(
        "web", [{**ONE_TIME, "name": "a"}], plan="0" * 32
    ),
    "list_runs": lambda c: next(
        c.list_runs(
            states=["failed"],
            notices=True,
            backfill=ID,
            lane="crm",
            **REASON,
            **TIME_RANGE,
        )
    ),
    "list_runs_of_task": lambda c: next(
        c.list_runs(
            ID, states=["failed"], backfill=ID, lane="crm", **REASON, **TIME_RANGE
        )
    ),
    "get_run": lambda c: c.get_run(ID),
    "explain_task": lambda c: c.why(ID, at=TIME),
    "get_account": lambda c: c.get_account(ID, **TIME_RANGE),
    "get_tenant_account": lambda c: c.get_tenant_account(**TIME_RANGE),
    "get_stats": lambda c: c.get_stats(**TIME_RANGE),
    "get_lane_forecast": lambda c: c.get_lane_forecast("a", bucket=60, **TIME_RANGE),
    "get_forecast": lambda c: c.get_forecast(bucket=60, by="host", **TIME_RANGE),
    "redrive_run": lambda c: c.redrive_run(ID),
    "redrive_runs": lambda c: c.redrive_runs(
        ["failed"], task=ID, limit=7, backfill=ID, **REASON, **TIME_RANGE
    ),
    "cancel_run": lambda c: c.cancel_run(ID),
    "cancel_runs": lambda c: c.cancel_runs(
        ["open"], task=ID, limit=7, backfill=ID, **REASON, **TIME_RANGE
    ),
    "backfill_task": lambda c: c.backfill_task(
        ID, which="all", pace="9/hour", overlap="allow", hash="0" * 32, **TIME_RANGE
    ),
    "complete_run": lambda c: c.complete_run(ID, {"rows": 1200}),
    "fail_run": lambda c: c.fail_run(ID, "disk full", retry=False),
    "heartbeat_run": lambda c: c.heartbeat_run(ID),
    "list_tokens": lambda c: next(c.list_tokens(owner="all")),
    "get_token": lambda c: c.get_token(ID),
    "issue_token": lambda c: c.issue_token(
        "ci", scope="read", expires_in=DAY, user="x", bounds=BOUNDS
    ),
    "renew_token": lambda c: c.renew_token(ID),
    "get_usage": lambda c: c.get_usage(),
    "rotate_token": lambda c: c.rotate_token(ID, overlap=DAY),
    "revoke_token": lambda c: c.revoke_token(ID),
    "list_users": lambda c: next(c.list_users()),
    "get_user": lambda c: c.get_user("ann"),
    "add_user": lambda c: c.add_user("ann", role="admin"),
    "change_user": lambda c: c.change_user("ann", role="admin", is_active=True),
    "list_signing_secrets": lambda c: c.list_signing_secrets()[0],
    "transfer_tasks": lambda c: c.transfer_tasks("bob", "ann"),
    "rotate_signing_secret": lambda c: c.rotate_signing_secret(overlap=DAY),
    "list_calendars": lambda c: next(c.list_calendars()),
    "create_calendar": lambda c: c.create_calendar("a", **CONTENT),
    "get_calendar": lambda c: c.get_calendar("a"),
    "change_calendar": lambda c: c.change_calendar("a", **CONTENT),
    "preview_calendar": lambda c: c.preview_calendar("a", **CONTENT),
    "remove_calendar": lambda c: c.remove_calendar("a"),
    "import_calendar": lambda c: c.import_calendar("a", "BEGIN:VCALENDAR"),
    "list_calendar_versions": lambda c: next(c.list_calendar_versions("a")),
    "list_calendar_days": lambda c: next(
        c.list_calendar_days("a", since=TIME.date(), until=TIME.date())
    ),
    "list_channels": lambda c: next(c.list_channels()),
    "create_channel": lambda c: c.create_channel("a", "slack", **CHANNEL),
    "get_channel": lambda c: c.get_channel(ID),
    "change_channel": lambda c: c.change_channel(ID, name="b", **CHANNEL),
    "remove_channel": lambda c: c.remove_channel(ID),
    "test_channel": lambda c: c.test_channel(ID),
    "list_rules": lambda c: next(c.list_rules()),
    "create_rule": lambda c: c.create_rule(ID, ["run.failed"], **RULE),
    "get_rule": lambda c: c.get_rule(ID),
    "change_rule": lambda c: c.change_rule(
        ID, channel_id=ID, events=["run.failed"], **RULE
    ),
    "remove_rule": lambda c: c.remove_rule(ID),
    "list_lanes": lambda c: next(c.list_lanes()),
    "create_lane": lambda c: c.create_lane("crm", **LANE),
    "get_lane": lambda c: c.get_lane("crm"),
    "change_lane": lambda c: c.change_lane("crm", **LANE),
    "remove_lane": lambda c: c.remove_lane("crm"),
    "pause_lane": lambda c: c.pause_lane("crm", reason="x", until=TIME),
    "resume_lane": lambda c: c.resume_lane("crm"),
    "list_audit_entries": lambda c: next(
        c.list_audit_entries(
            actor="ann@acme", action="task.", object_id=ID, **TIME_RANGE
        )
    ),
}


class Operation(NamedTuple):
    method: str
    path: str
    described: dict[str, Any]

    @property
    def response(self) -> tuple[int, dict[str, Any]]:
        """The status of success, and the content of its response."""
        status = min(self.described["responses"])
        return int(status), content_of(self.described["responses"][status])

    @property
    def response_fields(self) -> set[str]:
        """The fields of the response; of a list, the fields of an item."""
        _, content = self.response
        rules = content["schema"].get("properties", {})
        if self.described["operationId"].startswith("list_"):
            [rules] = [
                rule["items"]["properties"]
                for rule in rules.values()
                if rule.get("type") == "array"
            ]
        return set(rules)

    def parameters(self, place: str) -> set[str]:
        parameters = self.described.get("parameters", ())
        return {rule["name"] for rule in parameters if rule["in"] == place}

    def matches(self, method: str, path: str) -> bool:
        pattern = re.sub(r"\{\w+\}", "[^/]+", self.path.rstrip("/"))
        return method == self.method and bool(re.fullmatch(pattern, path.rstrip("/")))


@pytest.fixture(scope="module")
def operations() -> dict[str, Operation]:
    paths = APIClient().get("/openapi.json").json()["paths"]
    return {
        described["operationId"]: Operation(method.upper(), path, described)
        for path, methods in paths.items()
        for method, described in methods.items()
        if path.split("/")[1] not in OTHER_SEGMENTS
    }


class ReceivedRequest(NamedTuple):
    operation: str
    headers: dict[str, str]
    query: set[str]
    body: Any


class FakeService(HTTPServer):
    """Responds with the examples of the OpenAPI document, and keeps the requests."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.operations = operations
        self.requests: list[ReceivedRequest] = []

    def find(self, method: str, path: str) -> str:
        """Return the operation of a path: of all that match, the one with the fewest ids."""
        found = [
            name
            for name, operation in self.operations.items()
            if operation.matches(method, path)
        ]
        return min(found, key=lambda name: self.operations[name].path.count("{"))


class _Handler(BaseHTTPRequestHandler):
    server: FakeService

    def _handle(self) -> None:
        url = urlsplit(self.path)
        name = self.server.find(self.command, url.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(
            ReceivedRequest(
                name,
                dict(self.headers.items()),
                set(parse_qs(url.query, keep_blank_values=True)),
                json.loads(body) if body else None,
            )
        )
        status, content = self.server.operations[name].response
        [example, *_] = content["examples"].values()
        response = json.dumps(example["value"]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def applied_task_fields(operations: dict[str, Operation]) -> set[str]:
    """The fields of a task in the request of `apply_tasks`."""
    body = content_of(operations["apply_tasks"].described["requestBody"])["schema"]
    types = body["properties"]["tasks"]["items"]["oneOf"]
    return {name for rule in types for name in rule["properties"]}


@pytest.fixture
def service(operations: dict[str, Operation]) -> Iterator[FakeService]:
    started = FakeService(operations)
    thread = threading.Thread(
        target=started.serve_forever, kwargs={"poll_interval": 0.02}
    )
    thread.start()
    yield started
    started.shutdown()
    thread.join()
    started.server_close()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    url = f"http://127.0.0.1:{service.server_address[1]}"
    with Client(url, "sch_x", retries=0) as started:
        yield started


def test_every_operation_has_a_method_of_its_name(
    operations: dict[str, Operation],
) -> None:
    segments = {operation.path.split("/")[1] for operation in operations.values()}

    assert segments == COVERED_SEGMENTS
    assert operations.keys() == CALLS.keys()
    assert {METHOD_NAMES.get(name, name) for name in operations} <= {*dir(Client)}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_method_sends_all_parameters_of_its_operation(
    client: Client, service: FakeService, operations: dict[str, Operation], name: str
) -> None:
    operation = operations[name]

    CALLS[name](client)

    [request] = service.requests
    assert request.operation == name
    assert request.query >= operation.parameters("query") - UNUSED_PARAMETERS
    assert request.headers.keys() >= operation.parameters("header")
    if "requestBody" in operation.described:
        rule = content_of(operation.described["requestBody"])["schema"]
        assert_fits(request.body, rule)
        known = {} if name in OPEN_BODIES else rule.get("properties", {})
        used = {field for field, of in known.items() if "x-ignored" not in of}
        assert used - request.body.keys() <= {"dry_run"}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_method_returns_all_fields_of_its_operation(
    client: Client, operations: dict[str, Operation], name: str
) -> None:
    result = CALLS[name](client)

    if is_dataclass(result):
        expected = operations[name].response_fields - UNUSED_FIELDS
        names = {PYTHON_NAMES.get(field, field) for field in expected}
        assert {field for field in names if not hasattr(result, field)} == set()


def test_a_task_has_the_fields_of_the_api_and_no_others(
    operations: dict[str, Operation],
) -> None:
    known = {field.name for field in fields(Task)} - {"etag", "raw"}

    assert known == operations["get_task"].response_fields


def test_a_task_file_may_hold_every_field_of_the_api(
    client: Client,
    service: FakeService,
    operations: dict[str, Operation],
    tmp_path: Path,
) -> None:
    """The client has no list of the fields that it sends: the service judges them."""
    known = applied_task_fields(operations)
    task = {name: f"value of {name}" for name in known}
    task["not_yet_known"] = "value of a future field"
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"tag": "web", "tasks": [task]}))

    file = load_task_file(path, {})
    client.plan_tasks(file.tag, file.tasks)
    client.apply_tasks(file.tag, file.tasks)

    assert [request.body["tasks"] for request in service.requests] == [[task], [task]]


def test_the_options_of_the_command_are_fields_of_the_api(
    operations: dict[str, Operation],
) -> None:
    known = applied_task_fields(operations)

    options = {field for field, _ in FIELD_OPTIONS.values()}

    assert options <= known


@pytest.mark.parametrize("name", ["pause_many", "resume_many"])
def test_the_tasks_of_a_filter_are_chosen_as_the_document_says(
    client: Client, service: FakeService, operations: dict[str, Operation], name: str
) -> None:
    more = HOLD if name == "pause_many" else {"catch_up": "all"}

    found = getattr(client, name)({"tag": ["a"]}, plan="0" * 32, limit=7, **more)

    [request] = service.requests
    assert request.operation == name.replace("many", "tasks")
    rule = content_of(operations[request.operation].described["requestBody"])["schema"]
    assert_fits(request.body, rule)
    [by_filter] = [each for each in rule["oneOf"] if "filter" in each["properties"]]
    assert by_filter["properties"].keys() == request.body.keys()
    fields_of_answer = operations[request.operation].response_fields - UNUSED_FIELDS
    assert all(hasattr(found, field) for field in fields_of_answer)
