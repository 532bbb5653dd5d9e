"""The tasks of a filter that one call changes: find them for a plan, or lock them.

A call changes at most MAX_TASKS tasks in one transaction, the oldest ones first, and says
if there are more. So a batch is whole or not done at all, and a call may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts import audit
from accounts.models import User
from accounts.services import name_in_audit
from scheduler_service.db.arrays import array
from tasks_api.domain.exceptions import PlanChanged
from tasks_api.models import Task
from tasks_api.services import listing
from tasks_api.services.finding import lock_ids, read_tasks
from tasks_api.services.fingerprints import fingerprint_of
from tasks_api.services.listing import MIN_ID, TaskFilters, TaskScope
from tasks_api.services.listing_statements import PageStatements

MAX_TASKS = 10_000
# The rows that one statement examines.
ROWS_EXAMINED = 50_000


class Condition(NamedTuple):
    """A condition beside the filters of a client, and the values of its parameters."""

    pages: PageStatements
    among: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TaskSelection:
    """A request to change the tasks of a filter, as its client sent it.

    `digest` is equal for requests that say the same. `described` is the filter for the
    audit log, without the name of the user whose tasks are meant. `expected` is the fingerprint of the plan that the client has seen.
    """

    scope: TaskScope
    filters: TaskFilters
    digest: str
    described: Mapping[str, Any] = field(default_factory=dict)
    owner: User | None = None
    # At most so many of them, and MAX_TASKS.
    limit: int | None = None
    expected: str | None = None
    is_dry_run: bool = False

    def note(self, count: int) -> audit.Changes:
        """Return what the audit entry says about the choice of its tasks."""
        note: dict[str, tuple[Any, Any]] = {
            "filter": (None, dict(self.described)),
            "count": (None, count),
        }
        if self.owner is not None:
            # Where the deletion of a user finds the name.
            note["user"] = (None, name_in_audit(self.owner))
        return note


class SelectedTasks(NamedTuple):
    """The oldest tasks of a selection, with schedules and owners; `has_more` tells of others."""

    tasks: list[Task]
    has_more: bool
    fingerprint: str


def select_tasks(
    selection: TaskSelection, condition: Condition, *, now: datetime, locks: bool
) -> SelectedTasks:
    """Find the tasks of a selection, and lock them for the transaction.

    Raises PlanChanged if the client has seen another plan.
    """
    ids = _find_ids(selection, condition, now)
    most = selection.limit or MAX_TASKS
    has_more, ids = len(ids) > most, ids[:most]
    if locks:
        ids = _lock(selection, condition, ids, now)
    tasks = read_tasks(ids)
    fingerprint = fingerprint_of(f"{selection.digest} {has_more}", tasks)
    is_other = selection.expected not in (None, fingerprint)
    if is_other and not selection.is_dry_run:
        raise PlanChanged("The plan is another one now; look at it again")
    return SelectedTasks(tasks, has_more, fingerprint)


def _find_ids(
    selection: TaskSelection, condition: Condition, now: datetime
) -> list[UUID]:
    """Return the ids of the oldest tasks, up to one more than the call changes."""
    most = (selection.limit or MAX_TASKS) + 1
    scope, filters = selection.scope, selection.filters
    statement = listing.choose_statements(condition.pages, scope, filters)
    values = {
        **listing.values_of(scope, filters, now),
        **condition.values,
        "rows_examined": ROWS_EXAMINED,
    }
    found: list[UUID] = []
    after: UUID | None = MIN_ID
    while after is not None and len(found) < most:
        page = {**values, "after": after, "limit": most - len(found)}
        ids, after = listing.find_page(statement, page)
        found += ids
    return found


def _lock(
    selection: TaskSelection, condition: Condition, ids: Sequence[UUID], now: datetime
) -> list[UUID]:
    """Lock tasks, and return those that the filter still finds."""
    locked = lock_ids(Task.objects.filter(pk__in=ids, ended_at=None))
    values = {
        **listing.values_of(selection.scope, selection.filters, now),
        **condition.values,
        "ids": array(locked),
    }
    with connection.cursor() as cursor:
        cursor.execute(condition.among, values)
        return [task_id for (task_id,) in cursor.fetchall()]
