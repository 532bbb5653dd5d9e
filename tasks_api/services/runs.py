"""The history of runs for a user: newest first, in pages, quick among millions."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import fetch_all, with_limit
from tasks_api.domain.backfills import MAX_DURATION
from tasks_api.domain.exceptions import RunNotFound, TaskNotFound
from tasks_api.domain.ids import EPOCH, id_range
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import (
    FINAL_STATES,
    UNDELIVERED_STATES,
    UNFINISHED_STATES,
    RunState,
)
from tasks_api.models import Attempt, Run, Task
from tasks_api.services.run_statements import (
    LIST_RUNS,
    LIST_RUNS_OF_TASKS,
    SEARCH_RUNS,
)

# For a user with at most so many tasks, the runs are found task by task: the statement
# need not read past millions of runs of other users of the tenant.
MAX_TASKS_LOOKED_UP = 500
# The most runs that one page of a search examines.
MAX_RUNS_EXAMINED = 20_000
# A list is looked for in these days first, and up to so long from now.
LAST_DAYS = timedelta(days=2)
# Backfills are made ahead.
AHEAD = MAX_DURATION + timedelta(hours=1)
# How much earlier the first run of a backfill may be than its id: they are drawn apart.
MILLISECONDS_BEFORE = 60_000


class RunCursor(NamedTuple):
    """The last run of a page; the next page has older runs."""

    scheduled_for: datetime
    run_id: UUID

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote. Raises ValueError."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            since_epoch = timedelta(microseconds=int.from_bytes(raw[:8], signed=True))
            return cls(EPOCH + since_epoch, UUID(bytes=raw[8:]))
        except OverflowError as error:
            raise ValueError("It is no moment.") from error

    def to_text(self) -> str:
        micros = (self.scheduled_for - EPOCH) // timedelta(microseconds=1)
        raw = micros.to_bytes(8, signed=True) + self.run_id.bytes
        return base64.urlsafe_b64encode(raw).decode()


@dataclass(frozen=True)
class RunFilter:
    """The filters of a list of runs; None and empty let all runs through.

    Runs of notices are listed only with `notices`, or by their task. A filter by reason
    or code finds runs that were not delivered, unless it names states.
    """

    task_id: UUID | None = None
    states: Collection[RunState] = ()
    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    after: RunCursor | None = None
    notices: bool = False
    # The reason as the sums of hours name it.
    reason: str | None = None
    # The status with which the last attempt failed.
    code: int | None = None
    # A part of the task's name, in lower case.
    name: str | None = None
    backfill_id: UUID | None = None
    # The name of the lane in which the runs wait, or in which they started.
    lane: str | None = None

    @property
    def is_searched(self) -> bool:
        """Whether no index finds the runs of the filter."""
        is_of_past_lane = self.lane is not None and not self.all_unfinished
        return self.has_reason or self.backfill_id is not None or is_of_past_lane

    @property
    def has_reason(self) -> bool:
        return self.reason is not None or self.code is not None

    @property
    def wanted_states(self) -> frozenset[RunState]:
        if self.has_reason and not self.states:
            return UNDELIVERED_STATES
        return frozenset(self.states)

    @property
    def before(self) -> datetime | None:
        """The fire time that no run of the filter is after."""
        bounds = [self.until, self.after and self.after.scheduled_for]
        return min((each for each in bounds if each is not None), default=None)

    @property
    def all_not_delivered(self) -> bool:
        """Whether the index of undelivered runs covers the states."""
        return bool(self.wanted_states) and self.wanted_states <= UNDELIVERED_STATES

    @property
    def all_unfinished(self) -> bool:
        """Whether the index of unfinished runs covers the states."""
        return bool(self.wanted_states) and not self.wanted_states & FINAL_STATES


class RunSummary(NamedTuple):
    """A run, its task, and the status and duration of its last attempt, if it had one."""

    run: Run
    task: Task
    last_status: int | None
    last_duration_ms: int | None

    @property
    def task_title(self) -> str:
        return self.task.name or str(self.task)

    @property
    def last_duration(self) -> timedelta | None:
        if self.last_duration_ms is None:
            return None
        return timedelta(milliseconds=self.last_duration_ms)

    @property
    def may_be_redriven(self) -> bool:
        return self.run.state in UNDELIVERED_STATES

    @property
    def may_be_cancelled(self) -> bool:
        return self.run.state in UNFINISHED_STATES and not self.run.cancelled_by


class RunPage(NamedTuple):
    """Runs of a list, and the cursor of the next page if there may be one.

    A page of a search may be shorter than its limit, and not be the last one.
    """

    rows: list[RunSummary]
    after: RunCursor | None


class FoundRuns(NamedTuple):
    """The runs of a page, without what `describe_runs` reads."""

    runs: list[Run]
    after: RunCursor | None

    @property
    def version(self) -> str:
        """A text that changes when the page does."""
        return repr(
            [
                (run.pk, run.state, run.reason, run.attempt_count, run.wake_at)
                for run in self.runs
            ]
        )


class _FoundIds(NamedTuple):
    ids: list[UUID]
    has_more: bool
    # The last run that a search examined, if it found too few.
    last_examined: RunCursor | None = None


class _FoundRun(NamedTuple):
    id: UUID
    scheduled_for: datetime
    # False for the last run that was examined.
    is_found: bool


def list_runs(owner: User, wanted: RunFilter, *, limit: int) -> RunPage:
    """Return the newest runs of a user's tasks, living or ended.

    Runs that a beat of the release before made before their fire times are not listed
    until then, because they may be deleted. Raises TaskNotFound if the user does not reach the task of the filter.
    """
    return describe_runs(find_runs(owner, wanted, limit=limit))


def find_runs(owner: User, wanted: RunFilter, *, limit: int) -> FoundRuns:
    """Return the runs of a page, in two statements for most users."""
    found = _find_page(owner, wanted, limit)
    stored = Run.objects.filter(pk__in=found.ids).in_bulk()
    runs = [stored[run_id] for run_id in found.ids if run_id in stored]
    if not found.has_more or not runs:
        return FoundRuns(runs, found.last_examined)
    return FoundRuns(runs, RunCursor(runs[-1].scheduled_for, runs[-1].pk))


def describe_runs(found: FoundRuns) -> RunPage:
    """Return the runs with their tasks and last attempts."""
    ids = [run.pk for run in found.runs]
    shown = ("name", "surface", "method", "url", "queue")
    tasks = Task.objects.only(*shown).in_bulk({run.task_id for run in found.runs})
    last = Attempt.objects.filter(run__in=ids).order_by("run", "-number")
    columns = ("run", "status_code", "duration_ms")
    attempts = {pk: rest for pk, *rest in last.distinct("run").values_list(*columns)}
    rows = [
        RunSummary(run, tasks[run.task_id], *attempts.get(run.pk, (None, None)))
        for run in found.runs
        if run.task_id in tasks
    ]
    return RunPage(rows, found.after)


def get_run(owner: User, run_id: UUID) -> tuple[Run, list[Attempt]]:
    """Return a run with its task, and its attempts in order. Raises RunNotFound."""
    run = find_run(owner, run_id)
    return run, list(run.attempts.order_by("number"))


def find_run(owner: User, run_id: UUID) -> Run:
    """Return a run with its task and tenant. Raises RunNotFound."""
    if not _select(LIST_RUNS, 1, _values(owner, RunFilter()) | {"run": run_id}):
        raise RunNotFound("Run not found")
    rows = Run.objects if owner.bounds is None else Run.objects.visible_to(owner)
    found = rows.select_related("task__tenant").filter(pk=run_id).first()
    if found is None:
        raise RunNotFound("Run not found")
    return found


def _find_page(owner: User, wanted: RunFilter, limit: int) -> _FoundIds:
    own = Task.objects.visible_to(owner)
    if wanted.task_id is not None and not own.filter(pk=wanted.task_id).exists():
        raise TaskNotFound("Task not found")
    if wanted.is_searched:
        return _search(owner, wanted, limit)
    tasks = _tasks_to_look_up(owner, wanted)
    if wanted.name and tasks is None:
        return _search(owner, wanted, limit)
    ids = _find(owner, wanted, tasks, limit + 1)
    return _FoundIds(ids[:limit], len(ids) > limit)


def _search(owner: User, wanted: RunFilter, limit: int) -> _FoundIds:
    statement = SEARCH_RUNS.replace("{rows_examined}", f"{MAX_RUNS_EXAMINED:d}")
    with connection.cursor() as cursor:
        cursor.execute(with_limit(statement, limit + 1), _values(owner, wanted))
        rows = fetch_all(cursor, _FoundRun)
    ids = [row.id for row in rows if row.is_found]
    if len(ids) > limit:
        return _FoundIds(ids[:limit], has_more=True)
    examined = [
        RunCursor(row.scheduled_for, row.id) for row in rows if not row.is_found
    ]
    return _FoundIds(ids, False, examined[0] if examined else None)


def _find(
    owner: User, wanted: RunFilter, tasks: Sequence[UUID] | None, limit: int
) -> list[UUID]:
    statement, values = LIST_RUNS, _values(owner, wanted)
    if tasks is not None:
        statement, values = LIST_RUNS_OF_TASKS, values | {"tasks": array(tasks)}
    elif wanted.task_id is None:
        values |= {"spares_notices": True}
    # Most pages are filled by few days. To plan for all of them takes some milliseconds.
    now = clock.now()
    found = _select(statement, limit, values | _last_days(wanted, now))
    return found if len(found) >= limit else _select(statement, limit, values)


def _last_days(wanted: RunFilter, now: datetime) -> dict[str, UUID | None]:
    """Return bounds of ids that let only the newest runs of a filter through."""
    until = max(min(wanted.before or now + AHEAD, now + AHEAD), EPOCH + LAST_DAYS)
    first = min(until, now) - LAST_DAYS
    since = max(wanted.since or first, first)
    return _id_bounds(since, until)


def _id_bounds(
    since: datetime | None, until: datetime | None
) -> dict[str, UUID | None]:
    first_id, until_id = id_range(since, until)
    return {"first_id": first_id, "until_id": until_id}


def _select(statement: str, limit: int, values: dict[str, Any]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(with_limit(statement, limit), values)
        return [run_id for (run_id,) in cursor.fetchall()]


def _values(owner: User, wanted: RunFilter) -> dict[str, Any]:
    after = wanted.after
    return {
        "owner": owner.pk,
        "reaches_all": owner.reaches_tenant,
        "tenant": owner.tenant_id,
        "run": None,
        "task": wanted.task_id,
        "states": array(sorted(wanted.wanted_states)) if wanted.wanted_states else None,
        "all_not_delivered": wanted.all_not_delivered,
        "all_unfinished": wanted.all_unfinished,
        "since": wanted.since,
        "until": wanted.until,
        "after": after and after.scheduled_for,
        "after_id": after and after.run_id,
        **_id_bounds(wanted.since, wanted.before),
        "spares_notices": False,
        "notices": wanted.notices,
        "reason": wanted.reason,
        "code": wanted.code and str(wanted.code),
        "name": wanted.name,
        "backfill": wanted.backfill_id,
        "lane": wanted.lane,
        **_id_bound_of(wanted.backfill_id),
    }


def _id_bound_of(backfill_id: UUID | None) -> dict[str, UUID | None]:
    return {"first_id": first_id_of_backfill(backfill_id)} if backfill_id else {}


def first_id_of_backfill(backfill_id: UUID) -> UUID:
    """Return a bound of the ids of the runs of a backfill, which are made after its id."""
    milliseconds = max((backfill_id.int >> 80) - MILLISECONDS_BEFORE, 0)
    return UUID(int=milliseconds << 80)


def _tasks_to_look_up(owner: User, wanted: RunFilter) -> Sequence[UUID] | None:
    """Return the tasks if their runs are found quicker task by task, else None."""
    if wanted.task_id is not None:
        return None
    if wanted.notices:
        # Notices are few, each with a single run, among millions of other runs.
        notices = Task.objects.visible_to(owner).for_surface(Surface.NOTICES)
        return list(notices.values_list("pk", flat=True))
    is_quick = wanted.all_not_delivered or wanted.all_unfinished
    if owner.reaches_tenant or (is_quick and not wanted.name):
        return None
    own = Task.objects.for_owner(owner).exclude(surface=Surface.NOTICES)
    rows = list(own.values_list("pk", "name")[: MAX_TASKS_LOOKED_UP + 1])
    if len(rows) > MAX_TASKS_LOOKED_UP:
        return None
    part = wanted.name or ""
    return [task_id for task_id, name in rows if part in name.lower()]
