"""The operations of the pull queue in the OpenAPI document, with the examples of its format."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.products import Product

JOB = {
    "id": "1",
    "queue": "my-queue",
    "timeout": 30,
    "max_retries": 0,
    "payload": "RAW JSON",
}
JOB_IN = {
    "type": "object",
    "required": ["id", "queue", "timeout"],
    "properties": {
        "id": openapi.NAME
        | {"description": "Your name for the job, unique in its queue."},
        "queue": openapi.NAME
        | {"description": "The queue. The first job in it creates it."},
        "timeout": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**31 - 1,
            "description": "The number of seconds within which a consumer has to "
            "complete the job or send a heartbeat.",
        },
        "max_retries": {
            "type": "integer",
            "minimum": -(2**31),
            "maximum": 2**31 - 1,
            "default": 0,
            "nullable": True,
            "description": "How often the job becomes available again after its "
            "timeout; a negative number means no limit.",
        },
        "payload": {"description": "The work: any JSON value, `null` if absent."},
        "run_at": {
            **openapi.DATETIME_IN,
            "nullable": True,
            "description": "Consumers do not get the job before this time: an ISO "
            "8601 date and time, in UTC without an offset; now if "
            "absent.",
        },
    },
}
JOB_AGAIN_IN = {
    **JOB_IN,
    "properties": {
        **JOB_IN["properties"],  # type: ignore[dict-item]  # an object of objects
        "state": {
            "description": "What the next consumer should know: any JSON value. If "
            "absent or `null`, the job has no state."
        },
    },
}
JOBS_OUT = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "queue", "timeout", "max_retries", "payload", "run_at"],
        "properties": {
            "id": openapi.text("The id of the job in its queue."),
            "queue": openapi.text("The queue of the job."),
            "timeout": {
                "type": "integer",
                "description": "The number of seconds until the job becomes available "
                "again, unless you complete it or send a heartbeat.",
            },
            "max_retries": {
                "type": "integer",
                "description": "How often the job becomes available again after its "
                "timeout; a negative number means no limit.",
            },
            "payload": {"description": "The work, as it was enqueued."},
            "run_at": openapi.text(
                "Since when it could be fetched, in UTC: YYYY-MM-DDTHH:MM:SSZ, with six more "
                "digits after the seconds unless they are all zero."
            ),
            "state": {
                "description": "The state that a heartbeat or a reschedule has left; "
                "absent if there is none."
            },
        },
    },
}

_COMMON = openapi.text_errors(
    _401="Authentication credentials were not provided.",
    _403=openapi.FORBIDDEN,
    _429=openapi.STORAGE_OUTAGE,
    _500="Internal error",
)
_BAD_BODY = openapi.text_errors(_400="Missing key: timeout", _413=openapi.TOO_LARGE)
_BAD_QUERY = openapi.text_errors(_400="Missing parameter: queue")
_NOT_IN_FLIGHT = openapi.text_errors(
    _404="No job with this id is in flight in this queue"
)
_QUEUE = openapi.query_parameter("queue", "The queue of the job.")
_JOB_ID = openapi.query_parameter("job_id", "The id of the job in its queue.")

enqueue_job = openapi.operation(
    product=Product.PULL_QUEUE,
    is_strict=False,
    operation_id="enqueue_job",
    summary="Enqueue a job",
    description="Puts a job into a queue, from where one of your consumers fetches "
    "it. The response is 202 without a body. An id that is in the queue "
    "already results in 409, whether its job waits or is in flight. 429 "
    "means that the storage is unavailable: send the request again.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(JOB_IN),
    examples=[OpenApiExample("a job", JOB, request_only=True)],
    responses={
        202: openapi.no_content("The job is stored."),
        **_BAD_BODY,
        **openapi.text_errors(
            _409="A job with the id 1 is in the queue my-queue already",
            _422=openapi.KEY_REUSED,
        ),
        **_COMMON,
    },
)
enqueue_jobs = openapi.operation(
    product=Product.PULL_QUEUE,
    is_strict=False,
    operation_id="enqueue_jobs",
    summary="Enqueue many jobs",
    parameters=openapi.IDEMPOTENCY,
    description="Puts all of the jobs into their queues, or none of them. The service "
    "skips a job whose id is in its queue already or occurs twice in the "
    "list. One invalid job results in 400 for the whole list, and the "
    "message names its index, counted from 0.",
    request=openapi.json_body({"type": "array", "items": JOB_IN}),
    examples=[OpenApiExample("one job", [JOB], request_only=True)],
    responses={
        202: openapi.no_content("The jobs are stored."),
        **openapi.text_errors(
            _400="[3].timeout: Missing key: timeout",
            _409=openapi.KEY_IN_USE,
            _413=openapi.TOO_LARGE,
            _422=openapi.KEY_REUSED,
        ),
        **_COMMON,
    },
)
next_jobs = openapi.operation(
    product=Product.PULL_QUEUE,
    is_strict=False,
    operation_id="next_jobs",
    summary="Fetch the next jobs",
    description="Hands out jobs, the one with the oldest `run_at` first, and leases "
    "each of them for its timeout: no other consumer gets it in that "
    "time. Complete a job when its work is done, and send heartbeats "
    "while the work takes longer. If the queue has no job for you, the "
    "response is 204: wait a little and ask again.",
    parameters=[
        openapi.query_parameter("queue", "The queue to fetch from."),
        OpenApiParameter(
            "num_jobs",
            OpenApiTypes.INT,
            description="The maximum number of jobs to return: 1 if absent, up to "
            "1000.",
        ),
    ],
    responses={
        200: openapi.response(
            JOBS_OUT,
            [{**JOB, "run_at": "2026-11-22T12:00:00Z", "state": "RAW JSON"}],
            "The jobs, which are leased to you now.",
        ),
        204: openapi.no_content("The queue has no job for you at the moment."),
        **_BAD_QUERY,
        **_COMMON,
    },
)
extend_job = openapi.operation(
    product=Product.PULL_QUEUE,
    is_strict=False,
    operation_id="extend_job",
    summary="Keep a job for longer",
    description="Restarts the timeout of a job in flight. A body becomes the state of "
    "the job, which its next consumer gets; `null` removes the state, and "
    "a request without a body keeps it. 404 means that the job is not in "
    "flight any more: stop working on it.",
    parameters=[_QUEUE, _JOB_ID],
    request=openapi.json_body(
        {"description": "The state: any JSON value, or no body."}
    ),
    examples=[OpenApiExample("a state", {"page": 7}, request_only=True)],
    responses={
        202: openapi.no_content("The job is leased for its timeout from now on."),
        **_BAD_QUERY,
        **_NOT_IN_FLIGHT,
        **openapi.text_errors(_413=openapi.TOO_LARGE),
        **_COMMON,
    },
)
reschedule_job = openapi.operation(
    product=Product.PULL_QUEUE,
    is_strict=False,
    operation_id="reschedule_job",
    summary="Put a job back",
    description="Replaces a job in flight by a new one with its own payload, time, "
    "timeout and state; its retries count from zero. Use it to give a job "
    "back, or with a `run_at` in the future for work that repeats itself. "
    "A job that is not in flight results in 404.",
    request=openapi.json_body(JOB_AGAIN_IN),
    examples=[OpenApiExample("a job", {**JOB, "state": "RAW JSON"}, request_only=True)],
    responses={
        202: openapi.no_content("The job waits."),
        **_BAD_BODY,
        **_NOT_IN_FLIGHT,
        **_COMMON,
    },
)
complete_job = openapi.operation(
    product=Product.PULL_QUEUE,
    is_strict=False,
    operation_id="complete_job",
    summary="Complete a job",
    description="Removes a job whose work is done, so that it does not come back, "
    "whether it is in flight or waits. The response is 200 without a "
    "body, or 404 if there is no such job.",
    parameters=[_QUEUE, _JOB_ID],
    responses={
        200: openapi.no_content("The job is gone."),
        **_BAD_QUERY,
        **openapi.text_errors(_404="No job with this id is in this queue"),
        **_COMMON,
    },
)
