"""What became of the fire times of a user or a tenant: hour by hour, and the account.

Hours that are closed are read as sums; only the open ones, at most the last two while
housekeeping runs, are counted from their runs.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.snapshots import snapshot
from tasks_api.domain import tallies
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.ids import id_range
from tasks_api.domain.states import UNFINISHED_STATES, RunState
from tasks_api.domain.tallies import Tally
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services import stats_statements as statements
from tasks_api.services.account import OUTCOME_OF_STATE, FireTimeOutcome
from tasks_api.services.reconciliation import history_start
from tasks_api.services.rollup_statements import RunGroup
from tasks_api.services.rollups import WHOLE_TENANT, tally_of

HOUR = timedelta(hours=1)
# The beginning of history moves on between two looks at the clock.
CLOCK_MARGIN = timedelta(minutes=1)
DEFAULT_RANGE = timedelta(days=1)
# The longest time in one answer.
MAX_RANGE = timedelta(days=92)
# The most hours whose balance is not zero that an account names.
MAX_NAMED_HOURS = 100


class HourTally(NamedTuple):
    hour: datetime
    tally: Tally


@dataclass(frozen=True)
class Stats:
    """The sums of each hour with runs from `since` to before `until`, in order.

    The hours before `closed_until` are closed, and have an account.
    """

    since: datetime
    until: datetime
    closed_until: datetime
    hours: list[HourTally]

    @property
    def total(self) -> Tally:
        return _sum(hour.tally for hour in self.hours)


class HourBalance(NamedTuple):
    """An hour in which fire times and outcomes differ, and by how many."""

    hour: datetime
    balance: int


@dataclass(frozen=True)
class TenantAccount:
    """The fire times that all schedules planned in closed hours, and their outcomes."""

    since: datetime
    until: datetime
    planned: int
    outcomes: Counter[FireTimeOutcome]
    # The number of runs that users asked for.
    manual: int
    # The fire times after the first one of each missed run that stands for several.
    covered: int
    # All runs by state, manual ones too.
    runs: Counter[RunState]
    # The first hours in which the two differ.
    differences: list[HourBalance]

    @property
    def balance(self) -> int:
        """Return the planned fire times less those with an outcome."""
        return self.planned - self.outcomes.total()


class HourRange(NamedTuple):
    """Whole hours; the last one may be cut off by the present."""

    since: datetime
    until: datetime


def read_stats(user: User, *, since: datetime | None, until: datetime | None) -> Stats:
    """Return the sums of the hours of a range, which is widened to whole hours.

    Raises InvalidTask that names `from` or `to` if the range is too long or too old.
    """
    return read_hours(user, whole_hours(user, since, until))


def read_hours(user: User, asked: HourRange) -> Stats:
    """Return the sums of a range that `whole_hours` gave."""
    with snapshot():
        closed_until = _closed_until(user, asked)
        found = _read_closed(user, HourRange(asked.since, closed_until))
        if closed_until < asked.until:
            open_hours = HourRange(closed_until, asked.until)
            _add(found, _count(_open_statement(user), user, open_hours))
    return Stats(*asked, closed_until, _in_order(found))


def read_account(
    user: User, *, since: datetime | None, until: datetime | None
) -> TenantAccount:
    """Return the account of all tasks of a user or a tenant in the closed hours of a range.

    `until` of the answer is the end of the last closed hour, if that is earlier.
    """
    asked = whole_hours(user, since, until)
    with snapshot():
        closed = HourRange(asked.since, _closed_until(user, asked))
        hours = _in_order(_read_closed(user, closed))
    return _account_of(closed, hours)


def account_of(stats: Stats) -> TenantAccount:
    """Return the account of the closed hours of stats, without reading anything."""
    closed = HourRange(stats.since, stats.closed_until)
    return _account_of(
        closed, [each for each in stats.hours if each.hour < closed.until]
    )


def _account_of(closed: HourRange, hours: list[HourTally]) -> TenantAccount:
    total = _sum(hour.tally for hour in hours)
    balances = [
        HourBalance(hour, _planned(tally) - _outcomes(tally).total())
        for hour, tally in hours
    ]
    return TenantAccount(
        *closed,
        planned=_planned(total),
        outcomes=_outcomes(total),
        manual=sum(
            tallies.count_of(total, tallies.MANUAL, state) for state in RunState
        ),
        covered=total[tallies.COVERED],
        runs=runs_by_state(total),
        differences=[each for each in balances if each.balance][:MAX_NAMED_HOURS],
    )


def kept_since(user: User, now: datetime) -> datetime:
    """Return the first whole hour of which all runs are kept."""
    assert user.tenant is not None
    return floor_hour(history_start(user.tenant, now)) + HOUR


def runs_by_state(tally: Tally) -> Counter[RunState]:
    return Counter(
        {state: tallies.count_of(tally, tallies.RUNS, state) for state in RunState}
    )


def _planned(tally: Tally) -> int:
    return tally[tallies.PLANNED] + tally[tallies.ONE_TIME]


def _outcomes(tally: Tally) -> Counter[FireTimeOutcome]:
    """Return the outcomes of planned fire times; manual runs are not among them."""
    found = Counter({FireTimeOutcome.MISSED: tally[tallies.COVERED]})
    for state in RunState:
        outcome = OUTCOME_OF_STATE.get(state, FireTimeOutcome.UNDER_WAY)
        found[outcome] += tallies.count_of(tally, tallies.RUNS, state)
        found[outcome] -= tallies.count_of(tally, tallies.MANUAL, state)
    return found


def count_unfinished(tally: Tally) -> int:
    return sum(
        tallies.count_of(tally, tallies.RUNS, state) for state in UNFINISHED_STATES
    )


def whole_hours(
    user: User, since: datetime | None, until: datetime | None
) -> HourRange:
    """Return a range widened to whole hours, by default those of a day until now.

    Raises InvalidTask that names `from` or `to` if the range is too long or too old.
    """
    now = clock.read()
    assert user.tenant is not None
    oldest = history_start(user.tenant, now)
    until = min(until or now, now)
    for name, moment in (("to", until), ("from", since or until)):
        if moment < oldest:
            text = (
                f"{name} is before {format_timestamp(oldest)}; older runs are not kept"
            )
            raise InvalidTask(name, text)
    since = floor_hour(since or max(until - DEFAULT_RANGE, oldest))
    if until - since > MAX_RANGE + HOUR:
        text = f"from should be at most {MAX_RANGE.days} days before to"
        raise InvalidTask("from", text)
    is_whole = until == floor_hour(until)
    end = until if is_whole else min(floor_hour(until) + HOUR, now)
    return HourRange(since, max(since, end))


def clamp_to_history(user: User, since: datetime) -> datetime:
    """Return the moment, or the first one of which runs are kept if that is later."""
    assert user.tenant is not None
    return max(since, history_start(user.tenant, clock.read()) + CLOCK_MARGIN)


def floor_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _closed_until(user: User, asked: HourRange) -> datetime:
    """Return the end of the closed hours of a range, or its beginning."""
    rows = _fetch(statements.READ_PROGRESS, {"tenant": user.tenant_id})
    closed = rows[0][0] if rows else asked.since
    return max(asked.since, min(closed, floor_hour(asked.until)))


def _read_closed(user: User, closed: HourRange) -> dict[datetime, Tally]:
    found: dict[datetime, Tally] = {
        hour: Counter(json.loads(counts))
        for hour, counts in _fetch(statements.READ_CLOSED_HOURS, _values(user, closed))
    }
    _add(found, _count(statements.COUNT_LATE, user, closed))
    return found


def _count(statement: str, user: User, counted: HourRange) -> dict[datetime, Tally]:
    found: defaultdict[datetime, Tally] = defaultdict(Counter)
    for hour, *row in _fetch(statement, _values(user, counted)):
        found[hour].update(tally_of(RunGroup._make(row)))
    return found


def _open_statement(user: User) -> str:
    if user.reaches_tenant:
        return statements.COUNT_OPEN_HOURS
    return statements.COUNT_OPEN_HOURS_OF_OWNER


def _add(found: dict[datetime, Tally], more: Mapping[datetime, Tally]) -> None:
    for hour, tally in more.items():
        found.setdefault(hour, Counter()).update(tally)


def _in_order(found: Mapping[datetime, Tally]) -> list[HourTally]:
    return [HourTally(hour, found[hour]) for hour in sorted(found)]


def _sum(parts: Iterable[Tally]) -> Tally:
    total: Tally = Counter()
    for tally in parts:
        total.update(tally)
    return total


def _values(user: User, counted: HourRange) -> dict[str, Any]:
    of_all = user.reaches_tenant
    first_id, until_id = id_range(counted.since, counted.until)
    return {
        "tenant": user.tenant_id,
        "owner": None if of_all else user.pk,
        "sums_of": WHOLE_TENANT if of_all else user.pk,
        "since": counted.since,
        "until": counted.until,
        "first_id": first_id,
        "until_id": until_id,
    }


def _fetch(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
