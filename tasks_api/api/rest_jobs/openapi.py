"""The operations of REST jobs in the OpenAPI document, with the example of their format."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.products import Product

JOB_ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"
JOB = {
    "task": {
        "method": "POST",
        "uri": "https://example.com/hook",
        "body": {"hello": "world"},
        "expected_range": "200-300",
    },
    "schedule": "2014-01-24T12:28:27-08:00",
}
_TASK = {
    "type": "object",
    "description": "The request that is sent.",
    "required": ["method", "uri", "body", "expected_range"],
    "properties": {
        "method": openapi.text(
            "GET, PUT, POST, DELETE, PATCH, HEAD or OPTIONS, in any case."
        ),
        "uri": openapi.text("The absolute URL that the request is sent to."),
        "body": {
            "type": "object",
            "additionalProperties": True,
            "description": "The JSON body of the request. It is not sent with GET and HEAD.",
        },
        "expected_range": {
            "type": "string",
            "pattern": "^[1-9][0-9]{2}-[1-9][0-9]{2}$",
            "description": "The statuses that count as success, such as 200-299; both ends count.",
        },
    },
}
JOB_IN = {
    "type": "object",
    "required": ["task", "schedule"],
    "properties": {
        "task": _TASK,
        "schedule": openapi.text(
            "When to send it: an ISO 8601 date and time, a date, or `now`."
        ),
    },
}
JOB_OUT = {
    "type": "object",
    "required": ["id", "task", "schedule", "status"],
    "properties": {
        "id": openapi.text("The id of the job.", format="uuid"),
        "task": _TASK,
        "schedule": openapi.text("When it is sent, as it was posted."),
        "status": openapi.text(
            "`PENDING` until its moment, `RUNNING` while the request is under way, `SUCCESS` "
            "if the answer was in the expected range, and `ERROR` if not.",
            enum=["PENDING", "RUNNING", "SUCCESS", "ERROR"],
        ),
    },
}
CREATED = {
    "type": "object",
    "required": ["id", "link"],
    "properties": {
        "id": openapi.text("The id of the job.", format="uuid"),
        "link": openapi.text("The path at which its status can be read."),
    },
}
MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": openapi.text("A message that says what is wrong.")},
}
ERRORS = {
    "type": "object",
    "properties": {
        "errors": {
            "type": "array",
            "description": "Every field that cannot be used.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": openapi.text("The path of the field, such as `task.uri`."),
                    "message": openapi.text("What is wrong with it."),
                },
            },
        },
        "message": openapi.text("Why the body as a whole cannot be read."),
    },
}


def _message(text: str) -> object:
    return openapi.response(MESSAGE, {"message": text}, text)


UNAUTHORIZED = _message("Authentication credentials were not provided.")
OUTAGE = _message(openapi.STORAGE_OUTAGE)
FAILURE = _message("Internal error")

create_job = openapi.operation(
    product=Product.REST_JOBS,
    is_strict=False,
    operation_id="create_rest_job",
    summary="Schedule a request",
    description="Stores one HTTP request, which the service sends once at the given "
    "time. The response has the id of the job and the path of its status. "
    "An invalid body results in 400 and a list of every wrong field. 503 "
    "means that the storage is unavailable: send the request again.",
    parameters=[
        openapi.response_header("Location", 201, "The path of the new job."),
        *openapi.IDEMPOTENCY,
    ],
    request=openapi.json_body(JOB_IN),
    examples=[OpenApiExample("a job", JOB, request_only=True)],
    responses={
        201: openapi.response(
            CREATED,
            {"id": JOB_ID, "link": f"/api/v1/jobs/{JOB_ID}"},
            "The job is stored.",
        ),
        400: openapi.response(
            ERRORS,
            {"errors": [{"field": "task.uri", "message": "This field is required."}]},
            "Every field that cannot be used, or why the body cannot be read.",
        ),
        401: UNAUTHORIZED,
        403: _message(openapi.FORBIDDEN),
        409: _message(openapi.KEY_IN_USE),
        413: _message(openapi.TOO_LARGE),
        422: _message(openapi.KEY_REUSED),
        500: FAILURE,
        503: OUTAGE,
    },
)
get_job = openapi.operation(
    product=Product.REST_JOBS,
    is_strict=False,
    operation_id="get_rest_job",
    summary="Get a job and its status",
    description="Returns the job as it was posted, and what became of it: `PENDING`, "
    "`RUNNING`, `SUCCESS` or `ERROR`. A job of another user results in "
    "404, like one that does not exist.",
    parameters=[
        openapi.path_parameter("job_id", "The id in the response that created the job.")
    ],
    responses={
        200: openapi.response(
            JOB_OUT, {"id": JOB_ID, **JOB, "status": "PENDING"}, "The job."
        ),
        401: UNAUTHORIZED,
        404: _message(f"No job was found for id: {JOB_ID}."),
        500: FAILURE,
        503: OUTAGE,
    },
)
