"""What the overview shows: read from the services, with a link for each number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.models import User
from console.charts import Chart
from console.links import runs_url
from console.overview import hours
from console.overview.hours import Figure, HourRow
from tasks_api.domain import tallies
from tasks_api.domain.states import RunState
from tasks_api.services import counts, overview, stats
from tasks_api.services.overview import PausedTask, TaskFailure, WaitingMessages
from tasks_api.services.stats import Stats, TenantAccount

MAX_REASONS = 12
# The tasks of a reason that deliver again, which are shown beside those that fail.
MAX_RECOVERED = 3


@dataclass(frozen=True)
class Reason:
    """Why runs were not delivered, how many, and the tasks of the newest of them."""

    outcome: str
    text: str
    runs: int
    url: str
    failures: list[TaskFailure]


@dataclass(frozen=True)
class AccountSum:
    """The account of the closed hours of the last day, with the runs of each outcome."""

    account: TenantAccount
    figures: list[Figure]
    url: str

    @property
    def explained(self) -> int:
        return self.account.planned + self.account.manual - self.account.balance


@dataclass(frozen=True)
class Overview:
    """The last day of what a user reaches, and what is wrong with it now."""

    task_count: int
    since: datetime
    until: datetime
    figures: list[Figure]
    hours: list[HourRow]
    late_p50_ms: float | None
    late_p99_ms: float | None
    reasons: list[Reason]
    # The tasks of the newest failures whose last outcome was a failure.
    failing_count: int
    has_more_failures: bool
    paused: Sequence[PausedTask]
    has_more_paused: bool
    queues: list[WaitingMessages]
    account: AccountSum

    @property
    def has_runs(self) -> bool:
        return any(figure.count for figure in self.figures)

    @property
    def is_empty(self) -> bool:
        return not (self.task_count or self.has_runs or self.queues)

    @property
    def missed(self) -> Figure:
        return next(each for each in self.figures if each.outcome.name == "missed")

    @property
    def is_well(self) -> bool:
        troubles = (self.failing_count, self.missed.count, len(self.paused))
        return not any(troubles) and not self.account.account.balance

    @property
    def chart(self) -> Chart:
        return hours.draw_hours(self.hours)


def read_overview(user: User, *, now: datetime) -> Overview:
    found = stats.read_stats(user, since=None, until=None)
    failures = overview.list_failures(user, since=found.since)
    paused = overview.list_paused_by_service(user)
    total, until = found.total, hours.end_of(found)
    return Overview(
        task_count=sum(each.total for each in counts.count_tasks(user, now=now)),
        since=found.since,
        until=until,
        figures=hours.figures_of(total, found.since, until),
        hours=hours.rows_of(found),
        late_p50_ms=tallies.late_percentile(total, 0.5),
        late_p99_ms=tallies.late_percentile(total, 0.99),
        reasons=_reasons_of(found, failures, until),
        failing_count=len({each.task_id for each in failures if each.still_fails}),
        has_more_failures=len(failures) == overview.MAX_FAILURES,
        paused=paused,
        has_more_paused=len(paused) == overview.MAX_PAUSED,
        queues=overview.count_waiting_messages(user),
        account=_account_of(found),
    )


def _reasons_of(
    found: Stats, failures: list[TaskFailure], until: datetime
) -> list[Reason]:
    """The reasons of failed and missed runs, the most frequent first."""
    by_reason: defaultdict[tuple[RunState, str], list[TaskFailure]] = defaultdict(list)
    for each in failures:
        by_reason[each.state, each.reason].append(each)
    named = [
        Reason(
            hours.outcome_of(state).name,
            text,
            runs,
            runs_url(found.since, until, [state], text),
            _shown(by_reason[state, text]),
        )
        for state, text, runs in tallies.reasons_of(found.total)
        if state in (RunState.FAILED, RunState.MISSED)
    ]
    return named[:MAX_REASONS]


def _shown(failures: list[TaskFailure]) -> list[TaskFailure]:
    """All tasks that still fail, and some of those that deliver again."""
    failing = [each for each in failures if each.still_fails]
    recovered = [each for each in failures if not each.still_fails]
    return [*failing, *recovered[:MAX_RECOVERED]]


def _account_of(found: Stats) -> AccountSum:
    account = stats.account_of(found)
    since, until = account.since, account.until
    figures = hours.figures_of_runs(account.runs, since, until)
    return AccountSum(account, figures, runs_url(since, until))
