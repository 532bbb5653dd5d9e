"""Pause and resume the tasks of a filter, after a plan that says which ones these are."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from accounts.models import User
from tasks_api.domain.catch_up import CatchUp
from tasks_api.services import bulk_statements as statements
from tasks_api.services import pausing
from tasks_api.services.pausing import Hold
from tasks_api.services.task_selection import (
    Condition,
    SelectedTasks,
    TaskSelection,
    select_tasks,
)


@transaction.atomic
def pause_selected(
    user: User, selection: TaskSelection, *, hold: Hold | None, now: datetime
) -> SelectedTasks:
    """Pause the tasks of a selection that are not paused already as the `hold` says.

    A repeated call passes over what an earlier one has paused. Raises PlanChanged.
    """
    wanted = hold or Hold()
    values = {
        "has_hold": hold is not None,
        "reason": wanted.reason,
        "until": wanted.until,
        "catch_up": wanted.catch_up.value,
    }
    condition = Condition(statements.PAGES_TO_PAUSE, statements.AMONG_TO_PAUSE, values)
    selected = select_tasks(
        selection, condition, now=now, locks=not selection.is_dry_run
    )
    if not selection.is_dry_run:
        note = selection.note(len(selected.tasks))
        pausing.pause_locked(user, selected.tasks, hold, note=note)
    return selected


@transaction.atomic
def resume_selected(
    user: User, selection: TaskSelection, *, catch_up: CatchUp | None, now: datetime
) -> SelectedTasks:
    """Resume the paused tasks of a selection; see pausing.resume_tasks().

    Raises PlanChanged, or InvalidState if the user of one of them is deactivated.
    """
    condition = Condition(statements.PAGES_TO_RESUME, statements.AMONG_TO_RESUME, {})
    selected = select_tasks(
        selection, condition, now=now, locks=not selection.is_dry_run
    )
    if not selection.is_dry_run:
        note = selection.note(len(selected.tasks))
        pausing.resume_chosen(user, selected.tasks, catch_up, note=note)
    return selected
