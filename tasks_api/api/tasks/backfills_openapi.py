"""The operation that backfills a task in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import FAILURE, TASK_ID, UNAUTHORIZED
from tasks_api.domain.backfills import (
    DEFAULT_PACE,
    MAX_DURATION,
    MAX_PER_SECOND,
    Which,
)
from tasks_api.services.backfill import MAX_SLOTS

_EXAMPLE: dict[str, Any] = {
    "from": "2026-11-21T03:00:00Z",
    "to": "2026-11-21T09:00:00Z",
    "which": "missed",
    "pace": "20/minute",
}
_HASH = "6f1f0c8e5d2a4b7c9e3a1d5f7b9c0e2d"
BACKFILL_IN = {
    "type": "object",
    "properties": {
        **openapi.optional(
            {
                "from": openapi.text(
                    "The first slot is at this moment or later, in ISO 8601; a day before "
                    "`to` if absent."
                ),
                "to": openapi.text(
                    "All slots are before this moment, in ISO 8601; now if absent."
                ),
                "which": openapi.text(
                    "`missed`: the fire times that the schedules in force then had, also "
                    "while the task was paused, and of which no run succeeded; this is the "
                    "default. `all`: each fire time of the present schedule, also before the "
                    "task was created.",
                    enum=[which.value for which in Which],
                ),
                "pace": openapi.text(
                    "How many runs are sent per second, minute, hour or day, at most "
                    f"{MAX_PER_SECOND}/second; {DEFAULT_PACE} if absent.",
                    pattern="^[1-9][0-9]{0,5}/(second|minute|hour|day)$",
                ),
                "overlap": openapi.text(
                    "`task`: the runs of a task that may not overlap take turns; this is "
                    "the default. `allow`: they may overlap.",
                    enum=["task", "allow"],
                ),
                "dry_run": {
                    "type": "boolean",
                    "description": "Whether to plan only, and make no run.",
                },
                "hash": openapi.text(
                    "The `hash` of a dry run: 409 if the plan is another one now."
                ),
            }
        ),
    },
}


def _moment(description: str) -> dict[str, Any]:
    return openapi.text(description, format="date-time", nullable=True)


BACKFILL_OUT = {
    "type": "object",
    "required": [
        "backfill",
        "dry_run",
        "count",
        "first",
        "last",
        "last_sent_at",
        "hash",
    ],
    "properties": {
        "backfill": openapi.text(
            "The id of the backfill, by which its runs are found; null if it made none.",
            nullable=True,
        ),
        "dry_run": {"type": "boolean", "description": "Whether no run was made."},
        "count": openapi.count("How many runs were made, or would be."),
        "first": _moment("The oldest slot; null if there is none."),
        "last": _moment("The newest slot; null if there is none."),
        "last_sent_at": _moment(
            "When the last run is sent, if its turn has come; null if there is none."
        ),
        "hash": openapi.text("The hash of the plan."),
    },
}
_ANSWER: dict[str, Any] = {
    "backfill": "01a1fc25-ccbb-7241-824c-01539cec9869",
    "dry_run": False,
    "count": 6,
    "first": "2026-11-21T03:00:00Z",
    "last": "2026-11-21T08:00:00Z",
    "last_sent_at": "2026-11-21T09:12:15Z",
    "hash": _HASH,
}

backfill_task = openapi.operation(
    product=Product.RUNS,
    operation_id="backfill_task",
    summary="Send what fire times of before would have sent",
    description="Makes a run for each slot, which is a fire time of before: those that were "
    "missed, or all. The runs are sent at a pace, the oldest slot first, and each carries "
    "its slot in `X-Scheduled-For`. A slot of which a run has not ended is left out, so a "
    "repeated request makes only what is missing. It works for a paused task and one that has ended "
    f"by itself. At most {MAX_SLOTS:,} slots and {MAX_DURATION.days} days. Try it with "
    "`dry_run` first, and send the `hash` of its answer.",
    parameters=[TASK_ID, *openapi.IDEMPOTENCY],
    request=openapi.json_body(BACKFILL_IN),
    examples=[
        OpenApiExample("what was missed in six hours", _EXAMPLE, request_only=True)
    ],
    responses={
        200: openapi.response(
            BACKFILL_OUT,
            {**_ANSWER, "backfill": None, "dry_run": True},
            "The plan of a dry run.",
        ),
        202: openapi.response(BACKFILL_OUT, _ANSWER, "The runs are made."),
        400: openapi.error_response("to should be after from"),
        401: openapi.error_response(UNAUTHORIZED),
        404: openapi.error_response("Task not found"),
        409: openapi.error_response("The plan is another one now; look at it again"),
        413: openapi.error_response(openapi.TOO_LARGE),
        422: openapi.error_response(openapi.KEY_REUSED),
        429: openapi.error_response(
            "These are 300 runs, and 100 more of the token may start or wait today"
        ),
        500: openapi.error_response(FAILURE),
    },
)
