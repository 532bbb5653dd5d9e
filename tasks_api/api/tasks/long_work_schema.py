"""What targets at work say, as OpenAPI tells it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import schema
from tasks_api.api.tasks.schema import FAILURE, UNAUTHORIZED
from tasks_api.states import RunState

RUN_ID = "01a1fc25-dfd8-77b7-8ffb-7e7198bf1a71"
SETTLED_OUT = {
    "type": "object",
    "required": ["run_id", "state"],
    "properties": {
        "run_id": schema.TEXT,
        "state": {"type": "string", "enum": list(RunState.values)},
    },
}
HEARD_OUT = {
    "type": "object",
    "required": ["run_id", "deadline"],
    "properties": {
        "run_id": schema.TEXT,
        "deadline": {
            "type": "string",
            "format": "date-time",
            "nullable": True,
            "description": "Null while the first request is not answered yet.",
        },
    },
}
FAIL_IN = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 1000},
        "retry": {
            "type": "boolean",
            "description": "False: not again, whatever the task's retry says.",
        },
    },
}


def _answers(body: dict[str, Any], example: object, text: str) -> dict[Any, Any]:
    return {
        200: schema.answer(body, example, text),
        400: schema.error("The request body is not valid UTF-8"),
        401: schema.error(UNAUTHORIZED),
        403: schema.error("The token is not that of this run"),
        404: schema.error("Run not found"),
        409: schema.error("The deadline of this run has passed"),
        413: schema.error("The request body is larger than 16384 bytes"),
        500: schema.error(FAILURE),
    }


complete_run = schema.operation(
    operation_id="complete_run",
    summary="Say that the long work of a run is done",
    description="The body is any JSON value, and kept as the answer; it may be absent.",
    request=schema.body({}),
    examples=[OpenApiExample("what came of it", {"rows": 1200}, request_only=True)],
    responses=_answers(
        SETTLED_OUT, {"run_id": RUN_ID, "state": "succeeded"}, "The run has succeeded."
    ),
)
fail_run = schema.operation(
    operation_id="fail_run",
    summary="Say that the long work of a run has failed",
    request=schema.body(FAIL_IN),
    examples=[OpenApiExample("why", {"reason": "disk full"}, request_only=True)],
    responses=_answers(
        SETTLED_OUT,
        {"run_id": RUN_ID, "state": "retrying"},
        "The run has failed, or is tried again.",
    ),
)
hear_run = schema.operation(
    operation_id="heartbeat_run",
    summary="Say that the long work of a run goes on",
    request=None,
    responses=_answers(
        HEARD_OUT,
        {"run_id": RUN_ID, "deadline": "2026-11-21T04:28:22Z"},
        "The deadline is as far away as at first.",
    ),
)
