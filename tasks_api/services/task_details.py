"""What a task is, for people: its request without secrets, its schedule and its policies."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts import url_credentials
from accounts.models import User
from scheduler_service.db.statements import AnyRow, fetch_all, with_limit
from tasks_api.domain import cron, specs
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import ScheduleError, TaskNotFound
from tasks_api.domain.fire_times import ComingFireTime
from tasks_api.domain.request_options import parse_options
from tasks_api.domain.retry_policies import parse_policy
from tasks_api.domain.schedules import Cron, Schedule, grid_of
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    RequestOptions,
    Surface,
    TaskSpec,
)
from tasks_api.domain.states import RunState
from tasks_api.domain.why.facts import ON_TIME
from tasks_api.models import Task
from tasks_api.services.coming import fire_times_of_task, schedule_of
from tasks_api.services.masked_requests import MaskedRequest, mask_request
from tasks_api.services.run_statements import LIST_RECENT_RUNS, MEASURE_RUNS

# The newest runs from which the latency is computed.
MEASURED_RUNS = 200


class TaskSummary(NamedTuple):
    """A task in a list."""

    id: UUID
    surface: Surface
    title: str
    # Its method and host, or its queue.
    target: str
    # None if the admin stored a schedule that cannot be computed.
    schedule: Schedule | None
    next_fire_at: datetime | None
    is_paused: bool
    # Why the service paused it; empty if a user did.
    pause_reason: str
    # Why a user paused it, and when it resumes by itself.
    hold_reason: str
    resume_at: datetime | None
    # What it makes up for when it resumes.
    catch_up: CatchUp
    ended_at: datetime | None
    end_reason: str
    tags: list[str]
    # The lane that it belongs to; empty: none.
    lane: str
    # The name of its user within the tenant.
    owner: str
    created_at: datetime


class RecentRun(NamedTuple):
    """A run of a task, with what its last attempt brought."""

    id: UUID
    scheduled_for: datetime
    state: str
    reason: str
    lane_id: int | None
    by_hand: bool
    attempt_count: int
    # When its first attempt began.
    begun_at: datetime | None
    status_code: int | None
    error: str
    duration: timedelta | None

    @property
    def waits_in_lane(self) -> bool:
        is_waiting = self.state in (RunState.PENDING, RunState.RETRYING)
        return is_waiting and self.lane_id is not None

    @property
    def was_delivered_on_time(self) -> bool:
        is_late = self.begun_at and self.begun_at - self.scheduled_for > ON_TIME
        return self.state == RunState.SUCCEEDED and (self.by_hand or not is_late)


class Latency(NamedTuple):
    """How late the requests of recent runs began, and how long their answers took."""

    runs: int
    late_p50: timedelta | None
    late_p99: timedelta | None
    answer_p50: timedelta | None
    answer_p99: timedelta | None


class TaskDetails(NamedTuple):
    """One task with everything about it that needs no statement of its own."""

    task: Task
    summary: TaskSummary
    request: MaskedRequest
    # Its schedule and its policies; None if the schedule cannot be computed.
    spec: TaskSpec | None

    def coming_fire_times(self, now: datetime, count: int) -> list[ComingFireTime]:
        schedule = self.summary.schedule
        if schedule is None or self.summary.ended_at is not None:
            return []
        return fire_times_of_task(self.task, schedule, now, count)


def find_task(user: User, task_id: UUID) -> TaskDetails:
    """Return a task that the user reaches, living or ended. Raises TaskNotFound."""
    [task] = find_tasks(user, [task_id])
    summary = summarize(task)
    spec = _read_spec(task, summary.schedule) if summary.schedule else None
    return TaskDetails(task, summary, mask_request(task), spec)


def find_tasks(user: User, ids: Collection[UUID]) -> list[Task]:
    """Return tasks that the user reaches, living or ended, with schedules and owners.

    Raises TaskNotFound if one of them is missing.
    """
    own = Task.objects.visible_to(user).exclude(surface=Surface.NOTICES)
    rows = own.with_schedule().select_related("owner", "lane")
    tasks = list(rows.filter(pk__in=ids).order_by("pk"))
    if len(tasks) < len(set(ids)):
        raise TaskNotFound("Task not found")
    return tasks


def title_of(task: Task) -> str:
    """Return what people call a task: its name, or its method and host."""
    return task.name or _target_of(task)


def _target_of(task: Task) -> str:
    return specs.summary(name="", method=task.method, url=task.url, queue=task.queue)


def summarize(task: Task) -> TaskSummary:
    """Describe a task that was read with its schedule, its owner and its lane."""
    return TaskSummary(
        id=task.pk,
        surface=Surface(task.surface),
        title=title_of(task),
        target=_target_of(task),
        schedule=_computable_schedule(task),
        next_fire_at=task.coming_fire_time,
        is_paused=not task.periodic_task.enabled,
        pause_reason=task.pause_reason,
        hold_reason=task.hold_reason,
        resume_at=task.resume_at,
        catch_up=CatchUp(task.catch_up),
        ended_at=task.ended_at,
        end_reason=task.end_reason,
        tags=task.tags,
        lane=task.lane.name if task.lane else "",
        owner=task.owner.name,
        created_at=task.created_at,
    )


def _computable_schedule(task: Task) -> Schedule | None:
    schedule = schedule_of(task)
    grid = None if schedule is None else grid_of(schedule)
    if isinstance(grid, Cron):
        try:
            cron.check(cron.Fields(grid.expression, grid.seconds, grid.years))
        except ScheduleError:
            return None
    return schedule


def _read_spec(task: Task, schedule: Schedule) -> TaskSpec:
    return TaskSpec(
        Surface(task.surface),
        url_credentials.mask(task.url),
        schedule,
        task.body,
        method=task.method,
        name=task.name,
        tags=tuple(task.tags),
        queue=task.queue,
        expected_status=task.expected_status,
        overlap=Overlap(task.overlap),
        misfire=Misfire(task.misfire),
        catchup_window=task.catchup_window,
        spread=task.spread,
        retry=parse_policy(task.retry) if task.retry else None,
        request=parse_options(task.request) if task.request else RequestOptions(),
        pause_after_failures=task.pause_after_failures,
        max_runs=task.max_runs,
        stop_on_success=task.stop_on_success,
        lane_name=task.lane_name,
    )


def recent_runs(tenant_id: int, task_id: UUID, *, limit: int) -> list[RecentRun]:
    """Return the newest runs of a task of a tenant, newest first."""
    statement = with_limit(LIST_RECENT_RUNS, limit)
    return _read_runs(statement, tenant_id, task_id, RecentRun)


def measure_latency(tenant_id: int, task_id: UUID) -> Latency:
    """Measure the newest runs of a task of a tenant that were sent."""
    statement = with_limit(MEASURE_RUNS, MEASURED_RUNS)
    [found] = _read_runs(statement, tenant_id, task_id, Latency)
    return found


def _read_runs(
    statement: str, tenant_id: int, task_id: UUID, row: type[AnyRow]
) -> list[AnyRow]:
    values: dict[str, Any] = {"task": task_id, "tenant": tenant_id}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return fetch_all(cursor, row)
