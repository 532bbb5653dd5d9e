"""The cron jobs surface as OpenAPI tells it, with the example of its document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import schema

JOB = {
    "id": "job-scheduler-unique-id",
    "endpoint": "http://localhost:8080/enqueue",
    "cron": "*/10 * * * * * *",
    "payload": {
        "id": "1",
        "queue": "test-queue",
        "timeout": 30,
        "persist_data": True,
        "payload": "say my name",
    },
    "retry_already_running": 3,
    "recovery_check": True,
}
JOB_IN = {
    "type": "object",
    "required": ["id", "endpoint", "cron", "payload"],
    "properties": {
        "id": schema.NAME,
        "endpoint": {"type": "string", "description": "Where the payload is posted."},
        "cron": schema.CRON,
        "payload": {"description": "Any JSON but null; posted unchanged."},
        "retry_already_running": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**31 - 1,
            "nullable": True,
            "description": "Seconds until a job is tried again whose endpoint answered "
            "409; without it, the next fire time is waited for.",
        },
        "recovery_check": {
            "type": "boolean",
            "nullable": True,
            "description": "Whether a fire time that passed during an outage is made up "
            "for, once.",
        },
    },
}

put_job = schema.operation(
    is_strict=False,
    operation_id="put_cron_job",
    summary="Create or replace a cron job",
    request=schema.body(JOB_IN),
    examples=[OpenApiExample("a cron job", JOB, request_only=True)],
    responses={
        202: schema.nothing("The job is stored."),
        **schema.sentences(
            _400="Missing key: cron",
            _401="Authentication credentials were not provided.",
            _403="What has this id belongs to another user",
            _413=schema.TOO_LARGE,
            _429=schema.OUTAGE,
            _500="Internal error",
        ),
    },
)
remove_job = schema.operation(
    is_strict=False,
    operation_id="remove_cron_job",
    summary="Remove a cron job",
    parameters=[schema.query("job_id", "The id that the job was created with.")],
    responses={
        200: schema.nothing("The job is removed."),
        **schema.sentences(
            _400="Missing parameter: job_id",
            _401="Authentication credentials were not provided.",
            _403="What has this id belongs to another user",
            _404="There is no job with this id",
            _429=schema.OUTAGE,
            _500="Internal error",
        ),
    },
)
