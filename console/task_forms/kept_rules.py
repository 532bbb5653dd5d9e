"""The rules of a task in a form, which shows them in words and hands them back as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import APIException

from tasks_api.api import json_codec
from tasks_api.api.tasks import rule_fields, schedule_fields
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.schedule_words import schedule_words

# The fields of the API that a form keeps.
FIELDS = ("rrule", "schedules")
MAX_LENGTH = 50_000


def keep_rules(task: Mapping[str, Any]) -> str:
    """Return the rules of a task as the API shows it; empty if it has none."""
    found = {name: task[name] for name in FIELDS if task.get(name)}
    return json_codec.dumps(found) if found else ""


def read_rules(text: Any) -> dict[str, Any]:
    """Return the fields that keep_rules() wrote; none if somebody wrote something else."""
    if not isinstance(text, str) or not text or len(text) > MAX_LENGTH:
        return {}
    try:
        found = json_codec.loads(text.encode("utf-8", "replace"))
    except APIException:
        return {}
    if not isinstance(found, Mapping) or found.keys() - set(FIELDS):
        return {}
    return dict(found)


def rules_in_words(text: Any) -> str:
    """Return when a task with these rules fires; empty without rules that can be read."""
    rules = read_rules(text)
    if not rules:
        return ""
    body = {"task_type": "periodic", **rules}
    try:
        schedule = schedule_fields.read_schedule(
            body, now=rule_fields.EPOCH, bounds_optional=True
        )
    except (InvalidTask, TooMuch):
        return ""
    return schedule_words(schedule)
