"""The views of cron jobs: repeating tasks with client names, which never overlap."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.cron_jobs import openapi as schema
from tasks_api.api.errors import PlainTextErrorView
from tasks_api.api.json_codec import dumps
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    RetryPolicy,
    Surface,
    TaskSpec,
)
from tasks_api.services import named_tasks

# Statuses that mean "later". A missing response is always tried again.
RETRIED_STATUSES = (429, 502, 503, 504)
MIN_RETRY_DELAY, MAX_RETRY_DELAY = 1.0, 60.0


class CronJobs(PlainTextErrorView):
    bounded_methods: ClassVar = ("POST", "DELETE")
    stores_tasks: ClassVar = True

    @schema.put_job
    def post(self, request: Request) -> Response:
        now = clock.now()
        spec = read_job(request.data, now=now)
        named_tasks.upsert_task(self.user, spec, now=now)
        return Response(status=202)

    @schema.remove_job
    def delete(self, request: Request) -> HttpResponse:
        job_id = fields.id_parameter(fields.query_parameters(request), "job_id")
        named_tasks.remove_named(
            self.user, job_id, surface=Surface.CRON_JOBS, now=clock.now()
        )
        return Response(status=200)


def read_job(data: object, *, now: datetime) -> TaskSpec:
    """The task that a request body describes. Raises InvalidTask naming the field."""
    data = fields.require_object(data)
    name = fields.client_name("id", fields.require_field(data, "id"))
    recover = fields.boolean(data, "recovery_check")
    return TaskSpec(
        surface=Surface.CRON_JOBS,
        name=name,
        url=fields.target_url("endpoint", fields.require_field(data, "endpoint")),
        schedule=fields.cron("cron", fields.require_field(data, "cron"), now=now),
        body=dumps(_payload(data)),
        overlap=Overlap.SKIP,
        misfire=Misfire.LATEST if recover else Misfire.SKIP,
        retry=RetryPolicy(
            statuses=RETRIED_STATUSES,
            min_delay=MIN_RETRY_DELAY,
            max_delay=MAX_RETRY_DELAY,
            conflict_delay=_optional_seconds(data, "retry_already_running"),
        ),
    )


def _payload(data: Mapping[str, Any]) -> Any:
    payload = fields.require_field(data, "payload")
    if payload is None:
        raise InvalidTask(
            "payload", "Invalid value of payload. Value should be JSON other than null"
        )
    return payload


def _optional_seconds(data: Mapping[str, Any], name: str) -> float | None:
    """Whole seconds, at least one; None if absent."""
    value = data.get(name)
    if value is None:
        return None
    return float(max(1, fields.whole_number(name, value, minimum=0)))
