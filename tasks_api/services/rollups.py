"""Close hours: count the runs and the planned fire times of each hour once.

An hour of a tenant is closed when it is over and all of its fire times have runs. Runs
that are unfinished then are noted as late, and added when they are over. If somebody
creates or resumes a one-time task for a moment in a closed hour, the runs of that hour
are counted again; and if a task makes up for a pause, all of the hours of the pause. Each step is a transaction, so it may be interrupted and repeated.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from psycopg.errors import SerializationFailure

from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.locks import LockKind
from scheduler_service.db.snapshots import snapshot
from scheduler_service.db.statements import fetch_all
from tasks_api.domain import tallies
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.ids import id_range
from tasks_api.domain.tallies import Tally
from tasks_api.services import planned_hours
from tasks_api.services import rollup_statements as statements
from tasks_api.services.planned_hours import Tallies
from tasks_api.services.rollup_statements import RunGroup
from tasks_api.storage.tenant_turns import MAX_TENANTS, take_turn

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)
# An hour stays open for so long after its end: a transaction that makes a run now may
# take some seconds.
MARGIN = timedelta(minutes=2)
# The hours of a tenant that one transaction closes.
MAX_HOURS = 6
# The late runs that one transaction counts, and the old rows that one deletes.
BATCH_SIZE = 5000
# The tenants whose old sums one statement looks for: it reads all of their sums.
MAX_TENANTS_WITH_OLD = 1000
# The new tenants that one statement begins to count for: it looks for the first runs of
# each in every partition of history.
MAX_NEW_TENANTS = 200
# The seconds of a round, after which no other tenant has its turn; and those of them in
# which a round begins to count for new tenants.
ROUND_SECONDS = 30.0
BEGIN_SECONDS = 10.0
# The owner of the sums of a whole tenant.
WHOLE_TENANT = 0

# Waits for so many seconds, and may return something true to end the round.
Pause = Callable[[float], object]
# What is to be done for a tenant; it says whether there may be more.
_Work = tuple[int, Callable[[int], bool]]


class _ReopenedHours(NamedTuple):
    """Closed hours that are to be counted again; none, if `until` is not after `hour`."""

    hour: datetime
    until: datetime


class _OpenHours(NamedTuple):
    closed_until: datetime
    until: datetime


def keep_rollups(*, now: datetime, pause: Pause = time.sleep) -> None:
    """Close the hours that are over, count late runs, and delete old sums."""
    began = time.monotonic()
    ends_at = began + ROUND_SECONDS
    _begin(now, until=began + BEGIN_SECONDS, pause=pause)
    _execute(statements.BEGIN_SEARCH, {"now": now})
    _recount_late_hours(now)
    _delete_old(now)
    for tenant_id, work in _find_work(now):
        has_more = True
        while has_more:
            has_more = _in_isolation(tenant_id, work)
            if time.monotonic() > ends_at or pause(0):
                return


def _find_work(now: datetime) -> Iterator[_Work]:
    """Yield the tenants of a round, each with what is to be done for it.

    The kinds of work take turns, so that much of one does not delay the others.
    """
    late = take_turn(statements.FIND_TENANTS_WITH_LATE_RUNS, {})
    reopened = take_turn(statements.FIND_TENANTS_WITH_REOPENED_HOURS, {})
    values = {"now": now, "margin": MARGIN, "most": MAX_TENANTS}
    to_close = _fetch(statements.FIND_TENANTS_TO_CLOSE, values)
    kinds: list[list[_Work]] = [
        [(tenant_id, count_late_runs) for [tenant_id] in late],
        [(tenant_id, recount_reopened_hours) for [tenant_id] in reopened],
        [(tenant_id, partial(close_hours, now=now)) for [tenant_id] in to_close],
    ]
    for one_of_each in zip_longest(*kinds):
        yield from filter(None, one_of_each)


def _begin(now: datetime, *, until: float, pause: Pause) -> None:
    """Begin to count for new tenants, some at a time; another round goes on there."""
    values = {"now": now, **_retention()}
    new = _find_new_tenants()
    for first in range(0, len(new), MAX_NEW_TENANTS):
        tenants = array(new[first : first + MAX_NEW_TENANTS])
        _execute(statements.BEGIN_ROLLUPS, {**values, "tenants": tenants})
        if time.monotonic() > until or pause(0):
            return


def _find_new_tenants() -> list[int]:
    """Return some tenants whose runs are not counted, in the order of their ids.

    If a round ends early, those with newer ids than all others are found again at once.
    """
    in_turn = take_turn(statements.FIND_TENANTS_TO_BEGIN, {})
    newer = _fetch(statements.FIND_NEWER_TENANTS, {"most": MAX_TENANTS})
    found = {tenant_id for tenant_id, is_new in in_turn if is_new}
    return sorted(found.union(tenant_id for [tenant_id] in newer))


def lag(*, now: datetime) -> float:
    """Return the seconds of the hours that are over and not closed, at least 0.

    Of all tenants the one that is furthest behind counts. An hour with a fire time that
    has no run yet stays open.
    """
    [[seconds]] = _fetch(statements.READ_LAG, {"now": now, "margin": MARGIN})
    return max(0.0, float(seconds))


def _in_isolation(tenant_id: int, work: Callable[[int], bool]) -> bool:
    """Do the work of one tenant; what fails for it stops no other tenant's."""
    try:
        return work(tenant_id)
    except (InterfaceError, OperationalError):
        # The database is away, or gives up: nothing else would work.
        raise
    except Exception:
        text = "The hours of a tenant could not be summed up."
        logger.exception(text, extra={"tenant_id": tenant_id})
        return False


