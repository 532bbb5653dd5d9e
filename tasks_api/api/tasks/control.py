"""The views that run, pause and resume tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.api import fields, known_fields
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import control_openapi as schema
from tasks_api.api.tasks import pause_openapi_fields as bodies
from tasks_api.api.tasks.base import TasksView
from tasks_api.api.tasks.parsing import read_body, read_ids
from tasks_api.api.tasks.pause_fields import read_catch_up, read_hold
from tasks_api.api.tasks.selection import read_selection, render_selected
from tasks_api.domain.specs import Surface
from tasks_api.messaging import broker
from tasks_api.services import bulk_pausing, manual_runs, pausing

(
    PAUSE_FIELDS,
    RESUME_FIELDS,
    PAUSE_IDS_FIELDS,
    RESUME_IDS_FIELDS,
    PAUSE_FILTER_FIELDS,
    RESUME_FILTER_FIELDS,
) = (
    known_fields.fields_of_schema(rule)
    for rule in (
        bodies.HOLD_IN,
        bodies.RESUME_IN,
        bodies.PAUSE_IDS_IN,
        bodies.RESUME_IDS_IN,
        bodies.PAUSE_FILTER_IN,
        bodies.RESUME_FILTER_IN,
    )
)


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
        _pause(self.user, [task_id], read_body(request, PAUSE_FIELDS))
        return Response({"message": "Task paused successfully"})


class ResumeTask(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.resume_task
    def post(self, request: Request, task_id: str) -> Response:
        _resume(self.user, [task_id], read_body(request, RESUME_FIELDS))
        return Response({"message": "Task resumed successfully"})


class PauseTasks(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.pause_tasks
    def post(self, request: Request) -> Response:
        message = "Tasks have been successfully paused"
        data = request.data
        if isinstance(data, dict) and "filter" in data:
            return _pause_selected(self.user, data, message)
        ids = read_ids(data, PAUSE_IDS_FIELDS)
        _pause(self.user, ids, fields.require_object(data))
        return Response({"message": message})


class ResumeTasks(TasksView):
    bounded_methods: ClassVar = ("POST",)

    @schema.resume_tasks
    def post(self, request: Request) -> Response:
        message = "Tasks have been resumed successfully"
        data = request.data
        if isinstance(data, dict) and "filter" in data:
            return _resume_selected(self.user, data, message)
        ids = read_ids(data, RESUME_IDS_FIELDS)
        _resume(self.user, ids, fields.require_object(data))
        return Response({"message": message})


def _pause(user: User, ids: Sequence[str], data: Mapping[str, Any]) -> None:
    now = clock.now()
    hold = read_hold(data, now)
    pausing.pause_tasks(user, ids, now=now, surface=Surface.TASKS, hold=hold)


def _resume(user: User, ids: Sequence[str], data: Mapping[str, Any]) -> None:
    pausing.resume_tasks(
        user,
        ids,
        now=clock.now(),
        surface=Surface.TASKS,
        catch_up=read_catch_up(data),
    )


def _pause_selected(user: User, data: Mapping[str, Any], message: str) -> Response:
    now = clock.now()
    known_fields.require_known_fields(data, PAUSE_FILTER_FIELDS)
    selection = read_selection(data, user, "pause")
    hold = read_hold(data, now)
    selected = bulk_pausing.pause_selected(user, selection, hold=hold, now=now)
    return Response(render_selected(selection, selected, message))


def _resume_selected(user: User, data: Mapping[str, Any], message: str) -> Response:
    known_fields.require_known_fields(data, RESUME_FILTER_FIELDS)
    selection = read_selection(data, user, "resume")
    selected = bulk_pausing.resume_selected(
        user, selection, catch_up=read_catch_up(data), now=clock.now()
    )
    return Response(render_selected(selection, selected, message))
