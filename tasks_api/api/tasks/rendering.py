"""Render tasks as responses of the tasks API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from accounts import url_credentials
from tasks_api.api.tasks import optional_fields, schedule_fields
from tasks_api.api.tasks.request_fields import post_data_of
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.services.coming import written_schedule_of
from tasks_api.services.outcomes import LastRun


def render_task(task: Task, now: datetime) -> dict[str, Any]:
    """A task as its owner sees it. The caller must have fetched its schedule with it."""
    schedule = written_schedule_of(task)
    to_queue = {"url": None, "queue": task.queue}
    target = to_queue if task.queue else {"url": url_credentials.mask(task.url)}
    return {
        "id": str(task.pk),
        **target,
        "task_type": schedule_fields.task_type_of(schedule),
        "post_data": post_data_of(task),
        **schedule_fields.render_schedule(schedule),
        "next_run_datetime": schedule_fields.format_in_utc(task.coming_fire_time),
        **_render_pause(task),
        **optional_fields.render_optional_fields(task),
        **({} if task.runs_left is None else {"runs_left": task.runs_left}),
        **({"name": task.name} if task.name else {}),
        **({"tags": task.tags} if task.tags else {}),
    }


def _render_pause(task: Task) -> dict[str, Any]:
    """Whether the task is paused, why, and until when."""
    if task.periodic_task.enabled:
        return {"pause_reason": task.pause_reason} if task.pause_reason else {}
    reason = task.hold_reason or task.pause_reason
    return {
        "paused": True,
        **({"pause_reason": reason} if reason else {}),
        **(
            {"resume_at": schedule_fields.format_in_utc(task.resume_at)}
            if task.resume_at
            else {}
        ),
        **({"catch_up": task.catch_up} if task.catch_up != CatchUp.NONE else {}),
    }


def render_last_run(run: LastRun) -> dict[str, Any]:
    return {
        "run_id": str(run.run_id),
        "scheduled_for": format_timestamp(run.scheduled_for),
        "state": run.state,
    }
