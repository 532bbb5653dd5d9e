"""The OpenAPI schema says what the service does, and the service does what it says."""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.urls import URLPattern, get_resolver
from rest_framework.test import APIClient

from accounts.models import Tenant, User
from scheduler_service.http import csp
from tasks_api.api.ops import document
from tests.architecture.folders import PACKAGES, ROOT
from tests.integration.support.openapi_document import assert_fits, content_of
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created

# Their answers are pages, or they are for machines that need no description.
UNDESCRIBED = {"openapi", "docs", "admin", "cells", "task-alias", "metrics"}
# The same under another path.
ALIAS = "-v1"


TOKEN: list[dict[str, Any]] = [{"bearer": []}, {"basic": []}]


# Runs of long work have tokens of their own, and health is for everybody.
CREDENTIALS: tuple[list[dict[str, Any]], ...] = (
    TOKEN,
    [*TOKEN, {"runToken": []}],
    [{"sharedSecret": []}],
    [],
)


PRODUCTS = (
    *("Tasks", "Runs", "Long work", "Cron jobs", "Timers", "Rest jobs"),
    *("Pull queue", "Calendars", "Lanes", "Channels", "Access", "Operations"),
)


DOCUMENTED_NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# What examples may name: a host that is nobody's, and this machine.
EXAMPLE_HOSTS = {"example.com", "localhost", "127.0.0.1"}


@pytest.fixture
def schema() -> dict[str, Any]:
    found: dict[str, Any] = APIClient().get("/openapi.json").json()
    return found


def operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        operation for path in schema["paths"].values() for operation in path.values()
    ]


def closed_operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that take a credential."""
    return [operation for operation in operations(schema) if operation["security"]]


def fields_of(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in rule.get("properties", {}).items():
        yield name, field
        yield from fields_of(field)
    for part in (rule.get("items"), rule.get("additionalProperties")):
        if isinstance(part, dict):
            yield from fields_of(part)
    for choice in rule.get("oneOf", ()):
        yield from fields_of(choice)


def parts_of(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The body and the answers that have something in them."""
    parts = (*operation["responses"].values(), operation.get("requestBody"))
    return [content_of(part) for part in parts if part and "content" in part]


