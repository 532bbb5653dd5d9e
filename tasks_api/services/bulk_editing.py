"""Change the tasks of a filter: the edge reads what each is to be, and the core writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from accounts import audit
from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Task
from tasks_api.services import bulk_statements as statements
from tasks_api.services import tasks
from tasks_api.services.task_selection import (
    MAX_TASKS,
    Condition,
    SelectedTasks,
    TaskSelection,
    select_tasks,
)


def lock_selected(selection: TaskSelection, *, now: datetime) -> SelectedTasks:
    """Lock the tasks of a selection until the transaction ends, also for a dry run.

    Raises PlanChanged, or InvalidTask if they are more than MAX_TASKS.
    """
    condition = Condition(statements.PAGES_TO_CHANGE, statements.AMONG_TO_CHANGE, {})
    selected = select_tasks(selection, condition, now=now, locks=True)
    if selected.has_more:
        raise InvalidTask(
            "filter", f"The filter finds more than {MAX_TASKS} tasks; narrow it"
        )
    return selected


def rewrite_selected(
    user: User,
    selection: TaskSelection,
    wanted: Sequence[tuple[Task, TaskSpec]],
    *,
    now: datetime,
) -> list[Task]:
    """Change locked tasks to their specs, all of them or none; return those that differed.

    The caller's transaction is rolled back after a dry run. So a plan cannot differ from
    its application.
    """
    changed = tasks.rewrite_tasks(user, wanted, now=now)
    note = selection.note(len(changed))
    ids = [task.pk for task in changed]
    audit.record(user.tenant_id, "task.change", ids, note)
    return changed
