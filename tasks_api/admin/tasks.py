"""Show tasks in the admin, and pause, resume or remove them."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from accounts import url_credentials
from accounts.models import User
from scheduler_service.db import clock
from tasks_api.admin.buttons import ButtonsMixin
from tasks_api.admin.lists import HistoryAdmin, shorten
from tasks_api.admin.operations import remove_tasks, run_for_owners, run_now
from tasks_api.admin.stuck import StuckPageMixin
from tasks_api.domain.cron import Fields, check
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.guard import host_of
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.schedules import Cron, grid_of
from tasks_api.models import (
    Run,
    Task,
    TaskQuerySet,
)
from tasks_api.services import pausing
from tasks_api.storage import stored_schedules

admin.site.site_header = "Scheduler Service"
admin.site.site_title = "Scheduler Service"
admin.site.index_title = "Administration"

# Tasks of each kind that a search finds, the newest first.
MAX_FOUND_TASKS = 1000
# The newest tasks, among which a part of a name is looked for.
MAX_EXAMINED_TASKS = 50_000


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("paused", "Paused"), ("ended", "Ended")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Task]
    ) -> QuerySet[Task]:
        alive = Task.objects.alive(clock.now())
        match self.value():
            case "active":
                return queryset & alive.not_paused()
            case "paused":
                return queryset & alive.paused()
            case "ended":
                # No beat has ended the past ones yet; each condition has its own index.
                past = Q(ended_at=None, ends_at__lt=clock.now())
                due = Q(next_fire_at=None) | Q(next_fire_at__lte=clock.now())
                return queryset.filter(Q(ended_at__isnull=False) | past & due)
        return queryset


@admin.register(Task)
class TaskAdmin(StuckPageMixin, ButtonsMixin, HistoryAdmin):
    # The username of an owner ends with the tenant.
    list_display = (
        "label",
        "owner",
        "host",
        "schedule",
        "state",
        "next_fire_at",
        "last_run",
    )
    # No filter by method: its choices would be read from every row.
    list_filter = (StateFilter, "surface", "created_at")
    list_select_related = (
        "tenant",
        "owner",
        "periodic_task__interval",
        "periodic_task__crontab",
        "periodic_task__clocked",
    )
    search_help_text = (
        "An id, a name or its beginning, or a tenant or a user by its whole name. A part "
        f"of a name finds one of the newest {MAX_EXAMINED_TASKS:,} tasks."
    )
    fields = readonly_fields = (
        "id",
        "tenant",
        "owner",
        "surface",
        "name",
        "method",
        "target",
        "queue",
        "shown_body",
        "expected_status",
        "overlap",
        "misfire",
        "catchup_window",
        "spread",
        "spread_offset",
        "dst",
        "retry",
        "request_options",
        "edit_schedule",
        "cron_seconds",
        "cron_years",
        "state",
        "pause_after_failures",
        "failure_streak",
        "max_runs",
        "runs_made",
        "stop_on_success",
        "pause_reason",
        "next_fire_at",
        "last_fire_at",
        "runs",
        "created_at",
        "replaced_at",
        "ended_at",
        "end_reason",
    )
    actions = ["run", "pause", "resume", "remove"]
    buttons: ClassVar = {
        "run": "Run now",
        "pause": "Pause",
        "resume": "Resume",
        "remove": "Remove",
    }

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause, resume and remove tasks; nobody may write their rows."""
        assert isinstance(request.user, User)
        return request.user.has_perm("tasks_api.change_task")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        newest = Run.objects.filter(task=OuterRef("pk")).order_by("-scheduled_for")
        last = Subquery(newest.values("state")[:1])
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.annotate(last_run_state=last)

    def search(self, queryset: QuerySet[Task], term: str) -> QuerySet[Task]:
        return queryset.filter(pk__in=find_tasks(term))

    @admin.display
    def host(self, task: Task) -> str:
        if task.queue:
            return f"queue {task.queue}"
        return host_of(task.url) or host_of(task.tenant.callback_url)

    @admin.display(description="URL")
    def target(self, task: Task) -> str:
        """The URL without its credentials, which are the tenant's secret."""
        return url_credentials.mask(task.url)

    @admin.display(description="body")
    def shown_body(self, task: Task) -> str:
        return shorten(task.body)

    @admin.display(description="request")
    def request_options(self, task: Task) -> str:
        """The request options with the names of headers, without their sealed values."""
        options = json.loads(task.request or "{}")
        options.pop("sealed_values", None)
        return shorten(
            json.dumps({name: each for name, each in options.items() if each})
        )

    @admin.display(description="task")
    def label(self, task: Task) -> str:
        return task.name or str(task)

    @admin.display
    def schedule(self, task: Task) -> str:
        return _words_of(task)

    @admin.display
    def state(self, task: Task) -> str:
        expires = task.periodic_task.expires
        if task.ended_at or (expires and expires < clock.now()):
            return "ended"
        return "active" if task.periodic_task.enabled else "paused"

    @admin.display
    def last_run(self, task: Task) -> str | None:
        state: str | None = task.last_run_state  # type: ignore[attr-defined]  # annotated above
        return state

    @admin.display(description="schedule")
    def edit_schedule(self, task: Task) -> str:
        page = "admin:django_celery_beat_periodictask_change"
        url = reverse(page, args=[task.periodic_task_id])
        return format_html('<a href="{}">{}</a>', url, self.schedule(task))

    @admin.display
    def runs(self, task: Task) -> str:
        url = reverse("admin:tasks_api_run_changelist")
        return format_html('<a href="{}?task__id__exact={}">All runs</a>', url, task.pk)

    def offered_buttons(self, request: HttpRequest, row: Task) -> set[str]:
        match self.state(row):
            case "active":
                return {"run", "pause", "remove"}
            case "paused":
                return {"run", "resume", "remove"}
        return set()

    @admin.action(description="Run selected tasks now", permissions=["operate"])
    def run(self, request: HttpRequest, queryset: TaskQuerySet) -> None:
        run_now(request, list(_alive(queryset)))

    @admin.action(description="Pause selected tasks", permissions=["operate"])
    def pause(self, request: HttpRequest, queryset: TaskQuerySet) -> None:
        run_for_owners(request, _alive(queryset), pausing.pause_tasks, "paused")

    @admin.action(description="Resume selected tasks", permissions=["operate"])
    def resume(self, request: HttpRequest, queryset: TaskQuerySet) -> None:
        run_for_owners(request, _alive(queryset), pausing.resume_tasks, "resumed")

    @admin.action(description="Remove selected tasks", permissions=["operate"])
    def remove(
        self, request: HttpRequest, queryset: TaskQuerySet
    ) -> TemplateResponse | None:
        alive = _alive(queryset)
        if "confirmed" in request.POST:
            run_for_owners(request, alive, remove_tasks, "removed")
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Are you sure?",
            "opts": self.opts,
            "tasks": alive,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        }
        return TemplateResponse(request, "admin/tasks_api/task/remove.html", context)


