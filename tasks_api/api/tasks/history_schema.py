"""Runs, the account and redrives as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
)

from tasks_api.account import MOST, Outcome
from tasks_api.api import schema
from tasks_api.api.tasks.schema import FAILURE, UNAUTHORIZED
from tasks_api.states import NOT_DELIVERED, RunState

RUN_ID = "01a1fc25-dfd8-77b7-8ffb-7e7198bf1a71"
TASK_ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"

_MOMENT = {"type": "string", "format": "date-time"}
_MAYBE = _MOMENT | {"nullable": True}
_COUNT = {"type": "integer", "minimum": 0}
_STATE = {"type": "string", "enum": list(RunState.values)}
_RUN = {
    "id": schema.TEXT,
    "task_id": schema.TEXT,
    "task_name": schema.TEXT,
    "notice": {
        "type": "boolean",
        "description": "Tells the tenant what the service did by itself.",
    },
    "scheduled_for": _MOMENT,
    "slot": _MOMENT
    | {
        "description": "The fire time that it stands for: of one that sends another run "
        "again, that of the other."
    },
    "state": _STATE,
    "reason": schema.TEXT,
    "manual": {
        "type": "boolean",
        "description": "Asked for by somebody, beside the schedule.",
    },
    "redrive_of": {
        "type": "string",
        "nullable": True,
        "description": "The run that this one sends again.",
    },
    "started_at": _MAYBE,
    "finished_at": _MAYBE,
    "attempt_count": _COUNT,
}
RUN_OUT = {
    "type": "object",
    "required": [*_RUN, "last_status"],
    "properties": {
        **_RUN,
        "last_status": {
            "type": "integer",
            "nullable": True,
            "description": "The status of the last answer.",
        },
    },
}
ATTEMPT_OUT = {
    "type": "object",
    "required": [
        "number",
        "started_at",
        "duration_ms",
        "status_code",
        "error",
        "answer",
    ],
    "properties": {
        "number": {"type": "integer", "minimum": 1},
        "started_at": _MOMENT,
        "duration_ms": _COUNT,
        "status_code": {"type": "integer", "nullable": True},
        "error": schema.TEXT,
        "answer": {"type": "string", "description": "The first 16 KiB, as text."},
    },
}
DETAIL_OUT = {
    "type": "object",
    "required": [*_RUN, "attempts"],
    "properties": {**_RUN, "attempts": {"type": "array", "items": ATTEMPT_OUT}},
}
RUNS_OUT = {
    "type": "object",
    "required": ["runs", "next_cursor"],
    "properties": {
        "runs": {"type": "array", "items": RUN_OUT},
        "next_cursor": {"type": "string", "nullable": True},
    },
}
_OUTCOMES = {outcome.value: _COUNT for outcome in Outcome}
ACCOUNT_OUT = {
    "type": "object",
    "required": [
        *("from", "to", "planned", *_OUTCOMES, "manual", "balance", "missing"),
        *("unplanned", "differences", "changes"),
    ],
    "properties": {
        "from": _MOMENT,
        "to": _MOMENT,
        "planned": _COUNT,
        **_OUTCOMES,
        "manual": _COUNT,
        "balance": {
            "type": "integer",
            "description": "What was planned less what became of it: 0.",
        },
        "missing": _COUNT,
        "unplanned": _COUNT,
        "differences": {
            "type": "array",
            "description": "The first 100, by time.",
            "items": {
                "type": "object",
                "required": ["kind", "scheduled_for", "run_id", "message"],
                "properties": {
                    "kind": {"type": "string", "enum": ["missing", "unplanned"]},
                    "scheduled_for": _MOMENT,
                    "run_id": {"type": "string", "nullable": True},
                    "message": schema.TEXT,
                },
            },
        },
        "changes": {
            "type": "array",
            "description": "When the schedule changed, the last 100.",
            "items": {
                "type": "object",
                "required": ["at", "what"],
                "properties": {"at": _MOMENT, "what": schema.TEXT},
            },
        },
    },
}
REDRIVE_IN = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "enum": sorted(NOT_DELIVERED)},
        },
        **schema.optional(
            {
                "task_id": schema.TEXT,
                "from": schema.MOMENT_IN,
                "to": schema.MOMENT_IN,
                "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            }
        ),
    },
}
REDRIVEN_OUT = {
    "type": "object",
    "required": ["count", "run_ids", "more"],
    "properties": {
        "count": _COUNT,
        "run_ids": {"type": "array", "items": schema.TEXT},
        "more": {"type": "boolean", "description": "Whether others are left."},
    },
}
AGAIN_OUT = {
    "type": "object",
    "required": ["run_id"],
    "properties": {"run_id": schema.TEXT},
}

_COMMON: dict[str, Any] = {
    "id": RUN_ID,
    "task_id": TASK_ID,
    "task_name": "",
    "notice": False,
    "scheduled_for": "2026-11-21T03:28:22Z",
    "slot": "2026-11-21T03:28:22Z",
    "state": "failed",
    "reason": "The answer was 500.",
    "manual": False,
    "redrive_of": None,
    "started_at": "2026-11-21T03:28:22.012000Z",
    "finished_at": "2026-11-21T03:28:22.056000Z",
    "attempt_count": 1,
}
_ATTEMPT = {
    "number": 1,
    "started_at": "2026-11-21T03:28:22.012000Z",
    "duration_ms": 41,
    "status_code": 500,
    "error": "",
    "answer": "Internal Server Error",
}
_ACCOUNT: dict[str, Any] = {
    "from": "2026-11-20T00:00:00Z",
    "to": "2026-11-21T00:00:00Z",
    "planned": 24,
    "delivered": 21,
    "failed": 1,
    "skipped": 0,
    "missed": 1,
    "cancelled": 1,
    "under_way": 0,
    "manual": 1,
    "balance": 0,
    "missing": 0,
    "unplanned": 0,
    "differences": [],
    "changes": [{"at": "2026-11-20T07:12:30Z", "what": "paused"}],
}


def _failures(**texts: str) -> dict[Any, Any]:
    """Of all operations here, and some more: `_400="The sentence."` for each status."""
    texts = {"_401": UNAUTHORIZED, "_500": FAILURE, **texts}
    return {int(status[1:]): schema.error(text) for status, text in texts.items()}


def _moments(what: str) -> list[OpenApiParameter]:
    return [
        OpenApiParameter("from", OpenApiTypes.STR, description=f"{what}, included."),
        OpenApiParameter("to", OpenApiTypes.STR, description=f"{what}, excluded."),
    ]


_PAGING = [
    OpenApiParameter(
        "state", OpenApiTypes.STR, description="One state, or several with commas."
    ),
    *_moments("The fire time"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="100, and at most 1000."),
    OpenApiParameter(
        "cursor", OpenApiTypes.STR, description="The next_cursor of an answer."
    ),
    schema.header("Link", 200, 'Where older ones are, with `rel="next"`, if any.'),
]
_PAGE = schema.answer(
    RUNS_OUT,
    {"runs": [{**_COMMON, "last_status": 500}], "next_cursor": None},
    "The runs, newest first.",
)
BAD_STATE = "Invalid value of state. A state should be one of cancelled, failed"

list_runs = schema.operation(
    operation_id="list_runs",
    summary="Get the runs of all tasks",
    parameters=[
        OpenApiParameter("task", OpenApiTypes.STR, description="The id of a task."),
        OpenApiParameter(
            "notice",
            OpenApiTypes.BOOL,
            description="True: the runs of notices, which are left out otherwise.",
        ),
        *_PAGING,
    ],
    responses={
        200: _PAGE,
        **_failures(_400=BAD_STATE, _404="Task not found"),
    },
)
list_runs_of_task = schema.operation(
    operation_id="list_runs_of_task",
    summary="Get the runs of a task",
    description="Also of one that has ended or was removed.",
    parameters=_PAGING,
    responses={
        200: _PAGE,
        **_failures(_400=BAD_STATE, _404="Task not found"),
    },
)
get_run = schema.operation(
    operation_id="get_run",
    summary="Get a run with its attempts",
    responses={
        200: schema.answer(DETAIL_OUT, {**_COMMON, "attempts": [_ATTEMPT]}, "The run."),
        **_failures(_404="Run not found"),
    },
)
get_account = schema.operation(
    operation_id="get_account",
    summary="Get what was planned of a task, and what became of it",
    description=f"Of the last day, or of a time with at most {MOST} fire times.",
    parameters=_moments("The fire time"),
    responses={
        200: schema.answer(ACCOUNT_OUT, _ACCOUNT, "The account."),
        **_failures(_400="to should not be before from", _404="Task not found"),
    },
)
redrive_run = schema.operation(
    operation_id="redrive_run",
    summary="Send a run again",
    parameters=schema.IDEMPOTENCY,
    request=None,
    responses={
        202: schema.answer(AGAIN_OUT, {"run_id": RUN_ID}, "A new run was made."),
        **_failures(
            _400=schema.KEY_UNFIT,
            _404="Run not found",
            _409="The run was delivered",
            _422=schema.KEY_REUSED,
        ),
    },
)
redrive_runs = schema.operation(
    operation_id="redrive_runs",
    summary="Send runs again by what became of them",
    parameters=schema.IDEMPOTENCY,
    request=schema.body(REDRIVE_IN),
    examples=[
        OpenApiExample(
            "what failed in an hour",
            {
                "state": ["failed"],
                "from": "2026-11-21T03:00:00Z",
                "to": "2026-11-21T04:00:00Z",
            },
            request_only=True,
        )
    ],
    responses={
        202: schema.answer(
            REDRIVEN_OUT,
            {"count": 1, "run_ids": [RUN_ID], "more": False},
            "New runs were made.",
        ),
        **_failures(
            _400="Missing key: state",
            _409=schema.KEY_IN_USE,
            _413=schema.TOO_LARGE,
            _422=schema.KEY_REUSED,
        ),
    },
)
