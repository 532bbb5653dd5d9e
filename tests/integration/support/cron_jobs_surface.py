"""The cron jobs surface in its document's own example."""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

JOB = {
    "id": "job-scheduler-unique-id",
    "endpoint": "http://example.com:8080/enqueue",
    "cron": "*/10 * * * * * *",
    "payload": {
        "id": "1",
        "queue": "test-queue",
        "timeout": 30,
        "persist_data": True,
        "payload": "say my name",
    },
    "retry_already_running": 3,
    "recovery_check": True,
}


ABSENT = object()


def job_with(**changes: object) -> dict[str, Any]:
    merged = {**JOB, **changes}
    return {name: value for name, value in merged.items() if value is not ABSENT}


def put_job(api: APIClient, **changes: object) -> Any:
    return api.post("/", job_with(**changes), format="json")
