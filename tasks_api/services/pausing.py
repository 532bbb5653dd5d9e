"""Pause and resume tasks, for a user and for the service itself."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import InvalidState
from tasks_api.domain.specs import Surface
from tasks_api.models import Run, Task
from tasks_api.services import catch_ups, notifications
from tasks_api.services.auditing import record_for_tenants
from tasks_api.services.finding import lock_rows, lock_tasks
from tasks_api.services.rescheduling import reschedule
from tasks_api.services.unstarted_runs import cancel_unstarted
from tasks_api.storage import schedule_changes, schedule_rows

SUSPENDED_REASON = "Its user is deactivated."
# The characters of the reason that a user gives.
MAX_REASON_LENGTH = 1000


class Hold(NamedTuple):
    """Why a user pauses tasks, and when they resume by themselves; None is never.

    `catch_up` says which fire times of the pause they make up for.
    """

    reason: str = ""
    until: datetime | None = None
    catch_up: CatchUp = CatchUp.NONE


@transaction.atomic
def pause_tasks(
    owner: User,
    ids: Sequence[str],
    *,
    now: datetime,
    surface: Surface | None = None,
    hold: Hold | None = None,
) -> None:
    """Pause all of these tasks, or none.

    A run under way finishes. A due one-off waits, and is sent on resume. A `hold` also
    counts for tasks that are paused already.
    """
    tasks = lock_tasks(owner, ids, now=now, surface=surface)
    pause_locked(owner, tasks, hold)


@transaction.atomic
def resume_tasks(
    owner: User,
    ids: Sequence[str],
    *,
    now: datetime,
    surface: Surface | None = None,
    catch_up: CatchUp | None = None,
) -> None:
    """Resume all of these tasks, or none; each fires at its next fire time.

    `catch_up` says which fire times of the pause the tasks make up for; None leaves it
    to what was said when they were paused.
    """
    tasks = lock_tasks(owner, ids, now=now, surface=surface, schedules=True)
    resume_chosen(owner, tasks, catch_up)


def set_paused(owner: User, ids: Collection[uuid.UUID], is_paused: bool) -> bool:
    """Pause or resume tasks that the caller has locked; return whether any changed."""
    rows = Task.objects.filter(pk__in=ids).with_schedule().order_by("pk")
    change = pause_locked if is_paused else resume_chosen
    return bool(change(owner, list(rows)))


def pause_locked(
    owner: User,
    tasks: Sequence[Task],
    hold: Hold | None = None,
    *,
    note: audit.Changes | None = None,
) -> list[Task]:
    """Pause those of locked tasks that are not paused, and return them.

    A `hold` counts for all of them. A `note` makes the audit entry name all of them, and
    say how they were chosen.
    """
    going = _pause(tasks)
    if hold is not None:
        held = Task.objects.filter(pk__in=[task.pk for task in tasks])
        held.update(
            hold_reason=hold.reason, resume_at=hold.until, catch_up=hold.catch_up
        )
    changed = tasks if note else going
    audit.record(owner.tenant_id, "task.pause", [task.pk for task in changed], note)
    return going


def _pause(tasks: Sequence[Task]) -> list[Task]:
    """Pause the tasks that are not paused, and return them."""
    going = [task for task in tasks if task.periodic_task.enabled]
    # An operator may have enabled them in the admin.
    _forget_hold(going)
    if any(task.suspended for task in tasks):
        # A suspended task that a user pauses stays paused when its user is activated.
        held = [task.pk for task in tasks if task.suspended]
        Task.objects.filter(pk__in=held).update(suspended=False, pause_reason="")
    schedule_changes.record_change(
        [task.pk for task in going], schedule_changes.ChangeKind.PAUSED
    )
    stop_locked(going)
    return going


def _forget_hold(tasks: Iterable[Task]) -> None:
    """Forget why and until when users paused tasks; most tasks were paused without."""
    held = [task.pk for task in tasks if _get_hold(task) != Hold()]
    if held:
        reason, until, catch_up = Hold()
        Task.objects.filter(pk__in=held).update(
            hold_reason=reason, resume_at=until, catch_up=catch_up
        )


def _get_hold(task: Task) -> Hold:
    return Hold(task.hold_reason, task.resume_at, CatchUp(task.catch_up))


def resume_chosen(
    owner: User,
    tasks: Sequence[Task],
    catch_up: CatchUp | None = None,
    *,
    note: audit.Changes | None = None,
) -> list[Task]:
    """Resume those of locked tasks that are paused, and return them.

    Raises InvalidState if the user of one is deactivated. For `note` see pause_locked.
    """
    _refuse_without_owner(owner, tasks)
    paused = [task for task in tasks if not task.periodic_task.enabled]
    resume_locked(paused, catch_up)
    audit.record(owner.tenant_id, "task.resume", [task.pk for task in paused], note)
    return paused


def _refuse_without_owner(owner: User, tasks: Sequence[Task]) -> None:
    others = {task.owner_id for task in tasks if task.owner_id != owner.pk}
    gone = User.objects.filter(pk__in=others, is_active=False) if others else []
    if not owner.is_active or gone:
        raise InvalidState(
            "The user of the task is deactivated; activate them, or hand their tasks over"
        )


def stop_locked(tasks: Sequence[Task]) -> None:
    """Pause tasks that the caller has locked, after its record_change()."""
    ids = [task.pk for task in tasks]
    schedule_rows.set_enabled(ids, False)
    Task.objects.filter(pk__in=ids).update(next_fire_at=None)
    recurring = [task.pk for task in tasks if not task.periodic_task.one_off]
    cancel_unstarted(recurring, reason="The task was paused.", spares_by_hand=True)


def resume_locked(paused: Sequence[Task], catch_up: CatchUp | None = None) -> None:
    """Resume paused tasks that the caller has locked, with their schedules loaded.

    Without a `catch_up`, each task makes up for what it was paused with.
    """
    if not paused:
        return
    resumed = [task.pk for task in paused]
    at = schedule_changes.record_change(resumed, schedule_changes.ChangeKind.RESUMED)
    catch_ups.open_pauses(
        {task.pk: catch_up or CatchUp(task.catch_up) for task in paused}, ended_at=at
    )
    tasks = Task.objects.filter(pk__in=resumed)
    tasks.filter(suspended=True).update(suspended=False)
    _forget_hold(paused)
    schedule_rows.set_enabled(resumed, True)
    for task in paused:
        task.periodic_task.enabled, task.is_paused = True, False
    reschedule(paused, now=at)
    # Backfills keep their pace.
    waiting = Run.objects.filter(task__in=resumed, backfill_id=None).not_started()
    waiting.update(wake_at=Now())
    streaks = Task.objects.filter(pk__in=resumed, failure_streak__gt=0)
    streaks.update(failure_streak=0)


@transaction.atomic
def resume_due(*, limit: int, since: datetime | None = None) -> int:
    """Resume tasks whose pause is over; return how many there were, at most `limit`.

    The task of a deactivated user resumes when the user is activated. Tasks whose pause
    was over before `since` are left alone, and so are those of frozen tenants.
    """
    over = Task.objects.filter(resume_at__lte=Now(), ended_at=None, is_parked=False)
    over = over.with_schedule()
    if since is not None:
        over = over.filter(resume_at__gte=since)
    locked = over.select_for_update(skip_locked=True, no_key=True, of=("self",))
    due = list(locked.select_related("owner").order_by("resume_at")[:limit])
    paused = [task for task in due if not task.periodic_task.enabled]
    ownerless = [task.pk for task in paused if not task.owner.is_active]
    Task.objects.filter(pk__in=ownerless).update(
        suspended=True, pause_reason=SUSPENDED_REASON
    )
    with audit.acting_as(audit.SERVICE):
        resumed = [task for task in paused if task.owner.is_active]
        resume_locked(resumed)
        record_for_tenants("task.resume", resumed)
    _forget_hold(due)
    return len(due)


def suspend_ownerless(tasks: Sequence[Task]) -> None:
    """Suspend locked tasks that were enabled while their user is deactivated.

    Updates `enabled` of the given tasks; the caller must write their next fire times.
    """
    gone = User.objects.filter(pk__in={task.owner_id for task in tasks})
    without = set(gone.filter(is_active=False).values_list("pk", flat=True))
    held = [task for task in tasks if task.owner_id in without]
    held = [task for task in held if task.surface != Surface.NOTICES]
    ids = [task.pk for task in held if task.periodic_task.enabled]
    schedule_rows.set_enabled(ids, False)
    Task.objects.filter(pk__in=ids).update(suspended=True, next_fire_at=None)
    for task in held:
        task.periodic_task.enabled = False


@transaction.atomic
def pause_failing_tasks(failing: Mapping[uuid.UUID, tuple[int, str]]) -> None:
    """Pause tasks that reached their failure streak, and notify their tenants.

    `failing` holds the streak of each task, and the error of its last run. Paused tasks
    do not change.
    """
    rows = Task.objects.filter(pk__in=failing, ended_at=None)
    locked = lock_rows(rows.select_related("periodic_task", "owner"))
    tasks = [task for task in locked if task.periodic_task.enabled]
    if not tasks:
        return
    at = schedule_changes.record_change(
        [task.pk for task in tasks], schedule_changes.ChangeKind.PAUSED
    )
    stop_locked(tasks)
    for task in tasks:
        task.pause_reason = _failure_reason(*failing[task.pk])
    Task.objects.bulk_update(tasks, ["pause_reason"])
    notices = [
        notifications.Notice(
            "task.paused", task, task.pause_reason, failing[task.pk][1]
        )
        for task in tasks
    ]
    with audit.acting_as(audit.SERVICE):
        record_for_tenants("task.pause", tasks)
        notifications.notify_tenants(notices, now=at)


def _failure_reason(count: int, error: str) -> str:
    several = f"{count} runs in a row" if count > 1 else "A run"
    return f"{several} failed; the last one: {error}"