def _words_of(task: Task) -> str:
    """The schedule in words, or as django-celery-beat writes what cannot be computed."""
    try:
        schedule = stored_schedules.schedule_of(task)
        grid = grid_of(schedule)
        if isinstance(grid, Cron):
            check(Fields(grid.expression, grid.seconds, grid.years))
    except ScheduleError:
        return str(task.periodic_task.scheduler)
    return schedule_words(schedule)


def find_tasks(term: str) -> set[UUID]:
    """Find tasks by the beginning of a name, by tenant, or by user; or by a part of a name."""
    users = Q(username=term) | Q(tenant__name=term)
    return find_named_tasks(term) | find_tasks_of(users) or find_by_part(term)


def find_named_tasks(prefix: str) -> set[UUID]:
    named = Task.objects.with_name_prefix(prefix).order_by("-pk")
    return set(named.values_list("pk", flat=True)[:MAX_FOUND_TASKS])


def find_by_part(part: str) -> set[UUID]:
    # No index finds a part of a name, so only some tasks are examined.
    return Task.objects.newest_with_part(
        part, examined=MAX_EXAMINED_TASKS, limit=MAX_FOUND_TASKS
    )


def find_tasks_of(users: Q) -> set[UUID]:
    owners = list(User.objects.filter(users).values_list("pk", "tenant_id"))
    # Living and ended tasks stand in two indexes, so each query uses one.
    newest = Task.objects.order_by("-pk").values_list("pk", flat=True)
    of_owners = newest.filter(owner__in=[owner for owner, _ in owners])
    tenants = {tenant for _, tenant in owners}
    alive = of_owners.filter(ended_at=None)[:MAX_FOUND_TASKS]
    ended = of_owners.filter(tenant__in=tenants, ended_at__isnull=False)
    return {*alive, *ended[:MAX_FOUND_TASKS]}


def _alive(tasks: TaskQuerySet) -> TaskQuerySet:
    return tasks.alive(clock.now()).select_related("owner")
