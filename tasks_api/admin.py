"""Tasks and their runs in the admin: to look at, and to pause, resume or remove."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html

from accounts import audit
from accounts.models import AuditEntry, User
from tasks_api import services
from tasks_api.delivery.guard import host_of
from tasks_api.models import (
    Attempt,
    Message,
    QueueTally,
    Run,
    Task,
    TaskQuerySet,
)
from tasks_api.schedules_admin import steer

admin.site.site_header = "Scheduler Service"
admin.site.site_title = "Scheduler Service"
admin.site.index_title = "Administration"

CREDENTIALS = re.compile("://[^/?#]*@")
# Below it a table is counted, which is exact and takes milliseconds.
LARGE_TABLE = 50_000


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Asks the planner how long a large table is, because counting reads all of it."""

    @cached_property
    def count(self) -> int:
        query = self.object_list.query  # type: ignore[attr-defined]  # the admin's are QuerySets
        estimate = 0 if query.where else _estimated_rows(query.model)
        return estimate if estimate > LARGE_TABLE else super().count


def _estimated_rows(model: type[Model]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
            [connection.ops.quote_name(model._meta.db_table)],
        )
        [estimate] = cursor.fetchone()
    return int(estimate)


class ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class HistoryAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Rows that only the service writes, and that there may be millions of."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # By time, because ids are UUIDv7; any other order would sort the whole table.
    ordering = ("-pk",)
    sortable_by = ()
    search_help_text = "By id, or by a part of another column."
    ids: tuple[str, ...] = ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            wanted = UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        found = queryset.none()
        for column in self.ids:
            found = found | queryset.filter(**{column: wanted})
        return found, False


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("paused", "Paused"), ("ended", "Ended")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Task]
    ) -> QuerySet[Task]:
        alive = Task.objects.alive(timezone.now())
        match self.value():
            case "active":
                return queryset & alive.filter(periodic_task__enabled=True)
            case "paused":
                return queryset & alive.filter(periodic_task__enabled=False)
            case "ended":
                past = Q(periodic_task__expires__lt=timezone.now())
                return queryset.filter(Q(ended_at__isnull=False) | past)
        return queryset


@admin.register(Task)
class TaskAdmin(HistoryAdmin):
    list_display = (
        "id",
        "tenant",
        "owner",
        "surface",
        "name",
        "method",
        "host",
        "schedule",
        "state",
        "next_fire_at",
        "last_run",
    )
    list_filter = (StateFilter, "surface", "method", "created_at")
    list_select_related = (
        "tenant",
        "owner",
        "periodic_task__interval",
        "periodic_task__crontab",
        "periodic_task__clocked",
    )
    search_fields = ("name", "url", "tenant__name", "owner__username")
    fields = readonly_fields = (
        "id",
        "tenant",
        "owner",
        "surface",
        "name",
        "method",
        "target",
        "queue",
        "body",
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
        "pause_reason",
        "next_fire_at",
        "last_fire_at",
        "runs",
        "created_at",
        "replaced_at",
        "ended_at",
        "end_reason",
    )
    actions = ["pause", "resume", "remove"]

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """May pause, resume and remove; nobody may write the rows themselves."""
        assert isinstance(request.user, User)
        return request.user.has_perm("tasks_api.change_task")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        newest = Run.objects.filter(task=OuterRef("pk")).order_by("-scheduled_for")
        last = Subquery(newest.values("state")[:1])
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.annotate(last_run_state=last)

    @admin.display
    def host(self, task: Task) -> str:
        if task.queue:
            return f"queue {task.queue}"
        return host_of(task.url) or host_of(task.tenant.callback_url)

    @admin.display(description="URL")
    def target(self, task: Task) -> str:
        """The URL without its credentials, which are the tenant's own business."""
        return CREDENTIALS.sub("://…@", task.url)

    @admin.display(description="request")
    def request_options(self, task: Task) -> str:
        """The names of its headers and the rest, without what is sealed."""
        options = json.loads(task.request or "{}")
        options.pop("sealed_values", None)
        return json.dumps({name: value for name, value in options.items() if value})

    @admin.display
    def schedule(self, task: Task) -> str:
        shown = str(task.periodic_task.scheduler)
        if task.cron_seconds != "0":
            shown += f", at seconds {task.cron_seconds}"
        if task.cron_years != "*":
            shown += f", in years {task.cron_years}"
        return shown

    @admin.display
    def state(self, task: Task) -> str:
        expires = task.periodic_task.expires
        if task.ended_at or (expires and expires < timezone.now()):
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

    @admin.action(description="Pause selected tasks", permissions=["steer"])
    def pause(self, request: HttpRequest, queryset: TaskQuerySet) -> None:
        steer(request, _alive(queryset), services.pause_tasks, "paused")

    @admin.action(description="Resume selected tasks", permissions=["steer"])
    def resume(self, request: HttpRequest, queryset: TaskQuerySet) -> None:
        steer(request, _alive(queryset), services.resume_tasks, "resumed")

    @admin.action(description="Remove selected tasks", permissions=["steer"])
    def remove(self, request: HttpRequest, queryset: TaskQuerySet) -> None:
        steer(request, _alive(queryset), _remove_tasks, "removed")


