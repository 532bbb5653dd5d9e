"""The views that run, pause and resume tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import control_openapi as schema
from tasks_api.api.tasks.base import TasksView
from tasks_api.api.tasks.parsing import read_hold, read_ids
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import Surface
from tasks_api.messaging import broker
from tasks_api.services import manual_runs, pausing


class RunTask(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.run_task
    @idempotent
    def post(self, request: Request, task_id: str) -> Response:
        run_id = manual_runs.run_now(
            self.user, task_id, surface=Surface.TASKS, now=clock.now()
        )
        transaction.on_commit(broker.ring)
        return Response(
            {"run_id": str(run_id), "message": "Task will run now"}, status=202
        )


class PauseTask(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.pause_task
    def post(self, request: Request, task_id: str) -> Response:
        _pause(self.user, [task_id], read_hold(request))
        return Response({"message": "Task paused successfully"})


class ResumeTask(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.resume_task
    def post(self, request: Request, task_id: str) -> Response:
        pausing.resume_tasks(
            self.user, [task_id], now=clock.now(), surface=Surface.TASKS
        )
        return Response({"message": "Task resumed successfully"})


class PauseTasks(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.pause_tasks
    def post(self, request: Request) -> Response:
        ids = read_ids(request.data, with_hold=True)
        _pause(self.user, ids, fields.require_object(request.data))
        return Response({"message": "Tasks have been successfully paused"})


class ResumeTasks(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.resume_tasks
    def post(self, request: Request) -> Response:
        ids = read_ids(request.data)
        pausing.resume_tasks(self.user, ids, now=clock.now(), surface=Surface.TASKS)
        return Response({"message": "Tasks have been resumed successfully"})


def _pause(user: User, ids: Sequence[str], data: Mapping[str, Any]) -> None:
    now = clock.now()
    hold = _read_hold(data, now)
    pausing.pause_tasks(user, ids, now=now, surface=Surface.TASKS, hold=hold)


def _read_hold(data: Mapping[str, Any], now: datetime) -> pausing.Hold | None:
    """Why, and until when; None keeps what a paused task says."""
    if not any(fields.is_given(data, name) for name in ("reason", "until")):
        return None
    until = fields.optional_moment(data, "until")
    if until is not None and until <= now:
        raise InvalidTask("until", "until should be in the future")
    return pausing.Hold(fields.reason(data), until)
