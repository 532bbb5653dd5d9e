"""What a user or a tenant uses: tasks, runs day by day, and messages of the pull queue."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import connection

from accounts.models import TokenBounds, User
from tasks_api.domain import tallies
from tasks_api.domain.states import RunState
from tasks_api.domain.tallies import Tally
from tasks_api.models import Channel, NotificationRule
from tasks_api.services import counts, limits, stats
from tasks_api.services.counts import TaskCount
from tasks_api.services.reconciliation import history_start
from tasks_api.services.request_quotas import RequestQuota
from tasks_api.services.usage_statements import COUNT_MESSAGES
from tasks_api.storage import day_counts, starts

DAYS = 30
DAY = timedelta(days=1)
# The most messages that are counted one by one.
MAX_COUNTED_MESSAGES = 10_000


class DayUsage(NamedTuple):
    """The runs from `since` to before `until`, which is a day or the kept part of it."""

    since: datetime
    until: datetime
    by_state: Counter[RunState]

    @property
    def total(self) -> int:
        return self.by_state.total()


class MessageUsage(NamedTuple):
    """The messages of the pull queue; with `has_more`, at least so many."""

    total: int
    payload_bytes: int
    has_more: bool


@dataclass(frozen=True)
class Usage:
    """The tasks of a user or a tenant, and what the tenant has besides."""

    tasks: list[TaskCount]
    days: list[DayUsage]
    messages: MessageUsage
    channels: int
    rules: int

    @property
    def runs(self) -> int:
        return sum(day.total for day in self.days)


def read_usage(user: User, *, now: datetime) -> Usage:
    """Uses a constant number of statements for any number of tasks and runs."""
    tenant = user.tenant_id
    return Usage(
        counts.count_tasks(user, now=now),
        _read_days(user, now),
        _count_messages(user),
        Channel.objects.filter(tenant=tenant).count(),
        NotificationRule.objects.filter(tenant=tenant).count(),
    )


class QuotaUse(NamedTuple):
    """A quota and what is used of it; None: it is no quota, or it is not counted."""

    name: str
    limit: int | None
    used: int | None = None
    resets_at: datetime | None = None

    @property
    def percent(self) -> int | None:
        """How much is used, rounded down; None if that is not known."""
        if self.limit is None or self.used is None:
            return None
        return 100 * self.used // self.limit if self.limit else 100


def read_tenant_quotas(user: User, *, now: datetime) -> list[QuotaUse]:
    """The quotas of the tenant, without the requests a minute, which Redis counts."""
    quotas = limits.quotas_of_caller(user)
    runs = QuotaUse("runs_per_day", None)
    if quotas.runs_per_day is not None and user.tenant_id is not None:
        used = day_counts.read_runs([user.tenant_id]).runs[user.tenant_id]
        next_day = limits.next_day(now)
        runs = QuotaUse("runs_per_day", quotas.runs_per_day, used, next_day)
    return [
        QuotaUse("tasks", quotas.tasks, limits.count_tasks(user.tenant_id)),
        runs,
        QuotaUse("payload_bytes", quotas.payload_bytes),
    ]


def read_token_quotas(rows: Sequence[TokenBounds]) -> dict[int, list[QuotaUse]]:
    """The quotas of tokens with bounds by the ids of these, in a constant number of statements.

    The runs a day are those of any 24 hours, so they reset when the oldest one is over.
    """
    tasks = limits.count_tasks_of_many(rows)
    limited = [row.pk for row in rows if row.max_runs_per_day is not None]
    used = starts.count_starts(limited) if limited else {}
    released = starts.find_first_releases(limited) if limited else {}
    return {
        row.pk: [
            QuotaUse("tasks", row.max_tasks, tasks[row.pk]),
            QuotaUse(
                "runs_per_day",
                row.max_runs_per_day,
                used.get(row.pk),
                released.get(row.pk),
            ),
            QuotaUse("payload_bytes", row.max_payload_bytes),
        ]
        for row in rows
    }


def use_of_requests(quota: RequestQuota | None) -> QuotaUse:
    name = "requests_per_minute"
    if quota is None:
        return QuotaUse(name, None)
    return QuotaUse(name, quota.limit, quota.used, quota.resets_at)


def _read_days(user: User, now: datetime) -> list[DayUsage]:
    """The last days in UTC, as far as their runs are kept. The last one is today."""
    assert user.tenant is not None
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    # The hour after the one in which runs begin to be kept is kept whole.
    oldest = stats.floor_hour(history_start(user.tenant, now)) + stats.HOUR
    since = max(today - (DAYS - 1) * DAY, oldest)
    found = stats.read_stats(user, since=since, until=None)
    of_day: defaultdict[datetime, Counter[RunState]] = defaultdict(Counter)
    for hour, tally in found.hours:
        of_day[hour.astimezone(UTC).replace(hour=0)].update(_by_state(tally))
    days = [today - n * DAY for n in range(DAYS)][::-1]
    return [
        DayUsage(max(day, since), day + DAY, of_day[day])
        for day in days
        if day + DAY > since
    ]


def _by_state(tally: Tally) -> Counter[RunState]:
    found = Counter(
        {state: tallies.count_of(tally, tallies.RUNS, state) for state in RunState}
    )
    return +found


def _count_messages(user: User) -> MessageUsage:
    values = {"tenant": user.tenant_id, "limit": MAX_COUNTED_MESSAGES + 1}
    with connection.cursor() as cursor:
        cursor.execute(COUNT_MESSAGES, values)
        [count, size] = cursor.fetchone()
    return MessageUsage(
        min(count, MAX_COUNTED_MESSAGES), int(size), count > MAX_COUNTED_MESSAGES
    )