def _alive(tasks: TaskQuerySet) -> TaskQuerySet:
    return tasks.alive(timezone.now()).select_related("owner")


def _remove_tasks(owner: User, ids: Sequence[str], *, now: datetime) -> None:
    for task_id in ids:
        services.remove_task(owner, task_id, now=now)


@receiver(post_save, sender=LogEntry)
def _note_schedule_edit(instance: LogEntry, **kwargs: Any) -> None:
    """Say in the audit log who edited a task's schedule, once the admin has logged it."""
    if instance.content_type is None or instance.content_type.model != "periodictask":
        return
    task = Task.objects.filter(periodic_task=instance.object_id).first()
    if task is not None:
        changes = {"schedule": (None, instance.get_change_message())}
        audit.record(task.tenant_id, "schedule.change", [task.pk], changes)


class AttemptInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    model = Attempt
    fields = (
        "number",
        "started_at",
        "duration_ms",
        "status_code",
        "error",
        "answer",
    )
    ordering = ("number",)
    extra = 0


@admin.register(Run)
class RunAdmin(HistoryAdmin):
    list_display = (
        "id",
        "tenant",
        "task",
        "scheduled_for",
        "state",
        "reason",
        "attempt_count",
        "started_at",
        "finished_at",
    )
    list_filter = ("state", "scheduled_for")
    list_select_related = ("tenant", "task")
    search_fields = ("task__url", "tenant__name")
    ids = ("pk", "task")
    inlines = (AttemptInline,)
    fields = readonly_fields = (
        "id",
        "tenant",
        "task",
        "scheduled_for",
        "state",
        "reason",
        "wake_at",
        "attempt_count",
        "lost_count",
        "started_at",
        "finished_at",
    )


@admin.register(Message)
class MessageAdmin(HistoryAdmin):
    list_display = (
        "id",
        "tenant",
        "queue",
        "name",
        "state_of",
        "run_at",
        "retry_count",
    )
    list_select_related = ("tenant",)
    search_fields = ("queue", "name")
    ids = ("name",)
    fields = readonly_fields = (
        "id",
        "tenant",
        "queue",
        "name",
        "payload",
        "state",
        "run_at",
        "timeout_seconds",
        "leased_until",
        "retry_count",
        "max_retries",
        "created_at",
    )

    @admin.display(description="state")
    def state_of(self, message: Message) -> str:
        now = timezone.now()
        if message.leased_until and message.leased_until > now:
            return "in flight"
        return "waiting" if message.run_at <= now else "not due"


@admin.register(QueueTally)
class QueueTallyAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    list_display = ("tenant", "queue", "exhausted")
    list_select_related = ("tenant",)
    search_fields = ("queue", "tenant__name")


@admin.register(AuditEntry)
class AuditEntryAdmin(HistoryAdmin):
    """Who changed what. Search for a tenant by its name, or for an object by its id."""

    list_display = (
        "at",
        "tenant",
        "actor",
        "via",
        "token_prefix",
        "action",
        "object_id",
        "count",
    )
    list_filter = ("via",)
    list_select_related = ("tenant",)
    search_fields = ("=tenant__name", "=actor", "=action", "=object_id")
    search_help_text = "A tenant, an actor, an action or the id of an object, in full."
    fields = readonly_fields = (*list_display, "object_ids", "changes")

    # An id is that of an object, which is a text here.
    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        try:
            UUID(term)
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        return queryset & AuditEntry.objects.of_object(term), False
