"""Stored schedules in the admin; actions on the schedules of tasks call `services`.

django-celery-beat's own actions write rows and send messages, and a beat or a worker then
does what they ask for: the audit log would name the service instead of the operator.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django_celery_beat.admin import PeriodicTaskAdmin, PeriodicTaskForm
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from accounts import audit
from scheduler_service.db import clock
from tasks_api.admin.lists import BoundedList
from tasks_api.admin.operations import run_for_owners, run_now
from tasks_api.domain import cron_text
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.models import Task
from tasks_api.services import pausing
from tasks_api.storage import schedule_statements

for model in (
    PeriodicTask,
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    SolarSchedule,
):
    admin.site.unregister(model)


class StoredScheduleForm(PeriodicTaskForm):  # type: ignore[misc]  # it has no types
    """Refuses a schedule that cannot be computed."""

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean()
        crontab = data.get("crontab")
        if crontab is not None:
            try:
                self._check(crontab)
            except (ScheduleError, ValueError) as error:
                self.add_error("crontab", f"{crontab}: {error}")
        return data

    def _check(self, crontab: CrontabSchedule) -> None:
        if Task.objects.filter(periodic_task=self.instance.pk).exists():
            cron_text.read(_expression(crontab))
        else:
            # Celery computes when the operators' own tasks fire.
            crontab.schedule  # noqa: B018 (a property that raises)


def _expression(crontab: CrontabSchedule) -> str:
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return " ".join("".join(getattr(crontab, name).split()) for name in names)


class OwnerFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("operators", "Operators' own, of no tenant")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> QuerySet[PeriodicTask]:
        if self.value() == "operators":
            return queryset.exclude(task=schedule_statements.FIRE_TASK_NAME)
        return queryset


@admin.register(PeriodicTask)
class StoredScheduleAdmin(BoundedList, PeriodicTaskAdmin):  # type: ignore[misc]  # it has no types
    """Leaves the operators' own tasks, such as housekeeping, to django-celery-beat."""

    form = StoredScheduleForm
    ordering = ("-pk",)
    # Other filters and orders would read every row.
    date_hierarchy = None
    list_filter = (OwnerFilter,)
    search_fields = ("name__startswith",)
    search_help_text = "The beginning of a name."
    # A select box would list as many rows as there are tasks. Operators look them up, and
    # add them, in a window of its own; a row that tasks share has no edit link beside it.
    raw_id_fields = ("interval", "crontab", "solar", "clocked")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        # Skips PeriodicTaskAdmin, which describes every crontab there is.
        stored = self.get_object(request, object_id) if object_id else None
        crontab = stored.crontab if stored else None
        readable = {crontab.pk: crontab.human_readable} if crontab else {}
        context = {**(extra_context or {}), "readable_crontabs": readable}
        return admin.ModelAdmin.changeform_view(
            self, request, object_id, form_url, context
        )

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """Write who edited a task's schedule to the audit log of its tenant, too."""
        entry: LogEntry = super().log_change(request, obj, message)
        task = Task.objects.filter(periodic_task=obj.pk).first()
        if task is not None:
            changes = {"schedule": (None, entry.get_change_message())}
            audit.record(task.tenant_id, "schedule.change", [task.pk], changes)
        return entry

    @admin.action(description="Enable selected tasks", permissions=["change"])
    def enable_tasks(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> None:
        if tasks := _find_tasks(queryset.filter(enabled=False)):
            run_for_owners(request, tasks, pausing.resume_tasks, "resumed")
        if others := queryset.filter(http_task=None):
            super().enable_tasks(request, others)

    @admin.action(description="Disable selected tasks", permissions=["change"])
    def disable_tasks(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> None:
        if tasks := _find_tasks(queryset.filter(enabled=True)):
            run_for_owners(request, tasks, pausing.pause_tasks, "paused")
        if others := queryset.filter(http_task=None):
            super().disable_tasks(request, others)

    @admin.action(
        description="Toggle activity of selected tasks", permissions=["change"]
    )
    def toggle_tasks(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> None:
        # Both are read before either is changed.
        enabled = _find_tasks(queryset.filter(enabled=True))
        paused = _find_tasks(queryset.filter(enabled=False))
        if enabled:
            run_for_owners(request, enabled, pausing.pause_tasks, "paused")
        if paused:
            run_for_owners(request, paused, pausing.resume_tasks, "resumed")
        if others := queryset.filter(http_task=None):
            super().toggle_tasks(request, others)

    @admin.action(description="Run selected tasks", permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        if tasks := _find_tasks(queryset):
            run_now(request, tasks)
        if others := queryset.filter(http_task=None):
            super().run_tasks(request, others)


class SharedScheduleAdmin(BoundedList):
    """Rows that hold a time or an interval, each used by any number of tasks of any tenant.

    So a row in use cannot be changed, and adding a row that exists returns that one.
    """

    ordering = ("-pk",)
    # A row that more tasks use cannot be changed; each of them chooses another row.
    max_uses_to_change = 0

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or _count_uses(obj) <= self.max_uses_to_change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or not _count_uses(obj))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        # The action does not ask has_delete_permission() about each row.
        actions.pop("delete_selected", None)
        return actions

    def get_readonly_fields(
        self, request: HttpRequest, obj: Any = None
    ) -> tuple[str, ...]:
        return (*self.readonly_fields, "in_use")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return [*(self.fields or ()), "in_use"]

    @admin.display(description="used by")
    def in_use(self, row: Model) -> str:
        uses = _count_uses(row) if row.pk else 0
        more = " or more" if uses > MAX_COUNTED_USES else ""
        noun = "task" if uses == 1 else "tasks"
        text = f"{min(uses, MAX_COUNTED_USES)}{more} {noun}"
        if uses > self.max_uses_to_change:
            text += "; to give one of them another schedule, choose it there"
        return text

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        row = super().save_form(request, form, change)
        if change:
            return row
        values = {name: getattr(row, name) for name in form.cleaned_data}
        return self.model.objects.filter(**values).order_by("pk").first() or row


# A larger number would tell an operator nothing more.
MAX_COUNTED_USES = 1000


def _count_uses(row: Any) -> int:
    """How many periodic tasks use a row, counted up to MAX_COUNTED_USES and one more."""
    return int(row.periodictask_set.order_by()[: MAX_COUNTED_USES + 1].count())


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(SharedScheduleAdmin):
    fields = ("every", "period")


@admin.register(SolarSchedule)
class SolarScheduleAdmin(SharedScheduleAdmin):
    fields = ("event", "latitude", "longitude")


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(SharedScheduleAdmin):
    fields = list_display = ("clocked_time",)
    max_uses_to_change = 1


class CrontabForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Accepts the service's own cron expressions, with fields such as `LW` and `MON#1`."""

    NAMES = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.NAMES:
            if name in self.fields:
                # Celery's validators know fewer forms.
                self.fields[name].validators = []

    def _get_validation_exclusions(self) -> set[str]:
        return {*super()._get_validation_exclusions(), *self.NAMES}  # type: ignore[misc]  # missing in the stubs

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.keys() >= set(self.NAMES):
            try:
                cron_text.read(_expression(CrontabSchedule(**data)))
            except ScheduleError as error:
                raise forms.ValidationError(str(error)) from None
        return data


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(SharedScheduleAdmin):
    form = CrontabForm
    list_display = ("__str__", "human_readable")
    readonly_fields = ("human_readable",)
    fields = ("human_readable", *CrontabForm.NAMES, "timezone")


def _find_tasks(stored: QuerySet[PeriodicTask]) -> list[Task]:
    """The living tasks of these schedules, with their owners."""
    alive = Task.objects.alive(clock.now()).filter(periodic_task__in=stored)
    return list(alive.select_related("owner"))
