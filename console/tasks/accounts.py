"""The account of a task on its page: what its schedule planned, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.schedules import Once, grid_of, least_interval
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services.account import Account, FireTimeOutcome
from tasks_api.services.reconciliation import history_start, reconcile
from tasks_api.services.stats import floor_hour
from tasks_api.services.task_details import TaskSummary

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Figure(NamedTuple):
    """How many runs ended alike, with the class of that end and a link to them."""

    runs: int
    word: str
    css_class: str
    url: str


@dataclass(frozen=True)
class ShownAccount:
    """An account with its figures, or the reason why there is none."""

    refusal: str = ""
    account: Account | None = None
    figures: tuple[Figure, ...] = ()
    # The list of all its runs.
    url: str = ""

    @property
    def total(self) -> int:
        return self.account.planned + self.account.manual if self.account else 0


# The states of runs that have an outcome, in the filter of the list of runs.
LOOKS = {
    FireTimeOutcome.DELIVERED: ("delivered", "succeeded"),
    FireTimeOutcome.FAILED: ("failed", "failed"),
    FireTimeOutcome.MISSED: ("missed", "missed"),
    FireTimeOutcome.SKIPPED: ("left-out", "skipped"),
    FireTimeOutcome.CANCELLED: ("left-out", "cancelled"),
    FireTimeOutcome.UNDER_WAY: ("waiting", "waiting"),
}


def show_account(user: User, task: TaskSummary, now: datetime) -> ShownAccount:
    """Return the account of a task for the last day, or for less if it fires often."""
    assert user.tenant is not None
    since = max(_since(task, now), floor_hour(history_start(user.tenant, now)) + HOUR)
    try:
        found = reconcile(user, task.id, since=since, until=None)
    except InvalidTask as refusal:
        return ShownAccount(f"{refusal}.")
    return ShownAccount(
        account=found,
        figures=tuple(_figures(task, found)),
        url=_runs_url(task, found),
    )


def _since(task: TaskSummary, now: datetime) -> datetime:
    """Return an hour since which at most some thousands of fire times have passed.

    The list of runs, to which the figures lead, begins with a whole hour, too.
    """
    schedule = None if task.schedule is None else grid_of(task.schedule)
    match schedule:
        case Once(at=at):
            return floor_hour(min(at, now))
        case schedule if schedule is not None and least_interval(schedule) < 60:
            return floor_hour(now)
    return floor_hour(now) - DAY


def _figures(task: TaskSummary, account: Account) -> Iterator[Figure]:
    for outcome, (css_class, state) in LOOKS.items():
        count = account.outcomes[outcome] + account.manual_outcomes[outcome]
        if count:
            word, url = outcome.value.replace("_", " "), _runs_url(task, account)
            yield Figure(count, word, css_class, f"{url}&state={state}")


def _runs_url(task: TaskSummary, account: Account) -> str:
    query = urlencode({"task": task.id, "from": format_timestamp(account.since)})
    return f"/app/runs/?{query}"
