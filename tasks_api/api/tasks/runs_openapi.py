"""The operations on runs, accounts, redrives and cancellations in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
)

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import FAILURE, TASK_ID, UNAUTHORIZED
from tasks_api.api.tasks.runs_openapi_fields import (
    ACCOUNT,
    ACCOUNT_OUT,
    AGAIN_OUT,
    ATTEMPT,
    CANCEL_IN,
    CANCEL_OUT,
    CANCELLED_OUT,
    DETAIL_OUT,
    REDRIVE_IN,
    REDRIVEN_OUT,
    RUN,
    RUN_ID,
    RUNS_OUT,
)
from tasks_api.services.reconciliation import MAX_FIRE_TIMES


def _failures(**texts: str) -> dict[Any, Any]:
    """The errors of all operations here, plus given ones such as `_400="The message."`."""
    texts = {"_401": UNAUTHORIZED, "_500": FAILURE, **texts}
    return {
        int(status[1:]): openapi.error_response(text) for status, text in texts.items()
    }


def _moments(what: str) -> list[OpenApiParameter]:
    return [
        OpenApiParameter(
            "from",
            OpenApiTypes.STR,
            description=f"{what} at this moment or later, in ISO 8601.",
        ),
        OpenApiParameter(
            "to",
            OpenApiTypes.STR,
            description=f"{what} before this moment, in ISO 8601.",
        ),
    ]


_PAGING = [
    OpenApiParameter(
        "state",
        OpenApiTypes.STR,
        description="Only runs in this state, or in one of several with commas between.",
    ),
    *_moments("Only runs whose fire time is"),
    OpenApiParameter(
        "reason",
        OpenApiTypes.STR,
        description="Only runs with this reason, as `GET /stats/` names it: without what "
        "follows a semicolon. Without `state`, only runs that were not delivered. A page "
        "may then be shorter than `limit`, and not be the last one.",
    ),
    OpenApiParameter(
        "code",
        OpenApiTypes.INT,
        description="Only runs that failed, or wait for a retry, because of an answer "
        "with this status. Pages are as those of `reason`.",
    ),
    OpenApiParameter(
        "backfill",
        OpenApiTypes.STR,
        description="Only the runs of the backfill of this id. Pages are as those of "
        "`reason`.",
    ),
    OpenApiParameter(
        "lane",
        OpenApiTypes.STR,
        description="Only runs that wait in this lane, or started in it. Pages of runs that "
        "are over are as those of `reason`.",
    ),
    OpenApiParameter(
        "limit",
        OpenApiTypes.INT,
        description="The maximum number to return: 100 if absent, up to 1000.",
    ),
    OpenApiParameter(
        "cursor",
        OpenApiTypes.STR,
        description="The `next_cursor` of the previous page.",
    ),
    openapi.NEXT_PAGE,
]
_PAGE = openapi.response(
    RUNS_OUT,
    {"runs": [{**RUN, "last_status": 500}], "next_cursor": None},
    "The runs, newest first.",
)
_RUN_ID = openapi.path_parameter("run_id", "The id of the run.")
BAD_STATE = "Invalid value of state. A state should be one of cancelled, failed"

list_runs = openapi.operation(
    product=Product.RUNS,
    operation_id="list_runs",
    summary="List the runs of all tasks",
    description="Returns what became of the fire times of all your tasks, the newest "
    "first. Filter by state to find what failed or was missed. The list "
    "omits runs of notices unless `notice` is `true`.",
    parameters=[
        OpenApiParameter(
            "task",
            OpenApiTypes.STR,
            description="Only the runs of the task of this id.",
        ),
        OpenApiParameter(
            "notice",
            OpenApiTypes.BOOL,
            description="`true` for the runs of notices, and for them alone.",
        ),
        *_PAGING,
    ],
    responses={
        200: _PAGE,
        **_failures(_400=BAD_STATE, _404="Task not found"),
    },
)
list_runs_of_task = openapi.operation(
    product=Product.RUNS,
    operation_id="list_runs_of_task",
    summary="List the runs of a task",
    description="Returns what became of the fire times of a task, the newest first. "
    "The runs of a task that has ended or was removed stay until their "
    "retention is over.",
    parameters=[TASK_ID, *_PAGING],
    responses={
        200: _PAGE,
        **_failures(_400=BAD_STATE, _404="Task not found"),
    },
)
get_run = openapi.operation(
    product=Product.RUNS,
    operation_id="get_run",
    summary="Get a run with its attempts",
    description="Returns a run and every request that was made for it, with status, "
    "duration, error and the beginning of the answer. Use it to see why a "
    "run failed. A run of another user results in 404.",
    parameters=[_RUN_ID],
    responses={
        200: openapi.response(DETAIL_OUT, {**RUN, "attempts": [ATTEMPT]}, "The run."),
        **_failures(_404="Run not found"),
    },
)
get_account = openapi.operation(
    product=Product.RUNS,
    operation_id="get_account",
    summary="Get the account of a task",
    description="Compares the fire times that the schedule of a task planned with the "
    "recorded runs, and lists every difference. The balance is 0 unless a run was lost. "
    "Without `from` and `to` the account covers the last day; a range with more than "
    f"{MAX_FIRE_TIMES:,} fire times results in 400.",
    parameters=[TASK_ID, *_moments("Fire times")],
    responses={
        200: openapi.response(ACCOUNT_OUT, ACCOUNT, "The account."),
        **_failures(_400="to should not be before from", _404="Task not found"),
    },
)
redrive_run = openapi.operation(
    product=Product.RUNS,
    operation_id="redrive_run",
    summary="Send a run again",
    description="Creates a new run for one that failed, or was missed, cancelled or "
    "skipped. It sends the present request of the task. The old run stays "
    "as it is. 409 means that the run was delivered or is unfinished, or "
    "that its task was removed.",
    parameters=[_RUN_ID, *openapi.IDEMPOTENCY],
    request=None,
    responses={
        202: openapi.response(AGAIN_OUT, {"run_id": RUN_ID}, "A new run was made."),
        **_failures(
            _400=openapi.INVALID_KEY,
            _404="Run not found",
            _409="The run was delivered",
            _422=openapi.KEY_REUSED,
        ),
    },
)
redrive_runs = openapi.operation(
    product=Product.RUNS,
    operation_id="redrive_runs",
    summary="Send many runs again",
    description="Sends the runs in the given states again, of one task or of all, the "
    "oldest first, in one transaction. Use it after an outage of a "
    "target. The service skips runs that it has sent again before. `more` "
    "says whether others are left.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(REDRIVE_IN),
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
        202: openapi.response(
            REDRIVEN_OUT,
            {"count": 1, "run_ids": [RUN_ID], "more": False},
            "New runs were made.",
        ),
        **_failures(
            _400="Missing key: state",
            _409=openapi.KEY_IN_USE,
            _413=openapi.TOO_LARGE,
            _422=openapi.KEY_REUSED,
        ),
    },
)
cancel_run = openapi.operation(
    product=Product.RUNS,
    operation_id="cancel_run",
    summary="Cancel a run",
    description="Cancels a run that waits, is to be retried, or whose target is still at "
    "work on it. If its request is under way, the worker gives the request up within "
    "seconds, and the state is `running` until then. The target may have got the "
    "request; a target that reports on cancelled long work gets 409. 409 means that the run is over.",
    parameters=[_RUN_ID, *openapi.IDEMPOTENCY],
    request=None,
    responses={
        202: openapi.response(
            CANCEL_OUT, {"run_id": RUN_ID, "state": "cancelled"}, "It is cancelled."
        ),
        **_failures(
            _400=openapi.INVALID_KEY,
            _404="Run not found",
            _409="The run is over: it was delivered",
            _422=openapi.KEY_REUSED,
        ),
    },
)
cancel_runs = openapi.operation(
    product=Product.RUNS,
    operation_id="cancel_runs",
    summary="Cancel many runs",
    description="Cancels the unfinished runs in the given states, of one task or of all, "
    "the oldest first, in one transaction. Pause their tasks first if no new runs "
    "should follow. `more` says whether others are left.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(CANCEL_IN),
    examples=[
        OpenApiExample(
            "the retries of a task",
            {"state": ["retrying"], "task_id": RUN["task_id"]},
            request_only=True,
        )
    ],
    responses={
        202: openapi.response(
            CANCELLED_OUT,
            {"count": 1, "run_ids": [RUN_ID], "more": False},
            "The runs are cancelled.",
        ),
        **_failures(
            _400="Missing key: state",
            _409=openapi.KEY_IN_USE,
            _413=openapi.TOO_LARGE,
            _422=openapi.KEY_REUSED,
        ),
    },
)
