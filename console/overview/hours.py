"""Runs by outcome: of the whole day, and hour by hour with a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from console import charts
from console.charts import Bar, Chart, Part
from console.links import runs_url
from tasks_api.domain.states import UNFINISHED_STATES, RunState
from tasks_api.domain.tallies import Tally
from tasks_api.services.stats import Stats, floor_hour, runs_by_state

HOUR = timedelta(hours=1)


class Outcome(NamedTuple):
    """What people call some states of runs; the name is also the class of its colour."""

    name: str
    shape: str
    states: frozenset[RunState]

    @property
    def word(self) -> str:
        return self.name.replace("-", " ")


OUTCOMES = (
    Outcome("delivered", "●", frozenset({RunState.SUCCEEDED})),
    Outcome("failed", "✕", frozenset({RunState.FAILED})),
    Outcome("missed", "▲", frozenset({RunState.MISSED})),
    Outcome("left-out", "○", frozenset({RunState.SKIPPED, RunState.CANCELLED})),
    Outcome("waiting", "◌", frozenset(UNFINISHED_STATES)),
)
# These bars of the chart go down from the base line.
BAD = ("failed", "missed")


@dataclass(frozen=True)
class Figure:
    """The runs of one outcome in some time, and the list of them."""

    outcome: Outcome
    count: int
    url: str


class HourRow(NamedTuple):
    """An hour by the beginning of it, and its runs of each outcome."""

    hour: datetime
    url: str
    figures: list[Figure]

    @property
    def total(self) -> int:
        return sum(figure.count for figure in self.figures)

    @property
    def title(self) -> str:
        end = self.hour + HOUR
        counted = [
            f"{each.count} {each.outcome.word}" for each in self.figures if each.count
        ]
        return f"{self.hour:%H:%M}-{end:%H:%M} UTC: {', '.join(counted) or 'no runs'}"


def end_of(stats: Stats) -> datetime:
    """The end of the last hour, which may be the present one."""
    last = floor_hour(stats.until)
    return last if last == stats.until else last + HOUR


def outcome_of(state: RunState) -> Outcome:
    return next(each for each in OUTCOMES if state in each.states)


def figures_of(tally: Tally, since: datetime, until: datetime) -> list[Figure]:
    return figures_of_runs(runs_by_state(tally), since, until)


def figures_of_runs(
    runs: Counter[RunState], since: datetime, until: datetime
) -> list[Figure]:
    return [
        Figure(
            outcome,
            sum(runs[state] for state in outcome.states),
            runs_url(since, until, outcome.states),
        )
        for outcome in OUTCOMES
    ]


def rows_of(stats: Stats) -> list[HourRow]:
    """Each hour of stats, oldest first, also those without runs."""
    found = {each.hour: each.tally for each in stats.hours}
    return [
        HourRow(
            hour,
            runs_url(hour, hour + HOUR),
            figures_of(found.get(hour, Tally()), hour, hour + HOUR),
        )
        for hour in _hours_of(stats)
    ]


def _hours_of(stats: Stats) -> Iterator[datetime]:
    hour, end = floor_hour(stats.since), end_of(stats)
    while hour < end:
        yield hour
        hour += HOUR


def draw_hours(rows: list[HourRow]) -> Chart:
    return charts.draw([_bar_of(row) for row in rows])


def _bar_of(row: HourRow) -> Bar:
    parts = [
        (figure.outcome.name in BAD, _part_of(row, figure)) for figure in row.figures
    ]
    return Bar(
        row.title,
        row.url,
        up=[part for is_bad, part in parts if not is_bad],
        down=[part for is_bad, part in parts if is_bad],
    )


def _part_of(row: HourRow, figure: Figure) -> Part:
    outcome = figure.outcome
    title = f"{row.hour:%H:%M} UTC: {figure.count} {outcome.word}"
    return Part(outcome.name, title, figure.count, figure.url)
