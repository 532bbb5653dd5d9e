"""The rest jobs surface as OpenAPI tells it, with the example of its document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import schema

JOB_ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"
JOB = {
    "task": {
        "method": "POST",
        "uri": "http://www.myserver.com",
        "body": {"hello": "world"},
        "expected_range": "200-300",
    },
    "schedule": "2014-01-24T12:28:27-08:00",
}
_TASK = {
    "type": "object",
    "required": ["method", "uri", "body", "expected_range"],
    "properties": {
        "method": {
            "type": "string",
            "description": "GET, PUT, POST, DELETE, PATCH, HEAD or OPTIONS, in any case.",
        },
        "uri": schema.TEXT,
        "body": {
            "type": "object",
            "additionalProperties": True,
            "description": "Not sent with GET and HEAD.",
        },
        "expected_range": {
            "type": "string",
            "pattern": "^[1-9][0-9]{2}-[1-9][0-9]{2}$",
            "description": "The statuses that are success, both bounds inclusive.",
        },
    },
}
JOB_IN = {
    "type": "object",
    "required": ["task", "schedule"],
    "properties": {
        "task": _TASK,
        "schedule": {
            "type": "string",
            "description": "ISO 8601 date and time, a date, or `now`.",
        },
    },
}
JOB_OUT = {
    "type": "object",
    "required": ["id", "task", "schedule", "status"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "task": _TASK,
        "schedule": schema.TEXT,
        "status": {
            "type": "string",
            "enum": ["PENDING", "RUNNING", "SUCCESS", "ERROR"],
        },
    },
}
CREATED = {
    "type": "object",
    "required": ["id", "link"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "link": {"type": "string"},
    },
}
MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": schema.TEXT},
}
ERRORS = {
    "type": "object",
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": schema.TEXT, "message": schema.TEXT},
            },
        },
        "message": schema.TEXT,
    },
}


def _message(text: str) -> object:
    return schema.answer(MESSAGE, {"message": text}, text)


UNAUTHORIZED = _message("Authentication credentials were not provided.")
OUTAGE = _message(schema.OUTAGE)
FAILURE = _message("Internal error")

create_job = schema.operation(
    is_strict=False,
    operation_id="create_rest_job",
    summary="Schedule a request",
    parameters=[
        schema.header("Location", 201, "The path of the new job."),
        *schema.IDEMPOTENCY,
    ],
    request=schema.body(JOB_IN),
    examples=[OpenApiExample("a job", JOB, request_only=True)],
    responses={
        201: schema.answer(
            CREATED,
            {"id": JOB_ID, "link": f"/api/v1/jobs/{JOB_ID}"},
            "The job is stored.",
        ),
        400: schema.answer(
            ERRORS,
            {"errors": [{"field": "task.uri", "message": "This field is required."}]},
            "Every field that cannot be used, or why the body cannot be read.",
        ),
        401: UNAUTHORIZED,
        403: _message(schema.FORBIDDEN),
        409: _message(schema.KEY_IN_USE),
        413: _message(schema.TOO_LARGE),
        422: _message(schema.KEY_REUSED),
        500: FAILURE,
        503: OUTAGE,
    },
)
get_job = schema.operation(
    is_strict=False,
    operation_id="get_rest_job",
    summary="Get a job and its status",
    responses={
        200: schema.answer(
            JOB_OUT, {"id": JOB_ID, **JOB, "status": "PENDING"}, "The job."
        ),
        401: UNAUTHORIZED,
        404: _message(f"No job was found for id: {JOB_ID}."),
        500: FAILURE,
        503: OUTAGE,
    },
)
