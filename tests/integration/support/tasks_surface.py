"""The tasks surface in its document's own examples, moved to 2090."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework.test import APIClient

POST_DATA = {
    "campaign_name": "SMS Campaign",
    "phone_number": "09230862348",
    "smart_list_id": 123456,
    "content": "text to be sent as sms",
}
PERIODIC = {
    "frequency": 3601,
    "task_type": "periodic",
    "start_datetime": "2090-12-05 08:00:00",
    "end_datetime": "2091-01-05 08:00:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
ONE_TIME = {
    "task_type": "one_time",
    "run_datetime": "2090-12-05 08:00:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
ABSENT = object()
START = datetime(2090, 12, 5, 8, tzinfo=UTC)


def changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**body, **changes}
    return {name: value for name, value in merged.items() if value is not ABSENT}


def created(api: APIClient, body: dict[str, Any]) -> dict[str, Any]:
    """The task object that the API shows for a body it took."""
    answer = api.post("/tasks/", body, format="json")
    assert answer.status_code == 201, answer.json()
    shown: dict[str, Any] = api.get(answer["Location"]).json()
    return shown


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


def apply_tasks(api: APIClient, tasks: object, **fields: Any) -> Any:
    body = {"tag": "web", "tasks": tasks, **fields}
    return api.post("/tasks/apply/", body, format="json")


def actions_of(answer: Any) -> dict[str, str]:
    assert answer.status_code == 200, answer.json()
    return {step["name"]: step["action"] for step in answer.json()["tasks"]}
