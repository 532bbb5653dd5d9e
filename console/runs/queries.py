"""What the URL of the list of runs asks for, and what the list shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from accounts.models import User
from console.pages import MemberRequest
from console.runs.forms import GROUPS, SPANS, RunFilterForm
from scheduler_service.db import clock
from tasks_api.domain import tallies
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.states import UNDELIVERED_STATES, UNFINISHED_STATES, RunState
from tasks_api.domain.tallies import Tally
from tasks_api.services import runs, stats
from tasks_api.services.run_selection import RunSelection
from tasks_api.services.runs import FoundRuns, RunCursor, RunFilter

PAGE_SIZE = 50
# Reasons that are shown before the others.
FIRST_REASONS = 6


class Figure(NamedTuple):
    """The number of runs in a group of states."""

    group: str
    css_class: str
    shape: str
    title: str
    total: int


FIGURES = (
    ("delivered", "delivered", "●", "delivered"),
    ("failed", "failed", "✕", "failed"),
    ("missed", "missed", "▲", "missed"),
    ("left-out", "left-out", "○", "left out"),
    ("waiting", "waiting", "◌", "waiting or under way"),
)


@dataclass(frozen=True)
class RunQuery:
    user: User
    form: RunFilterForm
    wanted: RunFilter
    # The whole hours whose runs are counted; None if the list is of all times.
    hours: stats.HourRange | None

    @property
    def is_live(self) -> bool:
        """Whether the page polls: new runs may come into it, and it is no search."""
        wanted = self.wanted
        is_search = wanted.is_searched or wanted.name
        is_open = wanted.after is None and wanted.until is None
        return is_open and not is_search and self.form.is_valid()

    @property
    def has_counts(self) -> bool:
        wanted = self.wanted
        is_of_all = not (
            wanted.task_id or wanted.name or wanted.lane or wanted.backfill_id
        )
        return self.hours is not None and is_of_all

    @property
    def may_redrive(self) -> bool:
        states = self.wanted.wanted_states
        return not states or bool(states & UNDELIVERED_STATES)

    @property
    def may_choose_all(self) -> bool:
        """Whether redriving and cancelling know the filter: they do not tell lanes apart."""
        return not self.wanted.lane

    @property
    def may_cancel(self) -> bool:
        """Whether a run of the page, or the filter, is about what is not over."""
        if self.wanted.wanted_states:
            return bool(self.wanted.wanted_states & UNFINISHED_STATES)
        return any(run.state in UNFINISHED_STATES for run in self.found.runs)

    @property
    def may_choose(self) -> bool:
        return self.may_redrive or self.may_cancel

    @cached_property
    def found(self) -> FoundRuns:
        if not self.form.is_valid():
            return FoundRuns([], None)
        return runs.find_runs(self.user, self.wanted, limit=PAGE_SIZE)

    def select(
        self, states: frozenset[RunState], run_ids: list[UUID] | None
    ) -> RunSelection:
        """The chosen runs in some states; with None, all that the list finds."""
        wanted = self.wanted
        if run_ids is not None or wanted.lane:
            return RunSelection(states, run_ids=run_ids or [])
        return RunSelection(
            (wanted.wanted_states or states) & states,
            wanted.task_id,
            wanted.since,
            wanted.until,
            wanted.reason,
            wanted.code,
            wanted.name,
            backfill_id=wanted.backfill_id,
        )

    def context(self) -> dict[str, Any]:
        context: dict[str, Any] = {"query": self, "form": self.form}
        if self.form.is_valid():
            page = runs.describe_runs(self.found)
            after = page.after and page.after.to_text()
            context |= {"rows": page.rows, "after": after}
            context |= self._counts() if self.has_counts else {}
        return context

    def _counts(self) -> dict[str, Any]:
        assert self.hours is not None
        found = stats.read_hours(self.user, self.hours)
        total = found.total
        reasons = list(tallies.reasons_of(total))
        return {
            "figures": list(_figures(total)),
            "reasons": reasons[:FIRST_REASONS],
            "more_reasons": reasons[FIRST_REASONS:],
            "codes": sorted(tallies.codes_of(total).items()),
            "other_reasons": tallies.OTHER_REASONS,
            "stats": found,
        }


def _figures(total: Tally) -> list[Figure]:
    return [
        Figure(
            *figure,
            sum(
                tallies.count_of(total, tallies.RUNS, state) for state in GROUPS[group]
            ),
        )
        for figure in FIGURES
        for group in [figure[0]]
    ]


def read_query(request: MemberRequest) -> RunQuery:
    form = RunFilterForm(request.GET)
    hours = _read_hours(request.user, form) if form.is_valid() else None
    given = form.cleaned_data if form.is_valid() else {}
    wanted = RunFilter(
        given.get("task"),
        given.get("state", ()),
        hours and hours.since,
        hours.until if hours and given.get("to") else None,
        _read_cursor(request.GET.get("after", "")),
        reason=given.get("reason") or None,
        code=given.get("code"),
        name=given.get("q", "").lower() or None,
        lane=given.get("lane") or None,
        backfill_id=given.get("backfill"),
    )
    return RunQuery(request.user, form, wanted, hours)


def _read_hours(user: User, form: RunFilterForm) -> stats.HourRange | None:
    """The hours that the form asks for, with its complaint if they are not kept."""
    given = form.cleaned_data
    since, until = given["from"], given["to"]
    if not (since or until):
        span = given["last"] or ("all" if given["task"] else "day")
        if span == "all":
            return None
        since = stats.clamp_to_history(user, clock.now() - SPANS[span])
    try:
        return stats.whole_hours(user, since, until)
    except InvalidTask as refusal:
        form.add_error(refusal.field, str(refusal))
        return None


def _read_cursor(text: str) -> RunCursor | None:
    """The run after which the page begins; the first page for a text that is none."""
    try:
        return RunCursor.from_text(text) if text else None
    except ValueError:
        return None
