"""The Python client covers the tasks surface: every operation, with all that it takes and gives.

The operations are read from the OpenAPI schema, so a new one is covered by existing; until
it stands in the table below, these tests fail. A server on loopback answers each request
with the example that the schema gives.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from rest_framework.test import APIClient
from scheduler_client import Client

from tests.integration.openapi_document import assert_fits, content_of
from tests.integration.tasks_surface import ONE_TIME, PERIODIC

# The beginnings of paths. The other formats need no client: they have theirs.
COVERED = {"tasks", "runs", "tokens", "users", "signing-secrets", "audit"}
OTHERS = {"", "api", "cron", "delete", "insert"}
OTHERS |= {"complete", "enqueue", "heartbeat", "next", "reschedule"}
OTHERS |= {"health", "healthz", "readyz"}
# The client pages by cursor; runs of a task have a path of their own.
UNSAID = {"cursor", "offset", "task"}
# What is only for people to read, or goes on to the next page.
UNTOLD = {"message", "next_cursor"}
# Whose fields are those of a task, or anything.
FREE = {"create_task", "change_task", "put_task_by_name", "preview_task"}
FREE |= {"complete_run"}
# What a name in JSON is called in Python, if not the same.
CALLED = {"from": "since", "to": "until", "pass": "which_pass", "tasks": "steps"}

THEN = datetime(2090, 12, 5, 8, tzinfo=UTC)
SPAN: dict[str, Any] = {"since": THEN, "until": THEN}
DAY = timedelta(days=1)
ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"

Call = Callable[[Client], Any]

CALLS: dict[str, Call] = {
    "create_task": lambda c: c.create(ONE_TIME),
    "create_tasks": lambda c: c.create_many([ONE_TIME]),
    "get_task": lambda c: c.get(ID),
    "list_tasks": lambda c: next(
        c.list(
            name="a",
            tags=["b"],
            state="active",
            task_type="periodic",
            created_after=THEN,
            created_before=THEN,
            next_run_after=THEN,
            next_run_before=THEN,
            owner="all",
        )
    ),
    "change_task": lambda c: c.change(ID, PERIODIC, if_match='"1"'),
    "remove_task": lambda c: c.remove(ID, if_match='"1"'),
    "get_task_by_name": lambda c: c.by_name.get("a"),
    "put_task_by_name": lambda c: c.by_name.put(
        "a", PERIODIC, if_match='"1"', if_none_match="*"
    ),
    "remove_task_by_name": lambda c: c.by_name.delete("a", if_match='"1"'),
    "pause_task": lambda c: c.pause(ID),
    "pause_tasks": lambda c: c.pause([ID]),
    "resume_task": lambda c: c.resume(ID),
    "resume_tasks": lambda c: c.resume([ID]),
    "run_task": lambda c: c.run(ID),
    "next_fire_times": lambda c: c.next(ID, n=3),
    "preview_task": lambda c: c.preview(PERIODIC, n=3, since=THEN),
    "apply_tasks": lambda c: c.apply("web", [{**ONE_TIME, "name": "a"}], plan="0" * 32),
    "list_runs": lambda c: next(c.runs(states=["failed"], notices=True, **SPAN)),
    "list_runs_of_task": lambda c: next(c.runs(ID, states=["failed"], **SPAN)),
    "get_run": lambda c: c.run_detail(ID),
    "get_account": lambda c: c.account(ID, **SPAN),
    "redrive_run": lambda c: c.redrive(ID),
    "redrive_runs": lambda c: c.redrive_many(["failed"], task=ID, limit=7, **SPAN),
    "complete_run": lambda c: c.complete(ID, {"rows": 1200}),
    "fail_run": lambda c: c.fail(ID, "disk full", retry=False),
    "heartbeat_run": lambda c: c.heartbeat(ID),
    "list_tokens": lambda c: next(c.tokens(owner="all")),
    "get_token": lambda c: c.get_token(ID),
    "issue_token": lambda c: c.issue_token(
        "ci", scope="read", expires_in=DAY, user="x"
    ),
    "rotate_token": lambda c: c.rotate_token(ID, overlap=DAY),
    "revoke_token": lambda c: c.revoke_token(ID),
    "list_users": lambda c: next(c.users()),
    "get_user": lambda c: c.get_user("ann"),
    "add_user": lambda c: c.add_user("ann", role="admin"),
    "change_user": lambda c: c.change_user("ann", role="admin", is_active=True),
    "list_signing_secrets": lambda c: c.signing_secrets()[0],
    "transfer_tasks": lambda c: c.transfer_tasks("bob", "ann"),
    "rotate_signing_secret": lambda c: c.rotate_signing_secret(overlap=DAY),
    "list_audit_entries": lambda c: next(
        c.audit(actor="ann@acme", action="task.", object_id=ID, **SPAN)
    ),
}


class Operation(NamedTuple):
    method: str
    path: str
    described: dict[str, Any]

    @property
    def answer(self) -> tuple[int, dict[str, Any]]:
        """The best answer that is described, and its content."""
        status = min(self.described["responses"])
        return int(status), content_of(self.described["responses"][status])

    @property
    def told(self) -> set[str]:
        """The fields of what is answered; of a list, those of each."""
        _, content = self.answer
        fields = content["schema"].get("properties", {})
        if self.described["operationId"].startswith("list_"):
            [fields] = [
                each["items"]["properties"]
                for each in fields.values()
                if each.get("type") == "array"
            ]
        return set(fields)

    def parameters(self, place: str) -> set[str]:
        found = self.described.get("parameters", ())
        return {each["name"] for each in found if each["in"] == place}

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
        if path.split("/")[1] not in OTHERS
    }


class Asked(NamedTuple):
    name: str
    headers: dict[str, str]
    query: set[str]
    body: Any


class Service(HTTPServer):
    """Answers with the examples of the schema, and keeps what it was asked."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.operations = operations
        self.asked: list[Asked] = []

    def find(self, method: str, path: str) -> str:
        """The operation of a path; of those that match, the one with the fewest ids in it."""
        found = [
            name for name, each in self.operations.items() if each.matches(method, path)
        ]
        return min(found, key=lambda name: self.operations[name].path.count("{"))


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def _handle(self) -> None:
        url = urlsplit(self.path)
        name = self.server.find(self.command, url.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(
            Asked(
                name,
                dict(self.headers.items()),
                set(parse_qs(url.query, keep_blank_values=True)),
                json.loads(body) if body else None,
            )
        )
        status, content = self.server.operations[name].answer
        [example, *_] = content["examples"].values()
        answer = json.dumps(example["value"]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def service(operations: dict[str, Operation]) -> Iterator[Service]:
    started = Service(operations)
    thread = threading.Thread(
        target=started.serve_forever, kwargs={"poll_interval": 0.02}
    )
    thread.start()
    yield started
    started.shutdown()
    thread.join()
    started.server_close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    url = f"http://127.0.0.1:{service.server_address[1]}"
    with Client(url, "sch_x", retries=0) as made:
        yield made


def test_every_operation_has_a_method(operations: dict[str, Operation]) -> None:
    beginnings = {each.path.split("/")[1] for each in operations.values()}

    assert beginnings == COVERED
    assert operations.keys() == CALLS.keys()


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_method_says_what_its_operation_takes(
    client: Client, service: Service, operations: dict[str, Operation], name: str
) -> None:
    operation = operations[name]

    CALLS[name](client)

    [asked] = service.asked
    assert asked.name == name
    assert asked.query >= operation.parameters("query") - UNSAID
    assert asked.headers.keys() >= operation.parameters("header")
    if "requestBody" in operation.described:
        rule = content_of(operation.described["requestBody"])["schema"]
        assert_fits(asked.body, rule)
        known = {} if name in FREE else rule.get("properties", {})
        taken = {each for each, of in known.items() if "x-ignored" not in of}
        assert taken - asked.body.keys() <= {"dry_run"}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_method_gives_what_its_operation_answers(
    client: Client, operations: dict[str, Operation], name: str
) -> None:
    result = CALLS[name](client)

    if is_dataclass(result):
        told = {CALLED.get(each, each) for each in operations[name].told - UNTOLD}
        assert {each for each in told if not hasattr(result, each)} == set()
