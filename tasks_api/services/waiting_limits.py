"""How many runs may wait for a quota or for the bounds of a token."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from datetime import datetime, timedelta

from accounts.services import quotas, token_bounds
from scheduler_service.db.statements import prepared
from tasks_api.domain.exceptions import QuotaExceeded
from tasks_api.models import Task
from tasks_api.services import limits
from tasks_api.storage import day_counts, starts
from tasks_api.storage import quota_statements as statements

# Runs that wait for the next day of a tenant's quota; what is beyond is missed.
MAX_WAITING_OF_TENANT = 5000
# When it may be worth another try to run a task by hand.
PAUSE = timedelta(minutes=1)


def places_of_bounds(ids: Set[int]) -> dict[int, int]:
    """How many more runs some bounds bear: those that may start now, and a day's that wait.

    Bounds without runs a day are left out.
    """
    known = token_bounds.load_bounds(ids)
    used = starts.count_starts(known)
    places = {}
    for bounds_id in ids & known.keys():
        allowed = {
            each: most
            for each in known[bounds_id].all_ids
            if (most := known[each].max_runs_per_day) is not None
        }
        if allowed:
            may_wait = min(allowed.values())
            may_start = min(max(0, most - used[each]) for each, most in allowed.items())
            places[bounds_id] = may_start + may_wait - _count(bounds_id, may_wait)
    return places


def _count(bounds_id: int, limit: int) -> int:
    with prepared() as cursor:
        values = {"bounds": bounds_id, "limit": limit}
        cursor.execute(statements.COUNT_WAITING, values)
        return int(cursor.fetchone()[0])


def places_of_tenant(tenant_id: int) -> int:
    """How many more runs of a tenant may wait for the next day."""
    with prepared() as cursor:
        values = {"tenant": tenant_id, "limit": MAX_WAITING_OF_TENANT}
        cursor.execute(statements.COUNT_WAITING_OF_TENANT, values)
        return MAX_WAITING_OF_TENANT - int(cursor.fetchone()[0])


def with_places(tasks: Iterable[Task]) -> list[Task]:
    """The tasks for whose bounds one more run may wait."""
    found = list(tasks)
    ids = {task.bounds_id for task in found if task.bounds_id is not None}
    places = places_of_bounds(ids) if ids else {}
    # A task without such bounds has a place.
    return [task for task in found if places.get(task.bounds_id or 0, 1) > 0]


def require_places(tasks: Collection[Task], *, now: datetime) -> None:
    """Raise QuotaExceeded if too many runs wait for the bounds of one of these tasks."""
    if len(with_places(tasks)) < len(tasks):
        raise QuotaExceeded(
            "runs_per_day",
            "As many runs of the token wait as it may have in a day",
            until=now + PAUSE,
        )


def require_room(task: Task, runs: int, *, now: datetime) -> None:
    """Raise QuotaExceeded if so many runs of a task are more than may start or wait.

    The quota of its tenant counts as well as the bounds of its token.
    """
    if task.bounds_id is not None:
        places = places_of_bounds({task.bounds_id})
        if runs > (left := max(0, places.get(task.bounds_id, runs))):
            raise _too_many(runs, left, "token", until=now + PAUSE)
    quota = quotas.quotas_of(task.tenant).runs_per_day
    if quota is not None:
        used = day_counts.read_runs([task.tenant_id]).runs[task.tenant_id]
        left = max(0, quota - used) + max(0, places_of_tenant(task.tenant_id))
        if runs > left:
            raise _too_many(runs, left, "tenant", until=limits.next_day(now))


def _too_many(runs: int, left: int, whose: str, *, until: datetime) -> QuotaExceeded:
    text = (
        f"These are {runs} runs, and {left} more of the {whose} may start or wait today"
    )
    return QuotaExceeded("runs_per_day", text, until=until)
