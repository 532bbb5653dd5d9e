"""The headers that tell of quotas, in the OpenAPI document: one component for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks_api.api.rate_limits import WARNING_HEADER

_ONLY_WITH_QUOTA = "Only callers with a quota of requests a minute get it."
REQUEST_HEADERS = {
    "RateLimit-Policy": {
        "description": "The quotas of the tenant and of the token: the requests that are "
        f"allowed, and the seconds of the window. {_ONLY_WITH_QUOTA}",
        "schema": {"type": "string"},
        "example": '"tenant";q=600;w=60',
    },
    "RateLimit": {
        "description": "The requests that are left, and the seconds until they are counted "
        f"anew. {_ONLY_WITH_QUOTA}",
        "schema": {"type": "string"},
        "example": '"tenant";r=597;t=42',
    },
}
WARNING_HEADERS = {
    WARNING_HEADER: {
        "description": "The runs of the day are used up, so that the runs of the task "
        "will wait. Absent as long as they are not.",
        "schema": {"type": "string"},
        "example": "runs_per_day: 100 of 100 used, runs wait until 2026-12-02T00:00:00Z",
    }
}


def add_quota_headers(
    result: dict[str, Any], generator: Any, **kwargs: Any
) -> dict[str, Any]:
    """Name the headers in the answers that may carry them."""
    components = result.setdefault("components", {}).setdefault("headers", {})
    components |= REQUEST_HEADERS | WARNING_HEADERS
    storing = set(_storing_operations(generator))
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status, answer in _counted_answers(operation):
                names = [*REQUEST_HEADERS]
                if (path, method) in storing and status.startswith("2"):
                    names += WARNING_HEADERS
                # Answers share what they have.
                more = dict(map(_refer, names))
                answer["headers"] = {**answer.get("headers", {}), **more}
    return result


def _counted_answers(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answers to callers whose credentials are right."""
    if operation.get("security"):
        for status, answer in operation["responses"].items():
            if str(status) != "401":
                yield str(status), answer


def _storing_operations(generator: Any) -> Iterator[tuple[str, str]]:
    """The paths and methods that store tasks."""
    for path, _, method, callback in generator.endpoints:
        stores = getattr(callback.cls, "stores_tasks", False)
        if stores and method in ("POST", "PUT"):
            yield path, method.lower()


def _refer(name: str) -> tuple[str, dict[str, str]]:
    return name, {"$ref": f"#/components/headers/{name}"}
