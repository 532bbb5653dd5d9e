"""The operations on long work for targets, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import FAILURE, UNAUTHORIZED
from tasks_api.domain.states import RunState

RUN_ID = "01a1fc25-dfd8-77b7-8ffb-7e7198bf1a71"
RESULT_OUT = {
    "type": "object",
    "required": ["run_id", "state"],
    "properties": {
        "run_id": openapi.text("The id of the run."),
        "state": openapi.text("The state of the run now.", enum=list(RunState.values)),
    },
}
HEARTBEAT_OUT = {
    "type": "object",
    "required": ["run_id", "deadline"],
    "properties": {
        "run_id": openapi.text("The id of the run."),
        "deadline": openapi.text(
            "Until when the service waits for the next report; null until it has "
            "recorded the response to its request.",
            format="date-time",
            nullable=True,
        ),
    },
}
FAIL_IN = {
    "type": "object",
    "properties": {
        "reason": openapi.text(
            "Why it failed. It is shown with the run.", maxLength=1000
        ),
        "retry": {
            "type": "boolean",
            "description": "False if the service should not try the run again, "
            "regardless of the `retry` of the task.",
        },
    },
}


def _answers(body: dict[str, Any], example: object, text: str) -> dict[Any, Any]:
    return {
        200: openapi.response(body, example, text),
        400: openapi.error_response("The request body is not valid UTF-8"),
        401: openapi.error_response(UNAUTHORIZED),
        403: openapi.error_response("The token is not that of this run"),
        404: openapi.error_response("Run not found"),
        409: openapi.error_response("The deadline of this run has passed"),
        413: openapi.error_response("The request body is larger than 16384 bytes"),
        500: openapi.error_response(FAILURE),
    }


_RUN_ID = openapi.path_parameter(
    "run_id", "The id of the run, the `webhook-id` of its request."
)

complete_run = openapi.operation(
    product=Product.LONG_WORK,
    operation_id="complete_run",
    summary="Complete a run",
    description="Reports that the work of a run is done: the run has succeeded. The "
    "optional body is any JSON value of up to 16 KiB, which the service "
    "keeps as the answer of the target. Repeating the report changes "
    "nothing. 409 means that the deadline has passed or that the run has "
    "ended, so the service does not wait for the work any more.",
    parameters=[_RUN_ID],
    request=openapi.json_body({}),
    examples=[OpenApiExample("what came of it", {"rows": 1200}, request_only=True)],
    responses=_answers(
        RESULT_OUT, {"run_id": RUN_ID, "state": "succeeded"}, "The run has succeeded."
    ),
)
fail_run = openapi.operation(
    product=Product.LONG_WORK,
    operation_id="fail_run",
    summary="Fail a run",
    description="Reports that the work of a run has failed, with a reason. The run is "
    "tried again if the task has a `retry` that allows it, unless you say "
    '`"retry": false`. 409 means that the run has ended or its deadline '
    "has passed.",
    parameters=[_RUN_ID],
    request=openapi.json_body(FAIL_IN),
    examples=[OpenApiExample("why", {"reason": "disk full"}, request_only=True)],
    responses=_answers(
        RESULT_OUT,
        {"run_id": RUN_ID, "state": "retrying"},
        "The run has failed, or is tried again.",
    ),
)
heartbeat_run = openapi.operation(
    product=Product.LONG_WORK,
    operation_id="heartbeat_run",
    summary="Keep a run open",
    description="Reports that the work of a run continues, and restarts its deadline. "
    "Send heartbeats more often than the deadline passes. 409 means that "
    "the deadline has passed, so stop working.",
    parameters=[_RUN_ID],
    request=None,
    responses=_answers(
        HEARTBEAT_OUT,
        {"run_id": RUN_ID, "deadline": "2026-11-21T04:28:22Z"},
        "The new deadline.",
    ),
)
