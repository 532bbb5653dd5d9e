"""The view that backfills a task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from rest_framework.request import Request
from rest_framework.response import Response

from tasks_api.api import fields
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import backfills_openapi as schema
from tasks_api.api.tasks.base import TasksView
from tasks_api.domain.backfills import DEFAULT_PACE, Pace, Which, parse_pace
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services import backfill, finding
from tasks_api.services.backfill import Backfill, WantedSlots
from tasks_api.services.bell import ring_after_commit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Choice = TypeVar("Choice", bound=StrEnum)


class Turns(StrEnum):
    """Whether the runs of a backfill may overlap."""

    TASK = "task"
    ALLOW = "allow"


class BackfillTask(TasksView):
    @schema.backfill_task
    @idempotent
    def post(self, request: Request, task_id: str) -> Response:
        data = fields.require_object(request.data)
        dry_run = bool(fields.boolean(data, "dry_run"))
        wanted, expected = _read_wanted(data), _expected_hash(data)
        made = backfill.backfill_task(
            self.user,
            finding.parse_id(task_id),
            wanted,
            dry_run=dry_run,
            expected=expected,
        )
        ring_after_commit()
        return Response(_render(made, dry_run), status=200 if dry_run else 202)


# Requests.


def _read_wanted(data: Mapping[str, Any]) -> WantedSlots:
    return WantedSlots(
        _moment(data, "from"),
        _moment(data, "to"),
        _choice(data, "which", Which.MISSED),
        _pace(data),
        _choice(data, "overlap", Turns.TASK) == Turns.ALLOW,
    )


def _moment(data: Mapping[str, Any], name: str) -> datetime | None:
    moment = fields.optional_moment(data, name)
    if moment is not None and moment < EPOCH:
        raise InvalidTask(name, f"{name} should not be before 1970")
    return moment


def _choice(data: Mapping[str, Any], name: str, default: Choice) -> Choice:
    value, choices = data.get(name), type(default)
    if value is None:
        return default
    if isinstance(value, str) and value in list(choices):
        return choices(value)
    wanted = fields.join_choices(choices)
    raise InvalidTask(name, f"Invalid value of {name}. Value should be {wanted}")


def _pace(data: Mapping[str, Any]) -> Pace:
    value = data.get("pace")
    if value is None:
        return DEFAULT_PACE
    try:
        return parse_pace(value)
    except ValueError as error:
        raise InvalidTask("pace", f"Invalid value of pace. Value {error}") from None


def _expected_hash(data: Mapping[str, Any]) -> str | None:
    value = data.get("hash")
    if isinstance(value, str | None):
        return value
    raise InvalidTask(
        "hash", "Invalid value of hash. Value should be the hash of a dry run"
    )


# Responses.


def _render(made: Backfill, dry_run: bool) -> dict[str, Any]:
    slots, times = made.plan.slots, made.plan.times
    return {
        "backfill": made.backfill_id and str(made.backfill_id),
        "dry_run": dry_run,
        "count": len(slots) if dry_run else made.runs,
        "first": format_timestamp(slots[0]) if slots else None,
        "last": format_timestamp(slots[-1]) if slots else None,
        "last_sent_at": format_timestamp(times[-1]) if times else None,
        "hash": made.plan.fingerprint,
    }