def docstrings() -> set[str]:
    """Every docstring of the product, and its first line alone."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, DOCUMENTED_NODES):
                    text = ast.get_docstring(node) or ""
                    found |= {text, text.partition("\n")[0]}
    return found - {""}


def texts_of(part: Any) -> Iterator[str]:
    """Every summary and description in a part of the document, however deep."""
    if isinstance(part, list):
        for each in part:
            yield from texts_of(each)
    if isinstance(part, dict):
        for name, each in part.items():
            if name in ("summary", "description") and isinstance(each, str):
                yield each
            elif name != "example" and name != "value":
                yield from texts_of(each)


def test_the_schema_is_valid_and_made_without_warnings() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=io.StringIO())


@pytest.mark.parametrize(
    "accept", ["application/json", "text/html", "application/yaml"]
)
@pytest.mark.parametrize("path", ["/openapi.json", "/openapi.json/"])
def test_the_schema_is_json_for_everybody(path: str, accept: str) -> None:
    answer = APIClient().get(path, HTTP_ACCEPT=accept)

    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.")


def test_every_endpoint_is_described(schema: dict[str, Any]) -> None:
    routes = [
        entry for entry in get_resolver().url_patterns if isinstance(entry, URLPattern)
    ]
    names = {str(route.name) for route in routes}
    endpoints = {name for name in names if not name.endswith(ALIAS)} - UNDESCRIBED

    assert len(schema["paths"]) == len(endpoints)


def test_every_operation_has_a_name_and_says_who_may_call_it(
    schema: dict[str, Any],
) -> None:
    names = [operation["operationId"] for operation in operations(schema)]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+", name) for name in names)
    assert all(operation["security"] in CREDENTIALS for operation in operations(schema))


def test_a_bearer_token_is_the_first_of_the_credentials(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]

    assert list(schemes) == ["bearer", "basic", "runToken", "sharedSecret"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert all(scheme["description"] for scheme in schemes.values())
    assert schema["security"] == [{"bearer": []}]


def test_every_operation_has_a_summary_and_a_description(
    schema: dict[str, Any],
) -> None:
    for operation in operations(schema):
        summary, description = operation["summary"], operation["description"]

        assert re.fullmatch(r"[A-Z][\w ]{4,50}", summary)
        assert len(description) >= 40
        assert description.endswith(".")


def test_no_description_is_a_docstring_of_the_code(schema: dict[str, Any]) -> None:
    texts = set(texts_of(schema))

    assert len(texts) >= 300
    assert texts & docstrings() == set()


def names_of(part: Any) -> Iterator[str]:
    """What clients send and get: fields, parameters and the values of fields."""
    if isinstance(part, list):
        for each in part:
            yield from names_of(each)
    if isinstance(part, dict):
        yield from part.get("properties", {})
        yield from map(str, part.get("enum", ()))
        if "in" in part:
            yield part["name"]
        for each in part.values():
            yield from names_of(each)


def test_descriptions_name_what_clients_see_and_nothing_of_the_code(
    schema: dict[str, Any],
) -> None:
    # With an underscore, with a capital inside, with dots between, or with parentheses.
    identifier = re.compile(
        r"\b(?:[a-z]+_[a-z_]+|[A-Z]?[a-z]+[A-Z]\w+|tasks_api\.\w+)\b|\w+\(\)"
    )
    said = {name for text in texts_of(schema) for name in identifier.findall(text)}

    assert len(said) >= 10
    assert said - set(names_of(schema)) - {"OpenAPI", "PostgreSQL"} == set()


def test_every_operation_belongs_to_a_product_that_is_described(
    schema: dict[str, Any],
) -> None:
    described = {tag["name"]: tag["description"] for tag in schema["tags"]}

    assert tuple(described) == PRODUCTS
    assert all(len(text) >= 40 for text in described.values())
    used = [operation["tags"] for operation in operations(schema)]
    assert {tag for [tag] in used} == set(PRODUCTS)


def test_every_parameter_field_and_answer_is_described(schema: dict[str, Any]) -> None:
    for operation in operations(schema):
        parameters = operation.get("parameters", [])
        answers = operation["responses"].values()
        fields = [
            field for part in parts_of(operation) for field in fields_of(part["schema"])
        ]

        bare = [each["name"] for each in parameters if not each.get("description")]
        bare += [name for name, field in fields if not field.get("description")]
        assert bare == [], operation["operationId"]
        assert all(answer["description"] for answer in answers)


def test_examples_name_no_host_of_anybody(schema: dict[str, Any]) -> None:
    examples = [
        example["value"]
        for operation in operations(schema)
        for part in parts_of(operation)
        for example in part["examples"].values()
    ]
    urls = re.findall(r"https?://[^\s\"'\\]+", json.dumps(examples))

    assert len(urls) >= 10
    assert {urlsplit(url).hostname for url in urls} <= EXAMPLE_HOSTS


@pytest.mark.parametrize("status", ["401", "500"])
def test_every_operation_says_how_it_fails(schema: dict[str, Any], status: str) -> None:
    asked = closed_operations(schema)
    assert all(status in operation["responses"] for operation in asked)


def test_every_example_fits_its_schema(schema: dict[str, Any]) -> None:
    for operation in operations(schema):
        for content in parts_of(operation):
            for example in content["examples"].values():
                assert_fits(example["value"], content["schema"])


@pytest.mark.parametrize("body", [PERIODIC, ONE_TIME], ids=["periodic", "one_time"])
def test_real_answers_fit_the_schema(
    api: APIClient, schema: dict[str, Any], body: dict[str, Any]
) -> None:
    paths = schema["paths"]
    task = created(api, body)
    api.post(f"/tasks/{task['id']}/pause/")

    answers = {
        ("/tasks/", "get"): api.get("/tasks/"),
        ("/tasks/", "post"): api.post("/tasks/", body, format="json"),
        ("/tasks/id/{task_id}/", "get"): api.get(f"/tasks/{task['id']}"),
        ("/tasks/{task_id}/resume/", "post"): api.post(f"/tasks/{task['id']}/resume"),
        ("/tasks/pause/", "post"): api.post(
            "/tasks/pause/", {"ids": []}, format="json"
        ),
        ("/tasks/id/{task_id}/", "delete"): APIClient().delete(f"/tasks/{task['id']}"),
    }

    for (path, method), answer in answers.items():
        described = paths[path][method]["responses"][str(answer.status_code)]
        assert_fits(answer.json(), content_of(described)["schema"])


def test_every_answer_to_a_caller_names_the_headers_of_quotas(
    schema: dict[str, Any],
) -> None:
    components = schema["components"]["headers"]
    for operation in operations(schema):
        for status, answer in operation["responses"].items():
            named = answer.get("headers", {})
            is_counted = bool(operation["security"]) and status != "401"
            assert ("RateLimit" in named) is is_counted
            assert ("RateLimit-Policy" in named) is is_counted
            for header in named.values():
                _, _, name = header.get("$ref", "").rpartition("/")
                assert not name or components[name]["description"]


def test_operations_that_store_tasks_name_the_warning(schema: dict[str, Any]) -> None:
    warning = {
        operation["operationId"]
        for operation in operations(schema)
        for status, answer in operation["responses"].items()
        if "X-Quota-Warning" in answer.get("headers", {}) and status.startswith("2")
    }

    assert {"create_task", "create_tasks", "put_task_by_name", "apply_tasks"} <= warning
    assert not {name for name in warning if name.startswith(("get_", "list_"))}


def test_the_headers_of_quotas_are_there_as_the_document_says(
    api: APIClient, schema: dict[str, Any], user: User
) -> None:
    Tenant.objects.update(max_requests_per_minute=1000, max_runs_per_day=0)

    answers = {
        ("/tasks/", "get"): api.get("/tasks/"),
        ("/tasks/", "post"): api.post("/tasks/", ONE_TIME, format="json"),
        ("/tasks/id/{task_id}/", "get"): api.get("/tasks/id/unknown"),
        ("/tokens/", "get"): api.get("/tokens/"),
    }

    for (path, method), answer in answers.items():
        described = schema["paths"][path][method]["responses"][str(answer.status_code)]
        quota_headers = {"RateLimit", "RateLimit-Policy", "X-Quota-Warning"}
        assert quota_headers & set(answer.headers) == quota_headers & set(
            described["headers"]
        )


def test_fetched_jobs_fit_the_schema(api: APIClient, schema: dict[str, Any]) -> None:
    job = {"id": "1", "queue": "mail", "timeout": 30}
    api.post("/enqueue", job, format="json")
    api.get("/next?queue=mail")
    api.post("/reschedule", {**job, "state": 7}, format="json")

    answer = api.get("/next?queue=mail")

    described = schema["paths"]["/next/"]["get"]["responses"]["200"]
    assert_fits(answer.json(), content_of(described)["schema"])


def test_the_page_shows_the_schema() -> None:
    page = APIClient().get("/docs/")

    assert page.status_code == 200
    assert page["Content-Type"].startswith("text/html")
    script = APIClient().get("/docs/?script=")
    assert "/openapi.json" in script.content.decode()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = APIClient().get("/docs").content.decode()

    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert files
    own = [file for file in files if not file.startswith("/docs")]
    assert all(file.startswith("/static/") for file in own)
    assert all(finders.find(file.removeprefix("/static/")) for file in own)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_no_method_breaks_the_page(path: str, method: str) -> None:
    answer = APIClient().generic(method, path)

    assert answer.status_code in {200, 405}


def test_the_document_is_made_once_and_sent_only_if_it_is_another(
    api: APIClient,
) -> None:
    answer = api.get("/openapi.json")
    again = api.get("/openapi.json", HTTP_IF_NONE_MATCH=answer["ETag"])
    zipped = api.get("/openapi.json", HTTP_ACCEPT_ENCODING="gzip, br")

    assert (again.status_code, again.content) == (304, b"")
    assert zipped["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.content) == answer.content
    assert len(zipped.content) < len(answer.content) / 10
    assert "Accept-Encoding" in zipped["Vary"]
    assert document._document() is document._document()


def test_a_page_runs_our_scripts_and_no_others() -> None:
    page = APIClient().get("/docs/")

    policy = page["Content-Security-Policy"]
    assert f"script-src 'self' '{csp.PERIODIC_TASK_SCRIPT_HASH}';" in policy
    assert "frame-ancestors 'none'" in policy
    # So a script in place would not run.
    assert not re.findall(r"<script>|<script [^s]|\son\w+=", page.content.decode())
    script = re.findall(r'<script src="(/docs/[^"]*)"', page.content.decode())[0]
    assert b"/openapi.json" in APIClient().get(script).content


def test_what_is_no_page_may_load_nothing(api: APIClient) -> None:
    policy = api.get("/tasks/")["Content-Security-Policy"]

    assert policy == "default-src 'none'; frame-ancestors 'none'"
