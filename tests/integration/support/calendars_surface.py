"""The surface of calendars: a body of one, and how tests make it."""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

CLOSED = {
    "name": "closed",
    "zone": "Europe/Berlin",
    "dates": ["2027-05-28"],
    "ranges": [{"from": "2026-12-24", "to": "2027-01-01"}],
    "weekdays": ["sun", "sat"],
    "holidays": {"country": "DE", "subdivision": "BY"},
}
CRON = {
    "task_type": "periodic",
    "cron": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "url": "http://example.com/hook",
}


def make_calendar(admin: APIClient, **fields: Any) -> dict[str, Any]:
    answer = admin.post("/calendars/", {**CLOSED, **fields}, format="json")
    assert answer.status_code == 201, answer.json()
    made: dict[str, Any] = answer.json()
    return made