def close_hours(tenant_id: int, *, now: datetime) -> bool:
    """Close the next hours of a tenant; return whether there may be more of them."""
    return _in_snapshot(tenant_id, lambda: _close_hours(tenant_id, now))


def _close_hours(tenant_id: int, now: datetime) -> bool:
    values: dict[str, Any] = {"tenant": tenant_id, "now": now, "margin": MARGIN}
    with connection.cursor() as cursor:
        cursor.execute(statements.FIND_OPEN_HOURS, values)
        [found] = fetch_all(cursor, _OpenHours)
    count = min(MAX_HOURS, (found.until - found.closed_until) // HOUR)
    if count <= 0:
        return False
    hours = Buckets(found.closed_until, HOUR, count)
    _write(tenant_id, _count_hours(tenant_id, hours))
    _execute(statements.ADVANCE_PROGRESS, [hours.end, tenant_id])
    return hours.end < found.until


def _count_hours(tenant_id: int, hours: Buckets) -> Tallies:
    """Return the sums of whole hours: what was planned, and the runs."""
    sums: Tallies = defaultdict(Counter)
    planned_hours.count_planned(tenant_id, _owners_of(tenant_id), hours, sums)
    _count_runs(tenant_id, hours, sums)
    return _with_total(sums)


def recount_reopened_hours(tenant_id: int) -> bool:
    """Count hours of a pause again that a task makes up for; whether there may be more."""
    return _in_snapshot(tenant_id, lambda: _recount_reopened_hours(tenant_id))


def _recount_reopened_hours(tenant_id: int) -> bool:
    values: dict[str, Any] = {"tenant": tenant_id, "most": MAX_HOURS}
    with connection.cursor() as cursor:
        cursor.execute(statements.FIND_REOPENED_HOURS, values)
        found = fetch_all(cursor, _ReopenedHours)
    if not found:
        return False
    [(first, until)] = found
    count = (until - first) // HOUR
    if count > 0:
        hours = Buckets(first, HOUR, count)
        # A user without fire times in an hour has no sums in it any more.
        before = _read(tenant_id, hours=list(hours.starts()))
        fresh: Tallies = defaultdict(Counter, {key: Counter() for key in before})
        for hour in hours.starts():
            _execute(statements.FORGET_LATE_RUNS, {"tenant": tenant_id, "hour": hour})
        fresh.update(_count_hours(tenant_id, hours))
        _write(tenant_id, fresh)
    values = {"tenant": tenant_id, "until": until}
    _execute(statements.ADVANCE_REOPENED_HOURS, values)
    return count > 0


def count_late_runs(tenant_id: int) -> bool:
    """Add the late runs of a tenant that are over; return whether there may be more."""
    return _in_snapshot(tenant_id, lambda: _count_late_runs(tenant_id))


def _count_late_runs(tenant_id: int) -> bool:
    values = {"tenant": tenant_id, "limit": BATCH_SIZE}
    sums: Tallies = defaultdict(Counter)
    size = 0
    for hour, *row in _fetch(statements.COUNT_LATE_RUNS, values):
        group = RunGroup._make(row)
        sums[hour, group.owner_id].update(tally_of(group))
        size += group.size
    added = _with_total(sums)
    stored = _read(tenant_id, hours={hour for hour, _ in added})
    for key, tally in added.items():
        stored[key].update(tally)
    _write(tenant_id, stored)
    return size == BATCH_SIZE


def _recount_late_hours(now: datetime) -> None:
    """Count closed hours again that have runs that were made since."""
    by_tenant: defaultdict[int, list[datetime]] = defaultdict(list)
    for tenant_id, hour in _fetch(statements.FIND_LATE_HOURS, {}):
        by_tenant[tenant_id].append(hour)
    for tenant_id, hours in by_tenant.items():
        if not _in_isolation(tenant_id, partial(recount_hours, hours=hours)):
            # Another round tries again.
            values = {"tenant": tenant_id, "hours": array(hours)}
            _execute(statements.REOPEN_HOURS, values)
    _execute(statements.ADVANCE_SEARCH, {"now": now})


def reopen_late_hours(tenant_id: int) -> None:
    """Have hours of a tenant counted again that another database may not have seen."""
    _execute(statements.REOPEN_LATE_HOURS, {"tenant": tenant_id})


def recount_hours(tenant_id: int, hours: Collection[datetime]) -> bool:
    """Count the runs of closed hours again; False if another process is at work."""
    return _in_snapshot(tenant_id, lambda: _recount_hours(tenant_id, hours))


def _recount_hours(tenant_id: int, hours: Collection[datetime]) -> bool:
    fresh: Tallies = defaultdict(Counter)
    for key, tally in _read(tenant_id, hours=hours).items():
        # The schedules planned the same as before.
        names = (tallies.PLANNED, tallies.COVERED)
        fresh[key].update({name: tally[name] for name in names if tally[name]})
    counted: Tallies = defaultdict(Counter)
    for hour in hours:
        values = {"tenant": tenant_id, "hour": hour}
        _execute(statements.FORGET_LATE_RUNS, values)
        _count_runs(tenant_id, Buckets(hour, HOUR, 1), counted)
    for key, tally in _with_total(counted).items():
        fresh[key].update(tally)
    _write(tenant_id, fresh)
    return True


def move_to_owner(source: User, target: User | None) -> None:
    """Add the sums of a user to those of another one, or take them from the tenant's."""
    assert source.tenant_id is not None
    heir = WHOLE_TENANT if target is None else target.pk
    with transaction.atomic():
        locks.acquire(LockKind.ROLLUPS, source.tenant_id)
        moved = _read(source.tenant_id, owners=[source.pk])
        _execute(statements.DELETE_ROLLUPS_OF_OWNER, [source.tenant_id, source.pk])
        sums = _read(source.tenant_id, owners=[heir])
        for (hour, _), tally in moved.items():
            if target is None:
                sums[hour, heir].subtract(tally)
            else:
                sums[hour, heir].update(tally)
        _write(source.tenant_id, sums)


def tally_of(group: RunGroup) -> Tally:
    """Return what a group of runs adds to the sums of its hour."""
    tally: Tally = Counter({f"{tallies.RUNS}{group.state}": group.size})
    if group.by_hand:
        tally[f"{tallies.MANUAL}{group.state}"] = group.size
    if group.is_one_time:
        tally[tallies.ONE_TIME] = group.size
    if group.late is not None:
        tally[f"{tallies.LATE}{group.late}"] = group.size
    if group.reason:
        tally[tallies.reason_name(group.state, group.reason)] = group.size
    return tally


def _count_runs(tenant_id: int, hours: Buckets, sums: Tallies) -> None:
    first_id, until_id = id_range(hours.start, hours.end)
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "first": hours.start,
        "until": hours.end,
        "first_id": first_id,
        "until_id": until_id,
    }
    for hour, *row in _fetch(statements.CLOSE_HOURS, values):
        group = RunGroup._make(row)
        sums[hour, group.owner_id].update(tally_of(group))


