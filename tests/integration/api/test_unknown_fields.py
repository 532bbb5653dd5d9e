"""What nobody knows: refused where the service is on its own, named where it is not."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import Role, User
from tests.conftest import ClientFor
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created

ODD = "timezome"
HEADER = "X-Ignored-Fields"
LENIENT = re.compile(
    r"/($|insert|delete|cron|api/v1/jobs|enqueue|next|heartbeat|reschedule|complete)"
)
CRON = {"task_type": "periodic", "cron": "0 9 * * *", "url": "http://a.example/"}
NO_ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"


@pytest.fixture
def admin(user: User, client_for: ClientFor) -> APIClient:
    """Whoever may call everything, so that no answer is 403."""
    user.role = Role.ADMIN
    user.save()
    return client_for(user)


def operations(*, strict: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = APIClient().get("/openapi.json").json()
    for path, methods in document["paths"].items():
        if bool(LENIENT.match(path)) is not strict:
            for method, operation in methods.items():
                # Health is for everybody, and asks nothing.
                if operation["security"]:
                    yield re.sub(r"\{\w+\}", NO_ID, path), method, operation


def rule_of(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    rule: dict[str, Any] = content.get("application/json", {}).get("schema", {})
    return rule


def examples_of(operation: dict[str, Any]) -> list[Any]:
    content = operation.get("requestBody", {}).get("content", {})
    examples = content.get("application/json", {}).get("examples", {})
    return [each["value"] for each in examples.values()]


def with_odd_field(value: Any, rule: dict[str, Any]) -> Iterator[Any]:
    """The value as often as it has an object whose fields are known, one more in each."""
    for choice in rule.get("oneOf", [rule]):
        if isinstance(value, dict) and "properties" in choice:
            yield {**value, ODD: 1}
            for name, part in value.items():
                for odd in with_odd_field(part, choice["properties"].get(name, {})):
                    yield {**value, name: odd}
        if isinstance(value, list) and "items" in choice:
            for place, part in enumerate(value):
                for odd in with_odd_field(part, choice["items"]):
                    yield [*value[:place], odd, *value[place + 1 :]]


def call(api: APIClient, method: str, path: str, body: Any = None) -> Any:
    return api.generic(method.upper(), path, *encoded(body))


def encoded(body: Any) -> tuple[Any, ...]:
    return () if body is None else (json.dumps(body), "application/json")


# The surface of our own, by its description.


def test_no_operation_takes_an_unknown_parameter(admin: APIClient) -> None:
    for path, method, _ in operations(strict=True):
        answer = call(admin, method, f"{path}?{ODD}=1")

        assert answer.status_code == 400, (method, path)
        assert f"Unknown field: {ODD}" in answer.json()["error"]["message"]


def test_no_operation_takes_an_unknown_field_at_any_depth(admin: APIClient) -> None:
    tried = 0
    for path, method, operation in operations(strict=True):
        rule = rule_of(operation)
        for example in examples_of(operation):
            for body in with_odd_field(example, rule):
                answer = call(admin, method, path, body)

                assert answer.status_code == 400, (method, path, body)
                assert ODD in answer.json()["error"]["message"], answer.json()
                tried += 1
    assert tried > 25


def test_operations_without_a_body_take_no_fields(admin: APIClient) -> None:
    for path, method, operation in operations(strict=True):
        if method in ("post", "put", "patch") and "requestBody" not in operation:
            answer = call(admin, method, path, {"post_data": {}})

            assert answer.status_code == 400, path
            message = answer.json()["error"]["message"]
            assert message == "Unknown field: post_data"


def test_every_field_and_parameter_of_the_description_is_known(
    admin: APIClient,
) -> None:
    for path, method, operation in operations(strict=True):
        rule = rule_of(operation)
        names = {
            n for each in rule.get("oneOf", [rule]) for n in each.get("properties", ())
        }
        if method != "delete":
            for name in names:
                answer = call(admin, method, path, {name: None})
                assert "Unknown" not in answer.content.decode(), (path, name)
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                answer = call(admin, method, f"{path}?{parameter['name']}=1")
                assert "Unknown" not in answer.content.decode(), (path, parameter)


def test_the_description_closes_every_object_whose_fields_are_known() -> None:
    def objects(rule: Any) -> Iterator[dict[str, Any]]:
        if isinstance(rule, list):
            for each in rule:
                yield from objects(each)
        if isinstance(rule, dict):
            if rule.get("type") == "object" and "properties" in rule:
                yield rule
            for each in rule.values():
                yield from objects(each)

    for path, _, operation in operations(strict=True):
        for rule in objects(rule_of(operation)):
            assert rule["additionalProperties"] is False, path


# What it says.


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"timezome": "UTC"}, "Unknown field: timezome. Did you mean timezone?"),
        ({"retries": 3}, "Unknown field: retries. Did you mean retry?"),
        ({"payload": {}}, "Unknown field: payload. Did you mean post_data?"),
        ({"timeout": 5}, "Unknown field: timeout. Did you mean timeout_seconds?"),
        ({"Tags": []}, "Unknown field: Tags. Did you mean tags?"),
        (
            {"retry": {"max_atempts": 3}},
            "Unknown field: retry.max_atempts. Did you mean retry.max_attempts?",
        ),
        (
            {"long_work": {"deadline": 3, "dedline": 4}},
            "Unknown field: long_work.dedline. Did you mean long_work.deadline?",
        ),
        ({"dst": {"gapp": "skip"}}, "Unknown field: dst.gapp. Did you mean dst.gap?"),
        (
            {"next_run_datetme": None},
            "Unknown field: next_run_datetme. Did you mean run_datetime?",
        ),
        ({"": 1}, "Unknown field: "),
        ({"x" * 5000: 1}, f"Unknown field: {'x' * 100}…"),
        ({"colour": 1}, "Unknown field: colour"),
    ],
)
def test_the_error_names_the_field_and_the_nearest_known_one(
    api: APIClient, more: dict[str, Any], message: str
) -> None:
    answer = api.post("/tasks/", {**PERIODIC, **more}, format="json")

    assert answer.status_code == 400
    assert answer.json() == {"error": {"message": message}}
    assert api.get("/tasks/").json()["count"] == 0


@pytest.mark.parametrize(
    "name",
    ["cron_expression", "cron_expr", "crontab", "schedule", "expression", "Cron"],
)
def test_a_cron_expression_under_another_name_is_told_the_right_one(
    api: APIClient, name: str
) -> None:
    body = {"task_type": "periodic", "url": "http://a.example/", name: "0 9 * * *"}

    answer = api.post("/tasks/", body, format="json")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith(f"{name}. Did you mean cron?")


def test_a_misspelt_filter_is_no_filter(api: APIClient) -> None:
    answer = api.get("/tasks/?stat=paused")

    assert answer.status_code == 400
    assert "stat. Did you mean state?" in answer.json()["error"]["message"]


def test_a_misspelt_change_changes_nothing(api: APIClient) -> None:
    task = created(api, PERIODIC)

    answer = api.patch(f"/tasks/id/{task['id']}", {"tgas": ["a"]}, format="json")

    assert answer.status_code == 400
    assert "tgas. Did you mean tags?" in answer.json()["error"]["message"]
    assert api.get(f"/tasks/{task['id']}").json() == task


def test_of_many_tasks_each_bad_one_is_named(api: APIClient) -> None:
    tasks = [PERIODIC, {**PERIODIC, ODD: 1}, {**PERIODIC, "url": 1}]

    answer = api.post("/tasks/bulk/", tasks, format="json")

    found = [(e["index"], e["field"]) for e in answer.json()["error"]["tasks"]]
    assert answer.status_code == 400
    assert found == [(1, ODD), (2, "url")]


def test_of_a_declared_list_each_bad_one_is_named(api: APIClient) -> None:
    tasks = [{**CRON, "name": "a", ODD: 1}, {**CRON, "name": "b", "retry": {ODD: 1}}]

    answer = api.post("/tasks/apply/", {"tag": "t", "tasks": tasks}, format="json")

    found = [(e["index"], e["field"]) for e in answer.json()["error"]["tasks"]]
    assert answer.status_code == 400
    assert found == [(0, ODD), (1, f"retry.{ODD}")]


# What is no field of ours.


def test_what_is_the_clients_own_is_not_looked_into(api: APIClient) -> None:
    own = {ODD: {"retry": {"max_atempts": 1}}, "": [{"x": 1}]}

    posted = api.post("/tasks/", {**PERIODIC, "post_data": own}, format="json")
    with_body = api.post("/tasks/", {**CRON, "body": own}, format="json")
    with_headers = api.post("/tasks/", {**CRON, "headers": {ODD: "1"}}, format="json")

    assert {each.status_code for each in (posted, with_body, with_headers)} == {201}


def test_what_goes_with_the_other_type_is_ignored(api: APIClient) -> None:
    other = {name: {"no": [1]} for name in ("frequency", "cron", "start_datetime")}

    once = api.post("/tasks/", {**ONE_TIME, **other}, format="json")
    often = api.post("/tasks/", {**PERIODIC, "run_datetime": 7}, format="json")

    assert (once.status_code, often.status_code) == (201, 201)


def test_a_body_that_nobody_reads_may_be_anything(api: APIClient) -> None:
    task = created(api, PERIODIC)

    for body in ("", "not JSON", "[1]", "null", "{}"):
        answer = api.generic("POST", f"/tasks/{task['id']}/pause/", body)
        assert answer.status_code == 200, body


# The formats of others.

JOB = {"id": "1", "queue": "mail", "timeout": 30}
CRON_JOB = {
    "id": "1",
    "endpoint": "http://a.example/",
    "cron": "0 9 * * *",
    "payload": 1,
}
REST_JOB = {
    "task": {
        "method": "GET",
        "uri": "http://a.example/",
        "body": {},
        "expected_range": "200-299",
    },
    "schedule": "2090-01-01",
}


@pytest.mark.parametrize(
    ("path", "body", "status", "ignored"),
    [
        ("/", {**CRON_JOB, "retries": 1, "b": 2}, 202, "b, retries"),
        ("/", {**CRON_JOB, "payload": {"retries": 1}}, 202, None),
        ("/?x=1", CRON_JOB, 202, "x"),
        ("/enqueue", {**JOB, "state": 1, "payload": {"a": 1}}, 202, "state"),
        ("/v1/enqueue", {**JOB, "prio": 1}, 202, "prio"),
        ("/enqueue/batch", [JOB, {**JOB, "x": 1}, {**JOB, "x": 1}], 202, "[].x"),
        ("/api/v1/jobs", {**REST_JOB, "id": 1}, 201, "id"),
        (
            "/api/v1/jobs",
            {**REST_JOB, "task": {**REST_JOB["task"], "retry": 1}},  # type: ignore[dict-item]  # a value of the wrong type, on purpose
            201,
            "task.retry",
        ),
        ("/enqueue", {"id": "1", "queue": "q", "timout": 30}, 400, "timout"),
        ("/enqueue", {**JOB, "a,b\r\nX: é": 1}, 202, "a%2Cb%0D%0AX:%20%C3%A9"),
    ],
)
def test_the_formats_of_others_ignore_and_name_it(
    api: APIClient, path: str, body: Any, status: int, ignored: str | None
) -> None:
    answer = call(api, "post", path, copy.deepcopy(body))

    assert answer.status_code == status, answer.content
    assert answer.get(HEADER) == ignored


def test_parameters_of_the_formats_of_others_are_named_too(api: APIClient) -> None:
    assert api.get("/next?queue=mail&num_job=3")[HEADER] == "num_job"
    assert HEADER not in api.get("/next?queue=mail&num_jobs=3")


def test_the_header_does_not_grow_without_bounds(api: APIClient) -> None:
    many = {f"{n:04}" + "é" * 200: n for n in range(500)}

    answer = call(api, "post", "/enqueue", {**JOB, **many})

    assert answer.status_code == 202
    assert len(answer[HEADER]) < 1100
    assert answer[HEADER].endswith(", ...")
    assert answer[HEADER].isascii()


def test_the_description_tells_of_the_header() -> None:
    for path, _, operation in operations(strict=False):
        for status, answer in operation["responses"].items():
            assert HEADER in answer.get("headers", {}), (path, status)
