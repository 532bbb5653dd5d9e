"""The pull queue surface as OpenAPI tells it, with the examples of its document."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from tasks_api.api import schema

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
        "id": schema.NAME,
        "queue": schema.NAME,
        "timeout": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**31 - 1,
            "description": "Seconds that a consumer has until it completes the job or "
            "sends a heartbeat.",
        },
        "max_retries": {
            "type": "integer",
            "minimum": -(2**31),
            "maximum": 2**31 - 1,
            "default": 0,
            "nullable": True,
            "description": "How often the job comes back after a timeout; below zero "
            "there is no limit.",
        },
        "payload": {"description": "Any JSON; `null` if absent."},
        "run_at": {
            **schema.MOMENT_IN,
            "nullable": True,
            "description": "Not before this moment, in ISO 8601; without an offset it is "
            "UTC, and if absent it is now.",
        },
    },
}
JOB_AGAIN_IN = {
    **JOB_IN,
    "properties": {
        **JOB_IN["properties"],  # type: ignore[dict-item]  # an object of objects
        "state": {"description": "Any JSON; the job has none if absent or `null`."},
    },
}
JOBS_OUT = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "queue", "timeout", "max_retries", "payload", "run_at"],
        "properties": {
            "id": schema.TEXT,
            "queue": schema.TEXT,
            "timeout": {"type": "integer"},
            "max_retries": {"type": "integer"},
            "payload": {},
            "run_at": {
                "type": "string",
                "description": "In UTC: YYYY-MM-DDTHH:MM:SSZ, with six more digits after "
                "the seconds unless they are all zero.",
            },
            "state": {"description": "What a heartbeat left, if one did."},
        },
    },
}

_COMMON = schema.sentences(
    _401="Authentication credentials were not provided.",
    _403=schema.FORBIDDEN,
    _429=schema.OUTAGE,
    _500="Internal error",
)
_BAD_BODY = schema.sentences(_400="Missing key: timeout", _413=schema.TOO_LARGE)
_BAD_QUERY = schema.sentences(_400="Missing parameter: queue")
_NOT_IN_FLIGHT = schema.sentences(_404="No job with this id is in flight in this queue")
_QUEUE = schema.query("queue", "The queue of the job.")
_JOB_ID = schema.query("job_id", "The id of the job in its queue.")

enqueue_job = schema.operation(
    is_strict=False,
    operation_id="enqueue_job",
    summary="Enqueue a job",
    parameters=schema.IDEMPOTENCY,
    request=schema.body(JOB_IN),
    examples=[OpenApiExample("a job", JOB, request_only=True)],
    responses={
        202: schema.nothing("The job is stored."),
        **_BAD_BODY,
        **schema.sentences(
            _409="A job with the id 1 is in the queue my-queue already",
            _422=schema.KEY_REUSED,
        ),
        **_COMMON,
    },
)
enqueue_jobs = schema.operation(
    is_strict=False,
    operation_id="enqueue_jobs",
    summary="Enqueue many jobs",
    parameters=schema.IDEMPOTENCY,
    description="All of them, or none. Those whose id is in their queue already are left "
    "out, and so is the second one of an id.",
    request=schema.body({"type": "array", "items": JOB_IN}),
    examples=[OpenApiExample("one job", [JOB], request_only=True)],
    responses={
        202: schema.nothing("The jobs are stored."),
        **schema.sentences(
            _400="[3].timeout: Missing key: timeout",
            _409=schema.KEY_IN_USE,
            _413=schema.TOO_LARGE,
            _422=schema.KEY_REUSED,
        ),
        **_COMMON,
    },
)
next_jobs = schema.operation(
    is_strict=False,
    operation_id="next_jobs",
    summary="Fetch the next jobs",
    description="Each is leased for its timeout, the oldest `run_at` first: nobody else "
    "gets it in that time.",
    parameters=[
        schema.query("queue", "The queue to fetch from."),
        OpenApiParameter(
            "num_jobs",
            OpenApiTypes.INT,
            description="How many at most; 1 if absent, and never more than 1000.",
        ),
    ],
    responses={
        200: schema.answer(
            JOBS_OUT,
            [{**JOB, "run_at": "2026-11-22T12:00:00Z", "state": "RAW JSON"}],
            "The jobs.",
        ),
        204: schema.nothing("There is none at the moment."),
        **_BAD_QUERY,
        **_COMMON,
    },
)
extend_job = schema.operation(
    is_strict=False,
    operation_id="extend_job",
    summary="Keep a job for longer",
    description="Its lease begins anew. A body becomes the job's state, which whoever "
    "gets the job next is told; `null` removes it, and no body leaves it as it is.",
    parameters=[_QUEUE, _JOB_ID],
    request=schema.body({"description": "Any JSON, or nothing."}),
    examples=[OpenApiExample("a state", {"page": 7}, request_only=True)],
    responses={
        202: schema.nothing("The job is leased for its timeout from now on."),
        **_BAD_QUERY,
        **_NOT_IN_FLIGHT,
        **schema.sentences(_413=schema.TOO_LARGE),
        **_COMMON,
    },
)
reschedule_job = schema.operation(
    is_strict=False,
    operation_id="reschedule_job",
    summary="Put a job back",
    description="In place of one that is in flight, as if it were new.",
    request=schema.body(JOB_AGAIN_IN),
    examples=[OpenApiExample("a job", {**JOB, "state": "RAW JSON"}, request_only=True)],
    responses={
        202: schema.nothing("The job waits."),
        **_BAD_BODY,
        **_NOT_IN_FLIGHT,
        **_COMMON,
    },
)
complete_job = schema.operation(
    is_strict=False,
    operation_id="complete_job",
    summary="Complete a job",
    parameters=[_QUEUE, _JOB_ID],
    responses={
        200: schema.nothing("The job is gone."),
        **_BAD_QUERY,
        **schema.sentences(_404="No job with this id is in this queue"),
        **_COMMON,
    },
)
