"""Whose tasks they are: they wait while their user is deactivated, or are handed over."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.dispatch import receiver

from accounts import audit
from accounts.models import User
from accounts.services import AccountError, activity_said, name_in_audit
from scheduler_service.db.arrays import array
from tasks_api.domain.specs import Surface
from tasks_api.models import Task, TaskQuerySet
from tasks_api.services import tasks as task_services
from tasks_api.storage import schedule_changes, task_counts

REASON = "Its user is deactivated."
# Tasks in one transaction of a transfer.
BITE = 1000


@receiver(activity_said)
def _follow_user(sender: object, *, user: User, **kwargs: Any) -> None:
    """Do to the tasks of a user what was done to the user, in the same transaction."""
    if user.is_active:
        restore([user.pk])
    else:
        suspend([user.pk])


@transaction.atomic
def suspend(owner_ids: Collection[int]) -> int:
    """Stop all tasks of deactivated users, as a pause does; returns how many went.

    Those that are paused stay as they are, and so do notices, which are their tenant's.
    The number of statements does not depend on that of the tasks.
    """
    going = Task.objects.filter(
        owner__in=owner_ids,
        owner__is_active=False,
        ended_at=None,
        periodic_task__enabled=True,
    )
    wanted = _locked(going.exclude(surface=Surface.NOTICES))
    # There may be very many, whose bodies nobody needs.
    few = wanted.select_related("periodic_task").only(
        "tenant", "periodic_task__one_off"
    )
    tasks = list(few)
    if tasks:
        ids = [task.pk for task in tasks]
        schedule_changes.close(ids, schedule_changes.What.PAUSED)
        task_services.stop(tasks)
        with connection.cursor() as cursor:
            cursor.execute(_MARK, [REASON, array(ids)])
        task_services.log("task.pause", tasks)
    return len(tasks)


@transaction.atomic
def restore(owner_ids: Collection[int]) -> int:
    """Let tasks go on that waited for their users; returns how many."""
    waiting = Task.objects.filter(owner__in=owner_ids, suspended=True, ended_at=None)
    tasks = list(_locked(waiting).with_schedule().defer("body", "request", "retry"))
    task_services.go_on(tasks)
    task_services.log("task.resume", tasks)
    return len(tasks)


def _locked(tasks: TaskQuerySet) -> TaskQuerySet:
    return tasks.order_by("pk").select_for_update(no_key=True, of=("self",))


_MARK = """
    UPDATE tasks_api_task SET suspended = true, pause_reason = %s
    WHERE id = ANY(%s::uuid[])
"""


def transfer(source: User, target: User, *, bite: int = BITE) -> int:
    """Hand all tasks of a user over to another one of the tenant, living and ended.

    What waited for the first one goes on. In bites, each for itself; so it may be said
    again after it was cut off. Returns how many there were.
    """
    if source.pk == target.pk:
        raise AccountError(f"{source} has them already.")
    if source.tenant_id is None or source.tenant_id != target.tenant_id:
        raise AccountError("Tasks are handed over within a tenant.")
    if not target.is_active:
        raise AccountError(f"{target} is deactivated, so the tasks would not fire.")
    return sum(len(ids) for ids in _bites(source, target, bite))


def _bites(source: User, target: User, bite: int) -> Iterator[list[UUID]]:
    while ids := _transfer(source, target, bite):
        yield ids


@transaction.atomic
def _transfer(source: User, target: User, bite: int) -> list[UUID]:
    # It must be there, and active, when this commits.
    User.objects.select_for_update(no_key=True).get(Q(is_active=True), pk=target.pk)
    tasks = list(_locked(Task.objects.filter(owner=source)).with_schedule()[:bite])
    if not tasks:
        return []
    ids = [task.pk for task in tasks]
    with connection.cursor() as cursor:
        cursor.execute(
            _HAND_OVER,
            {
                "tasks": array(ids),
                "target": target.pk,
                "was": f" for {source}",
                "is": f" for {target}",
            },
        )
    task_services.go_on([task for task in tasks if task.suspended])
    names = {"user": (name_in_audit(source), name_in_audit(target))}
    audit.record(source.tenant_id, "task.transfer", ids, names)
    return ids


_HAND_OVER = f"""
    WITH moved AS (
        SELECT id, owner_id, surface, tags, periodic_task_id, ended_at IS NULL AS is_alive
        FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[])
    ), out AS (
        SELECT owner_id, surface FROM moved WHERE is_alive
    ), into_target AS (
        SELECT %(target)s::bigint AS owner_id, surface FROM moved WHERE is_alive
    ), counted_out AS ({task_counts.ended("out")}), counted_in AS ({task_counts.begun("into_target")}),
    tagged AS (
        UPDATE tasks_api_tasktag SET owner_id = %(target)s
        WHERE task_id = ANY(%(tasks)s::uuid[])
    ), described AS (
        UPDATE django_celery_beat_periodictask periodic
        SET description = left(description, -length(%(was)s)) || %(is)s
        FROM moved WHERE periodic.id = moved.periodic_task_id
            AND right(description, length(%(was)s)) = %(was)s
    )
    UPDATE tasks_api_task SET owner_id = %(target)s WHERE id = ANY(%(tasks)s::uuid[])
"""  # noqa: S608 (constants)
