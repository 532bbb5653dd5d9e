"""Show runs, messages and the audit log in the admin."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from accounts.models import AuditEntry, Tenant, User
from scheduler_service.db import clock
from tasks_api.admin.buttons import ButtonsMixin
from tasks_api.admin.lists import BoundedList, HistoryAdmin, ReadOnlyMixin, shorten
from tasks_api.admin.operations import redrive_runs
from tasks_api.admin.tasks import find_by_part, find_named_tasks, find_tasks_of
from tasks_api.domain.states import (
    UNDELIVERED_STATES,
    UNFINISHED_STATES,
    RunState,
    Stage,
)
from tasks_api.models import Attempt, Message, QueueTally, Run

# A task may be retried for ever, and each answer has up to 16 KiB.
MAX_SHOWN_ATTEMPTS = 10
# The characters of a reason that a list shows.
MAX_SHOWN_REASON = 80
# Runs that a search finds: of each task, and of all tasks and of a tenant, the newest.
MAX_RUNS_PER_TASK = 50
MAX_FOUND_RUNS = 2000


class AttemptInline(ReadOnlyMixin, admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
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
    verbose_name_plural = f"attempts, the newest {MAX_SHOWN_ATTEMPTS} at most"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        before = F("run__attempt_count") - MAX_SHOWN_ATTEMPTS
        attempts: QuerySet[Attempt] = super().get_queryset(request)
        return attempts.filter(number__gt=before)


class RunStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in RunState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        state = self.value()
        if state is None:
            return queryset
        if state in UNFINISHED_STATES:
            queryset = queryset.filter(stage=Stage.LIVE)
        return queryset.filter(state=state)


@admin.register(Run)
class RunAdmin(ButtonsMixin, HistoryAdmin):
    list_display = (
        "scheduled_for",
        "tenant",
        "label",
        "state",
        "short_reason",
        "attempts",
        "finished_at",
    )
    actions = ["redrive"]
    buttons: ClassVar = {"redrive": "Redrive"}
    list_filter = (RunStateFilter, "scheduled_for")
    list_select_related = ("tenant", "task")
    search_help_text = (
        "The id of a run or a task, a task's name or its beginning, or a tenant or a "
        "user by its whole name. A part of a name finds the runs of newer tasks."
    )
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

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may redrive runs; nobody may write their rows."""
        assert isinstance(request.user, User)
        return request.user.has_perm("tasks_api.change_task")

    def offered_buttons(self, request: HttpRequest, row: Run) -> set[str]:
        return {"redrive"} if row.state in UNDELIVERED_STATES else set()

    @admin.display(description="task")
    def label(self, run: Run) -> str:
        return run.task.name or str(run.task)

    @admin.display
    def attempts(self, run: Run) -> int:
        return run.attempt_count

    @admin.display(description="reason")
    def short_reason(self, run: Run) -> str:
        return Truncator(run.reason).chars(MAX_SHOWN_REASON)

    @admin.action(description="Redrive selected runs", permissions=["operate"])
    def redrive(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        redrive_runs(request, queryset.select_related("task__owner"))

    def search(self, queryset: QuerySet[Run], term: str) -> QuerySet[Run]:
        tenant = Tenant.objects.filter(name=term).first()
        tasks = find_named_tasks(term) | find_tasks_of(Q(username=term))
        if tenant is None and not tasks:
            tasks = find_by_part(term)
        each = min(MAX_RUNS_PER_TASK, max(1, MAX_FOUND_RUNS // max(1, len(tasks))))
        runs = Run.objects.newest_ids(tasks, each=each)
        if tenant is not None:
            newest = Run.objects.filter(tenant=tenant).order_by("-scheduled_for")
            runs.update(newest.values_list("pk", flat=True)[:MAX_FOUND_RUNS])
        return queryset.filter(pk__in=runs)


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
    search_help_text = "An id, or a tenant, a queue or a message by its whole name."
    ids = ("name",)
    fields = readonly_fields = (
        "id",
        "tenant",
        "queue",
        "name",
        "shown_payload",
        "shown_state",
        "run_at",
        "timeout_seconds",
        "leased_until",
        "retry_count",
        "max_retries",
        "created_at",
    )

    def search(self, queryset: QuerySet[Message], term: str) -> QuerySet[Message]:
        named = Q(tenant__name=term) | Q(queue=term) | Q(name=term)
        return queryset.filter(named)

    @admin.display(description="payload")
    def shown_payload(self, message: Message) -> str:
        return shorten(message.payload)

    @admin.display(description="consumer's note")
    def shown_state(self, message: Message) -> str:
        return shorten(message.state)

    @admin.display(description="state")
    def state_of(self, message: Message) -> str:
        now = clock.now()
        if message.leased_until and message.leased_until > now:
            return "in flight"
        return "waiting" if message.run_at <= now else "not due"


@admin.register(QueueTally)
class QueueTallyAdmin(ReadOnlyMixin, BoundedList):
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
    search_help_text = "A tenant, an actor, an action or the id of an object, in full."
    fields = readonly_fields = (*list_display, "shown_ids", "shown_changes")

    @admin.display(description="object ids")
    def shown_ids(self, entry: AuditEntry) -> str:
        return shorten("\n".join(map(str, entry.object_ids or ())))

    @admin.display(description="changes")
    def shown_changes(self, entry: AuditEntry) -> str:
        return (
            shorten(json.dumps(entry.changes, ensure_ascii=False))
            if entry.changes
            else "-"
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            UUID(term)
        except ValueError:
            return queryset.filter(_entries_named(term)), False
        # An id is that of an object; the log stores it as text.
        return queryset & AuditEntry.objects.of_object(term), False


def _entries_named(term: str) -> Q:
    of_tenant = Q(tenant__in=Tenant.objects.filter(name=term))
    return of_tenant | Q(actor=term) | Q(action=term) | Q(object_id=term)
