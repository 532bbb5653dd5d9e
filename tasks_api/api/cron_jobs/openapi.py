"""The operations of cron jobs in the OpenAPI document, with the example of their format."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.products import Product

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
        "id": openapi.NAME
        | {"description": "Your name for the job. A job with this id is replaced."},
        "endpoint": openapi.text("The absolute URL that the payload is posted to."),
        "cron": openapi.CRON,
        "payload": {
            "description": "The body of each request: any JSON value but null, unchanged."
        },
        "retry_already_running": {
            "type": "integer",
            "minimum": 0,
            "maximum": 2**31 - 1,
            "nullable": True,
            "description": "Seconds to wait before the job is tried again when its endpoint "
            "answers 409. Without it the job waits for its next fire time.",
        },
        "recovery_check": {
            "type": "boolean",
            "nullable": True,
            "description": "Whether the service makes up, once, for fire times that "
            "passed during an outage.",
        },
    },
}

put_job = openapi.operation(
    product=Product.CRON_JOBS,
    is_strict=False,
    operation_id="put_cron_job",
    summary="Create or replace a cron job",
    description="Stores a job that posts its payload to its endpoint at each fire "
    "time of its cron expression. Send the same job whenever your program "
    "starts: a job with this id is replaced. While a run of the job is "
    "unfinished, further fire times are skipped. Fields that are not "
    "known are ignored and named in `X-Ignored-Fields`. The response is "
    "202 without a body. An invalid job results in 400. 429 means that "
    "the storage is unavailable: send the request again.",
    request=openapi.json_body(JOB_IN),
    examples=[OpenApiExample("a cron job", JOB, request_only=True)],
    responses={
        202: openapi.no_content("The job is stored."),
        **openapi.text_errors(
            _400="Missing key: cron",
            _401="Authentication credentials were not provided.",
            _403="What has this id belongs to another user",
            _413=openapi.TOO_LARGE,
            _429=openapi.STORAGE_OUTAGE,
            _500="Internal error",
        ),
    },
)
remove_job = openapi.operation(
    product=Product.CRON_JOBS,
    is_strict=False,
    operation_id="remove_cron_job",
    summary="Remove a cron job",
    description="Removes the job, so that it does not fire any more. A request that "
    "is under way finishes. The response is 200 without a body, or 404 if "
    "there is no job with this id.",
    parameters=[
        openapi.query_parameter("job_id", "The id that the job was created with.")
    ],
    responses={
        200: openapi.no_content("The job is removed."),
        **openapi.text_errors(
            _400="Missing parameter: job_id",
            _401="Authentication credentials were not provided.",
            _403="What has this id belongs to another user",
            _404="There is no job with this id",
            _429=openapi.STORAGE_OUTAGE,
            _500="Internal error",
        ),
    },
)
