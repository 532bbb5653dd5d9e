"""The views of the pull queue: clients fetch messages and are not called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import simplejson
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from tasks_api.api import fields
from tasks_api.api.errors import PlainTextErrorView
from tasks_api.api.idempotency import idempotent
from tasks_api.api.json_codec import dumps
from tasks_api.api.pull_queue import openapi as schema
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services import limits, pull_queue

MIN_INTEGER = -(2**31)
# A cache must not hand out the same jobs again.
UNCACHED = {"Cache-Control": "no-store"}


class EnqueueJob(PlainTextErrorView):
    @schema.enqueue_job
    @idempotent
    def post(self, request: Request) -> Response:
        job = read_job(request.data, tenant_id=self.tenant.pk)
        limits.require_payloads(self.user, [len(job.payload.encode())])
        pull_queue.enqueue(job)
        return Response(status=202)


class EnqueueJobs(PlainTextErrorView):
    @schema.enqueue_jobs
    @idempotent
    def post(self, request: Request) -> Response:
        jobs = read_jobs(request.data, tenant_id=self.tenant.pk)
        limits.require_payloads(self.user, [len(job.payload.encode()) for job in jobs])
        pull_queue.enqueue_many(jobs)
        return Response(status=202)


class NextJobs(PlainTextErrorView):
    # No HEAD: it would lease jobs and throw them away.
    http_method_names = ["get", "options"]
    # GET leases the jobs that it returns, so it needs write access.
    scopes: ClassVar = {"GET": Scope.WRITE}

    @schema.next_jobs
    def get(self, request: Request) -> Response:
        query = fields.query_parameters(request)
        queue, count = fields.id_parameter(query, "queue"), _count(query)
        jobs = pull_queue.lease(self.tenant.pk, queue, count)
        if not jobs:
            return Response(status=204, headers=UNCACHED)
        return Response([render_job(queue, job) for job in jobs], headers=UNCACHED)


class ExtendJob(PlainTextErrorView):
    @schema.extend_job
    def patch(self, request: Request) -> Response:
        key = read_key(request, tenant_id=self.tenant.pk)
        if request.stream is None:
            pull_queue.extend(key)
        else:
            pull_queue.extend(key, keep_state=False, state=_state(request.data))
        return Response(status=202)


class RescheduleJob(PlainTextErrorView):
    @schema.reschedule_job
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        job = read_job(data, tenant_id=self.tenant.pk)
        limits.require_payloads(self.user, [len(job.payload.encode())])
        pull_queue.reschedule(job, state=_state(data.get("state")))
        return Response(status=202)


class CompleteJob(PlainTextErrorView):
    @schema.complete_job
    def delete(self, request: Request) -> Response:
        pull_queue.complete(read_key(request, tenant_id=self.tenant.pk))
        return Response(status=200)


class QueueHealth(PlainTextErrorView):
    """Responds with 200 as long as this process lives, without credentials."""

    schema = None
    authentication_classes = []
    permission_classes = []

    def get(self, request: Request) -> Response:
        return Response(status=200)


# Requests.


def read_jobs(data: object, *, tenant_id: int) -> list[pull_queue.NewMessage]:
    """The jobs of a batch. Raises InvalidTask with the index of the first invalid one."""
    if not isinstance(data, list):
        raise InvalidTask("body", "The request body should be a JSON array of jobs")
    return [
        _read_job_at(place, job, tenant_id=tenant_id) for place, job in enumerate(data)
    ]


def _read_job_at(place: int, job: object, *, tenant_id: int) -> pull_queue.NewMessage:
    if not isinstance(job, Mapping):
        raise InvalidTask(f"[{place}]", f"[{place}]: A job should be a JSON object")
    try:
        return read_job(job, tenant_id=tenant_id)
    except InvalidTask as refused:
        field = f"[{place}].{refused.field}"
        raise InvalidTask(field, f"{field}: {refused}") from None


def read_job(data: object, *, tenant_id: int) -> pull_queue.NewMessage:
    """The message that a job's fields describe. Raises InvalidTask naming the field."""
    data = fields.require_object(data)
    run_at = data.get("run_at")
    return pull_queue.NewMessage(
        tenant_id=tenant_id,
        name=fields.client_name("id", fields.require_field(data, "id")),
        queue=fields.client_name("queue", fields.require_field(data, "queue")),
        timeout_seconds=fields.whole_number(
            "timeout", fields.require_field(data, "timeout"), minimum=0
        ),
        max_retries=_retries(data),
        payload=dumps(data.get("payload")),
        run_at=None if run_at is None else fields.moment("run_at", run_at),
    )


def _retries(data: Mapping[str, Any]) -> int:
    value = data.get("max_retries")
    return (
        0
        if value is None
        else fields.whole_number("max_retries", value, minimum=MIN_INTEGER)
    )


def _state(value: object) -> str | None:
    """The state as JSON text; `null` means no state."""
    return None if value is None else dumps(value)


def read_key(request: Request, *, tenant_id: int) -> pull_queue.MessageKey:
    """The key of the message in the query parameters `queue` and `job_id`."""
    query = fields.query_parameters(request)
    return pull_queue.MessageKey(
        tenant_id,
        fields.id_parameter(query, "queue"),
        fields.id_parameter(query, "job_id"),
    )


def _count(query: Mapping[str, str]) -> int:
    """The number of jobs to fetch: `num_jobs`, up to the maximum."""
    text = query.get("num_jobs", "1")
    if not (text.isascii() and text.isdigit()):
        raise InvalidTask(
            "num_jobs",
            "Invalid value of num_jobs. Value should be a whole number from 0",
        )
    digits = text.lstrip("0") or "0"
    return min(int(digits[:9]), pull_queue.MAX_LEASED_MESSAGES)


# Responses.


def render_job(queue: str, job: pull_queue.LeasedMessage) -> dict[str, Any]:
    body = {
        "id": job.name,
        "queue": queue,
        "timeout": job.timeout_seconds,
        "max_retries": job.max_retries,
        "payload": simplejson.RawJSON(job.payload),
        "run_at": format_timestamp(job.run_at),
    }
    if job.state is None:
        return body
    return {**body, "state": simplejson.RawJSON(job.state)}
