"""The operation that answers why a task fired or not, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import FAILURE, NOT_FOUND, TASK_ID, UNAUTHORIZED
from tasks_api.api.tasks.runs_openapi_fields import ATTEMPT_OUT, RUN_ID, RUN_OUT
from tasks_api.domain.states import RunState
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.services.account import FireTimeOutcome


def _object(properties: dict[str, Any], *, nullable: bool = False) -> dict[str, Any]:
    found = {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }
    return {**found, "nullable": True} if nullable else found


def _when(description: str) -> dict[str, Any]:
    return openapi.text(description, format="date-time", nullable=True)


_OUTCOME = openapi.text(
    "The outcome in the account; null if the moment is to come, or has no run.",
    nullable=True,
    enum=[*map(str, FireTimeOutcome), None],
)
_CAUSE = {
    "code": openapi.text(
        "The code of the cause, of a closed list.", enum=[*map(str, Cause)]
    ),
    "message": openapi.text("The cause in words."),
    "hint": openapi.text(
        "What would have had to be different; empty if all went as planned."
    ),
    "since": _when("When the cause began; null if it has no beginning."),
    "until": _when("When the cause ended, or will; null if it is not known."),
}
_CAUSE_OUT = _object(_CAUSE)
_AUTHOR = {
    "actor": openapi.text("Who wrote the schedule."),
    "via": openapi.text("How they reached the service."),
    "action": openapi.text("The action in the audit log."),
    "at": _when("When."),
}
_SCHEDULE = {
    "words": openapi.text(
        "The schedule in words; null if it cannot be computed.", nullable=True
    ),
    "paused": {"type": "boolean", "description": "Whether the task was paused."},
    "since": _when("From when on the schedule, or the pause, was in force."),
    "until": _when("Until when; null if it is the present one."),
    "written_by": {
        **_object(_AUTHOR, nullable=True),
        "description": "Who wrote it; null if the audit log does not know any more.",
    },
}
_PLANNED = {"at": _when("The fire time."), "outcome": _OUTCOME}
_NEIGHBOUR = {
    "at": _when("The fire time."),
    "outcome": _OUTCOME,
    "run_id": openapi.text("The id of its run; null without one.", nullable=True),
}
_RUN_NAMES = (
    "id",
    "scheduled_for",
    "state",
    "reason",
    "manual",
    "started_at",
    "finished_at",
    "attempt_count",
)
_RUN = {name: RUN_OUT["properties"][name] for name in _RUN_NAMES}  # type: ignore[index]  # a literal of ours
_ATTEMPT_NAMES = ("number", "started_at", "duration_ms", "status_code", "error")
_ATTEMPT = {name: ATTEMPT_OUT["properties"][name] for name in _ATTEMPT_NAMES}  # type: ignore[index]  # the same
_EVIDENCE = {
    "kind": openapi.text(
        "What proves it: a run, one of its attempts, a change of the schedule, an entry of "
        "the audit log, a gap in the work of the service, a version of a calendar, or "
        "the task.",
        enum=["run", "attempt", "change", "audit", "gap", "calendar", "task"],
    ),
    "id": openapi.text("The id of the row; null if it has none.", nullable=True),
    "url": openapi.text("Where to read it; null if nowhere.", nullable=True),
    "at": _when("Its moment."),
    "text": openapi.text("What it says."),
}
WHY_OUT = _object(
    {
        "at": openapi.text("The moment that the answer is about.", format="date-time"),
        "verdict": openapi.text(
            "What the moment became, or will become.", enum=[*map(str, Verdict)]
        ),
        "cause": {**_CAUSE_OUT, "description": "The decisive cause."},
        "held_by": {
            "type": "array",
            "description": "All that made the run late, or holds it now.",
            "items": _CAUSE_OUT,
        },
        "schedule": {
            **_object(_SCHEDULE, nullable=True),
            "description": "The schedule in force at the moment; null without a task.",
        },
        "planned": {
            **_object(_PLANNED, nullable=True),
            "description": "The fire time that the moment stands for; null if the "
            "schedule plans none.",
        },
        "run": {
            **_object(_RUN, nullable=True),
            "description": "The run of the fire time; null without one.",
        },
        "attempts": {
            "type": "array",
            "description": "Its newest attempts, up to 30, in order.",
            "items": _object(_ATTEMPT),
        },
        "previous": {
            **_object(_NEIGHBOUR, nullable=True),
            "description": "The fire time before it, as far as history is kept.",
        },
        "next": {
            **_object(_NEIGHBOUR, nullable=True),
            "description": "The fire time after it.",
        },
        "evidence": {
            "type": "array",
            "description": "The rows that prove it.",
            "items": _object(_EVIDENCE),
        },
    }
)
_EXAMPLE = {
    "at": "2026-11-21T03:00:00Z",
    "verdict": Verdict.DELIVERED,
    "cause": {
        "code": Cause.NO_WORKER,
        "message": "No worker was at work.",
        "hint": "Run at least two workers, on different machines.",
        "since": "2026-11-21T02:58:11Z",
        "until": "2026-11-21T03:04:02Z",
    },
    "held_by": [],
    "schedule": {
        "words": "Every hour",
        "paused": False,
        "since": "2026-11-01T09:12:30Z",
        "until": None,
        "written_by": {
            "actor": "ann@Alpha",
            "via": "api",
            "action": "task.create",
            "at": "2026-11-01T09:12:30Z",
        },
    },
    "planned": {"at": "2026-11-21T03:00:00Z", "outcome": FireTimeOutcome.DELIVERED},
    "run": {
        "id": RUN_ID,
        "scheduled_for": "2026-11-21T03:00:00Z",
        "state": RunState.SUCCEEDED,
        "reason": "",
        "manual": False,
        "started_at": "2026-11-21T03:04:02Z",
        "finished_at": "2026-11-21T03:04:02Z",
        "attempt_count": 1,
    },
    "attempts": [
        {
            "number": 1,
            "started_at": "2026-11-21T03:04:02Z",
            "duration_ms": 38,
            "status_code": 200,
            "error": "",
        }
    ],
    "previous": {
        "at": "2026-11-21T02:00:00Z",
        "outcome": FireTimeOutcome.DELIVERED,
        "run_id": RUN_ID,
    },
    "next": {"at": "2026-11-21T04:00:00Z", "outcome": None, "run_id": None},
    "evidence": [
        {
            "kind": "gap",
            "id": None,
            "url": None,
            "at": "2026-11-21T02:58:11Z",
            "text": "no worker seen from 2026-11-21T02:58:11Z to 2026-11-21T03:04:02Z",
        }
    ],
}

why = openapi.operation(
    product=Product.RUNS,
    operation_id="explain_task",
    summary="Ask why a task fired or not",
    description="Answers for any moment, past or coming, what the task did, does or will "
    "do then, and why: the decisive cause with a closed list of codes, what proves it, and "
    "what would have had to be different. A moment in whole seconds stands for the fire "
    "time in that second. Without `at` the question is why the task does nothing now.",
    parameters=[
        TASK_ID,
        OpenApiParameter(
            "at",
            OpenApiTypes.STR,
            description="The moment, in ISO 8601; now if absent.",
        ),
    ],
    responses={
        200: openapi.response(WHY_OUT, _EXAMPLE, "What happened, and why."),
        400: openapi.error_response(
            "Invalid value of at. Value should be a date and time in ISO 8601"
        ),
        401: openapi.error_response(UNAUTHORIZED),
        404: openapi.error_response(NOT_FOUND),
        500: openapi.error_response(FAILURE),
    },
)
