"""What a tenant uses: tasks, runs of the last 30 days, messages, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.formats import TITLES
from console.pages import MemberRequest, for_members
from scheduler_service.db import clock
from tasks_api.domain.states import RunState
from tasks_api.services import channels, rules
from tasks_api.services import usage as usage_service
from tasks_api.services.usage import DayUsage, Usage

# The size of the chart in its own units, and of a bar with the gap beside it.
HEIGHT, STEP, GAP = 100, 10, 2
# From the bottom of a bar to its top: a class that colours, and what it counts.
_PARTS = (
    ("delivered", "delivered", (RunState.SUCCEEDED,)),
    ("failed", "failed", (RunState.FAILED,)),
    ("missed", "missed", (RunState.MISSED,)),
    ("left-out", "skipped or cancelled", (RunState.SKIPPED, RunState.CANCELLED)),
)


class Cell(NamedTuple):
    """A number of runs, and the list of these runs."""

    runs: int
    url: str


class Bar(NamedTuple):
    """A part of a bar of the chart."""

    css_class: str
    x: int
    y: float
    height: float


class DayRow(NamedTuple):
    """A day in the table and in the chart."""

    day: datetime
    total: Cell
    cells: Sequence[Cell]
    bars: Sequence[Bar]


@for_members
@require_safe
def usage(request: MemberRequest) -> HttpResponse:
    found = usage_service.read_usage(request.user, now=clock.now())
    rows = list(_make_rows(found.days))
    context = {
        "usage": found,
        "tasks": [(TITLES[each.surface], each.total) for each in found.tasks],
        "days": rows[::-1],
        "parts": [(css_class, label) for css_class, label, _ in _PARTS],
        "chart": {"rows": rows, "width": len(rows) * STEP, "height": HEIGHT},
        "limits": list(_list_limits(request, found)),
    }
    return render(request, "console/settings/usage.html", context)


def _make_rows(days: Sequence[DayUsage]) -> Iterator[DayRow]:
    highest = max((day.total for day in days), default=0) or 1
    for place, day in enumerate(days):
        yield DayRow(
            day.since,
            Cell(day.total, _runs_url(day, ())),
            _cells(day),
            list(_stack(day, place * STEP, highest)),
        )


def _cells(day: DayUsage) -> list[Cell]:
    return [
        Cell(sum(day.by_state[state] for state in states), _runs_url(day, states))
        for *_, states in _PARTS
    ]


def _runs_url(day: DayUsage, states: Sequence[RunState]) -> str:
    wanted = {
        "state": ",".join(state.value for state in states),
        "from": f"{day.since:%Y-%m-%dT%H:%M:%SZ}",
        "to": f"{day.until:%Y-%m-%dT%H:%M:%SZ}",
    }
    return (
        f"/app/runs/?{urlencode({name: text for name, text in wanted.items() if text})}"
    )


def _stack(day: DayUsage, x: int, highest: int) -> Iterator[Bar]:
    top = float(HEIGHT)
    waiting = usage_service.count_unfinished(day.by_state)
    counts = [
        *(
            (css_class, sum(day.by_state[s] for s in states))
            for css_class, _, states in _PARTS
        ),
        ("waiting", waiting),
    ]
    for css_class, count in counts:
        height = HEIGHT * count / highest
        top -= height
        if count:
            yield Bar(css_class, x + GAP // 2, round(top, 2), round(height, 2))


def _list_limits(request: MemberRequest, found: Usage) -> Iterator[tuple[str, Any]]:
    """The limits that there are, each with what is used of it where that is known."""
    in_flight = request.tenant.max_in_flight or settings.SCHEDULER_MAX_PER_TENANT
    yield "Requests that one worker has under way for you", in_flight
    yield "Channels", f"{found.channels} of {channels.MAX_CHANNELS}"
    yield "Rules", f"{found.rules} of {rules.MAX_RULES}"
    yield "Shortest interval of a task", f"{settings.SCHEDULER_MIN_FREQUENCY} s"
    yield "Longest time for a request", f"{settings.SCHEDULER_MAX_REQUEST_TIMEOUT} s"
    yield "Largest body of a call", f"{settings.SCHEDULER_MAX_BODY_BYTES // 1024} KiB"
