"""The schemas of runs, attempts, accounts and redrives in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tasks_api.api import openapi
from tasks_api.domain.states import UNDELIVERED_STATES, UNFINISHED_STATES, RunState
from tasks_api.services.account import FireTimeOutcome

RUN_ID = "01a1fc25-dfd8-77b7-8ffb-7e7198bf1a71"
TASK_ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"


def _when(description: str, **more: Any) -> dict[str, Any]:
    return openapi.text(description, format="date-time", **more)


_STATE = openapi.text("The state of the run.", enum=list(RunState.values))
_RUN_FIELDS = {
    "id": openapi.text("The id of the run, which its requests carry as `webhook-id`."),
    "task_id": openapi.text("The id of its task."),
    "task_name": openapi.text("The name of its task; empty without one."),
    "notice": {
        "type": "boolean",
        "description": "Whether the run notifies your tenant of what the service did "
        "by itself.",
    },
    "scheduled_for": _when(
        "The fire time; for a manual run, when the user asked for it; for a backfill, when "
        "it is sent."
    ),
    "slot": _when(
        "The fire time that the run belongs to; for a redrive, the fire time of the "
        "first run; for a backfill, the fire time that it makes up for."
    ),
    "state": _STATE,
    "reason": openapi.text(
        "Why the run is in this state; empty if the state says it all."
    ),
    "manual": {
        "type": "boolean",
        "description": "Whether a user asked for the run, in addition to the schedule.",
    },
    "redrive_of": openapi.text(
        "The id of the run that this one sends again; null if none.", nullable=True
    ),
    "started_at": _when("When the last attempt began; null before.", nullable=True),
    "finished_at": _when("When the run ended; null before.", nullable=True),
    "attempt_count": openapi.count("How many requests were made."),
}
_BACKFILL = {
    "backfill": openapi.text("The id of the backfill that made it; absent if none did.")
}
RUN_OUT = {
    "type": "object",
    "required": [*_RUN_FIELDS, "last_status"],
    "properties": {
        **_RUN_FIELDS,
        **_BACKFILL,
        "last_status": {
            "type": "integer",
            "nullable": True,
            "description": "The status of the last answer; null if there was none.",
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
        "number": {
            "type": "integer",
            "minimum": 1,
            "description": "Which attempt of the run it is, counted from 1.",
        },
        "started_at": _when("When the request was sent."),
        "duration_ms": openapi.count("Milliseconds until the answer, or the failure."),
        "status_code": {
            "type": "integer",
            "nullable": True,
            "description": "The status of the answer; null if there was none.",
        },
        "error": openapi.text("Why it failed; empty if it did not."),
        "answer": openapi.text("The first 16 KiB of the answer, as text."),
    },
}
DETAIL_OUT = {
    "type": "object",
    "required": [*_RUN_FIELDS, "attempts"],
    "properties": {
        **_RUN_FIELDS,
        **_BACKFILL,
        "attempts": {
            "type": "array",
            "description": "The requests that were made, the first one first.",
            "items": ATTEMPT_OUT,
        },
    },
}
RUNS_OUT = {
    "type": "object",
    "required": ["runs", "next_cursor"],
    "properties": {
        "runs": {
            "type": "array",
            "description": "The runs, the newest fire time first.",
            "items": RUN_OUT,
        },
        "next_cursor": openapi.text(
            "Send it as `cursor` to get the next page; null on the last page.",
            nullable=True,
        ),
    },
}
_OUTCOME_DESCRIPTIONS = {
    FireTimeOutcome.DELIVERED: "How many of them succeeded.",
    FireTimeOutcome.FAILED: "How many of them failed for good.",
    FireTimeOutcome.SKIPPED: "How many of them the service skipped, such as because "
    "of an earlier run.",
    FireTimeOutcome.MISSED: "How many of them the service could not fire in time.",
    FireTimeOutcome.CANCELLED: "How many of them a user, or a change of the task, cancelled.",
    FireTimeOutcome.UNDER_WAY: "How many of them are due and unfinished.",
}
_OUTCOME_COUNTS = {
    outcome.value: openapi.count(_OUTCOME_DESCRIPTIONS[outcome])
    for outcome in FireTimeOutcome
}
_DIFFERENCE = {
    "type": "object",
    "required": ["kind", "scheduled_for", "run_id", "message"],
    "properties": {
        "kind": openapi.text(
            "Whether a fire time has no run, or a run no fire time.",
            enum=["missing", "unplanned"],
        ),
        "scheduled_for": _when("The fire time."),
        "run_id": openapi.text("The id of the run; null if missing.", nullable=True),
        "message": openapi.text("The difference in a sentence."),
    },
}
ACCOUNT_OUT = {
    "type": "object",
    "required": [
        *("from", "to", "planned", *_OUTCOME_COUNTS, "manual", "balance", "missing"),
        *("unplanned", "differences", "changes"),
    ],
    "properties": {
        "from": _when("The first moment of the account."),
        "to": _when("The end of the account, which is not part of it."),
        "planned": openapi.count("How many fire times the schedule had in that time."),
        **_OUTCOME_COUNTS,
        "manual": openapi.count(
            "How many runs a user asked for, in addition to the schedule."
        ),
        "balance": {
            "type": "integer",
            "description": "The number of planned fire times minus the number of "
            "outcomes: 0 if nothing was lost.",
        },
        "missing": openapi.count("How many fire times have no run."),
        "unplanned": openapi.count("How many runs have no fire time."),
        "differences": {
            "type": "array",
            "description": "The differences by time, the first 100.",
            "items": _DIFFERENCE,
        },
        "changes": {
            "type": "array",
            "description": "When the schedule was changed, the last 100.",
            "items": {
                "type": "object",
                "required": ["at", "what"],
                "properties": {
                    "at": _when("When it was changed."),
                    "what": openapi.text("What was done, such as `paused`."),
                },
            },
        },
        "excluded": openapi.count(
            "How many fire times calendars left out; they are not planned. Only of a task "
            "that followed calendars."
        ),
        "excluded_times": {
            "type": "array",
            "description": "The fire times that calendars left out, the first 100.",
            "items": {
                "type": "object",
                "required": ["at", "calendar", "version"],
                "properties": {
                    "at": _when("The fire time that was left out."),
                    "calendar": openapi.text("The name of the calendar."),
                    "version": openapi.count("The version that counted then."),
                },
            },
        },
    },
}


_SELECTION = openapi.optional(
    {
        "task_id": openapi.text("Only the runs of this task."),
        "from": openapi.text(
            "Only runs whose fire time is at this moment or later, in ISO 8601."
        ),
        "to": openapi.text(
            "Only runs whose fire time is before this moment, in ISO 8601."
        ),
        "reason": openapi.text(
            "Only runs with this reason, as `GET /stats/` names it."
        ),
        "code": {
            "type": "integer",
            "minimum": 100,
            "maximum": 999,
            "description": "Only runs that failed because of an answer with this status.",
        },
        "backfill": openapi.text("Only the runs of this backfill."),
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "description": "The maximum number of runs, the oldest first: 1000 if absent.",
        },
    }
)


def _runs_to_change(states: Collection[RunState], text: str) -> dict[str, Any]:
    """The body of an operation on the oldest runs that a filter lets through."""
    state = {
        "type": "array",
        "minItems": 1,
        "description": text,
        "items": {"type": "string", "enum": sorted(states)},
    }
    return {
        "type": "object",
        "required": ["state"],
        "properties": {"state": state, **_SELECTION},
    }


def _changed_runs(count: str, ids: str) -> dict[str, Any]:
    """The response of such an operation."""
    return {
        "type": "object",
        "required": ["count", "run_ids", "more"],
        "properties": {
            "count": openapi.count(count),
            "run_ids": {"type": "array", "description": ids, "items": openapi.TEXT},
            "more": {
                "type": "boolean",
                "description": "Whether others are left: send the request again for "
                "those.",
            },
        },
    }


REDRIVE_IN = _runs_to_change(UNDELIVERED_STATES, "Send the runs in these states again.")
REDRIVEN_OUT = _changed_runs(
    "How many runs are sent again.", "The ids of the new runs."
)
CANCEL_IN = _runs_to_change(UNFINISHED_STATES, "Cancel the runs in these states.")
CANCELLED_OUT = _changed_runs("How many runs are cancelled.", "The ids of the runs.")
CANCEL_OUT = {
    "type": "object",
    "required": ["run_id", "state"],
    "properties": {
        "run_id": openapi.text("The id of the run."),
        "state": {
            "type": "string",
            "enum": [RunState.CANCELLED, RunState.RUNNING],
            "description": "`running` if the request is under way: its worker gives "
            "it up within seconds.",
        },
    },
}
AGAIN_OUT = {
    "type": "object",
    "required": ["run_id"],
    "properties": {"run_id": openapi.text("The id of the new run.")},
}

RUN: dict[str, Any] = {
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
ATTEMPT = {
    "number": 1,
    "started_at": "2026-11-21T03:28:22.012000Z",
    "duration_ms": 41,
    "status_code": 500,
    "error": "",
    "answer": "Internal Server Error",
}
ACCOUNT: dict[str, Any] = {
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