def _with_total(sums: Tallies) -> Tallies:
    """Return the sums of users with those of their tenant."""
    found: Tallies = defaultdict(Counter, sums)
    for (hour, _), tally in sums.items():
        found[hour, WHOLE_TENANT].update(tally)
    return found


def _read(
    tenant_id: int,
    *,
    owners: Collection[int] | None = None,
    hours: Collection[datetime] | None = None,
) -> Tallies:
    values = {
        "tenant": tenant_id,
        "owners": None if owners is None else array(owners),
        "hours": None if hours is None else array(hours),
    }
    found: Tallies = defaultdict(Counter)
    for owner_id, hour, counts in _fetch(statements.READ_ROLLUPS, values):
        found[hour, owner_id] = Counter(json.loads(counts))
    return found


def _write(tenant_id: int, sums: Tallies) -> None:
    rows = [
        (owner_id, hour, json.dumps(+tallies.limit_reasons(tally)))
        for (hour, owner_id), tally in sums.items()
    ]
    if rows:
        _execute(statements.WRITE_ROLLUPS, [tenant_id, *columns(rows)])


def _owners_of(tenant_id: int) -> list[int]:
    users = User.objects.filter(tenant=tenant_id).order_by("pk")
    return list(users.values_list("pk", flat=True))


def _delete_old(now: datetime) -> None:
    values = {"now": now, "limit": BATCH_SIZE, **_retention()}
    take_turn(statements.DELETE_OLD_ROLLUPS, values, most=MAX_TENANTS_WITH_OLD)
    _execute(statements.DELETE_OLD_LATE_RUNS, values)


def _retention() -> dict[str, int]:
    return {"days": settings.SCHEDULER_RETENTION_DAYS}


def _in_snapshot(tenant_id: int, work: Callable[[], bool]) -> bool:
    """Do the work on the sums of a tenant in one transaction, with one view of the rows.

    False if another process is at work on them, which the caller tries again later.
    """
    try:
        with snapshot():
            return locks.try_acquire(LockKind.ROLLUPS, tenant_id) and work()
    except OperationalError as error:
        if isinstance(error.__cause__, SerializationFailure):
            return False
        raise


def _execute(statement: str, values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _fetch(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
