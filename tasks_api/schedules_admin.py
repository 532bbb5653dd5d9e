"""The admin of stored schedules: what is done there to those of tasks goes through the core.

django-celery-beat's own actions write rows and send messages, and a beat or a worker then
does what they ask for: the audit log would name the service, and not who has clicked.
"""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from scheduler_service import clock
from tasks_api import broker, services
from tasks_api.exceptions import SchedulerError
from tasks_api.models import Task

Verb = Callable[..., None]

admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class StoredScheduleAdmin(PeriodicTaskAdmin):  # type: ignore[misc]  # it has no types
    """Nobody's tasks, such as housekeeping, are left to django-celery-beat."""

    @admin.action(description="Enable selected tasks", permissions=["change"])
    def enable_tasks(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> None:
        if tasks := _tasks_of(queryset.filter(enabled=False)):
            steer(request, tasks, services.resume_tasks, "resumed")
        if others := queryset.filter(http_task=None):
            super().enable_tasks(request, others)

    @admin.action(description="Disable selected tasks", permissions=["change"])
    def disable_tasks(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> None:
        if tasks := _tasks_of(queryset.filter(enabled=True)):
            steer(request, tasks, services.pause_tasks, "paused")
        if others := queryset.filter(http_task=None):
            super().disable_tasks(request, others)

    @admin.action(
        description="Toggle activity of selected tasks", permissions=["change"]
    )
    def toggle_tasks(
        self, request: HttpRequest, queryset: QuerySet[PeriodicTask]
    ) -> None:
        # Both are read before either is changed.
        going = _tasks_of(queryset.filter(enabled=True))
        paused = _tasks_of(queryset.filter(enabled=False))
        if going:
            steer(request, going, services.pause_tasks, "paused")
        if paused:
            steer(request, paused, services.resume_tasks, "resumed")
        if others := queryset.filter(http_task=None):
            super().toggle_tasks(request, others)

    @admin.action(description="Run selected tasks", permissions=["change"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        tasks = _tasks_of(queryset)
        made = services.fire_tasks([task.pk for task in tasks], now=clock.now())
        broker.ring(made)
        messages.success(
            request, f"{len(made)} will run now; what has ended stays as it is."
        )
        if len(made) < len(tasks):
            left = len(tasks) - len(made)
            messages.warning(request, f"{left} may not overlap with a run of theirs.")
        if others := queryset.filter(http_task=None):
            super().run_tasks(request, others)


def _tasks_of(stored: QuerySet[PeriodicTask]) -> list[Task]:
    """The living tasks that these are the schedules of, with their owners."""
    alive = Task.objects.alive(clock.now()).filter(periodic_task__in=stored)
    return list(alive.select_related("owner"))


def steer(
    request: HttpRequest, tasks: QuerySet[Task] | list[Task], verb: Verb, done: str
) -> None:
    """Do to tasks what the core's verb does to a user's own: staff act in his place."""
    now = clock.now()
    of_owner: dict[User, list[str]] = {}
    for task in tasks:
        of_owner.setdefault(task.owner, []).append(str(task.pk))
    count = 0
    for owner, ids in of_owner.items():
        try:
            verb(owner, ids, now=now)
        except SchedulerError as refusal:
            messages.error(request, f"The tasks of {owner}: {refusal}.")
        else:
            count += len(ids)
    messages.success(request, f"{count} {done}; what has ended stays as it is.")
