"""What a tenant uses: quotas, tasks, runs of the last 30 days, messages, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts import services as accounts
from console.formats import TITLES
from console.pages import MemberRequest, for_members
from console.settings import quotas
from scheduler_service.db import clock
from tasks_api.domain.states import UNFINISHED_STATES, RunState
from tasks_api.services import channels, rules
from tasks_api.services import usage as usage_service
from tasks_api.services.usage import DayUsage, Usage

# Tokens with bounds whose quotas are shown.
MAX_TOKENS = 20
# The size of the chart in its own units, and of a bar with the gap beside it.
HEIGHT, STEP, GAP = 100, 10, 2
# From the bottom of a bar to its top: a class that colours, and what it counts.
_PARTS = (
    ("delivered", "delivered", (RunState.SUCCEEDED,)),
    ("failed", "failed", (RunState.FAILED,)),
    ("missed", "missed", (RunState.MISSED,)),
    ("left-out", "skipped or cancelled", (RunState.SKIPPED, RunState.CANCELLED)),
    ("waiting", "waiting or under way", tuple(sorted(UNFINISHED_STATES))),
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


class Limit(NamedTuple):
    """A limit, with what is used of it and the page that says what, where there is one."""

    label: str
    value: str
    url: str = ""


@for_members
@require_safe
def usage(request: MemberRequest) -> HttpResponse:
    now = clock.now()
    found = usage_service.read_usage(request.user, now=now)
    rows = list(_make_rows(found.days))
    context = {
        **_read_quotas(request, now),
        "usage": found,
        "tasks": [(TITLES[each.surface], each) for each in found.tasks],
        "all_runs_url": _runs_url(found.days[0].since, found.days[-1].until),
        "days": rows[::-1],
        "parts": [(css_class, label) for css_class, label, _ in _PARTS],
        "chart": {"rows": rows, "width": len(rows) * STEP, "height": HEIGHT},
        "limits": list(_list_limits(request, found)),
    }
    return render(request, "console/settings/usage.html", context)


def _read_quotas(request: MemberRequest, now: datetime) -> dict[str, Any]:
    tokens = accounts.list_bounded_tokens(request.user, now=now, limit=MAX_TOKENS + 1)
    of_tenant = quotas.read_tenant(request.user, now)
    of_tokens = list(quotas.read_tokens(tokens[:MAX_TOKENS]))
    every = [
        *(("", row) for row in of_tenant),
        *((each.title, row) for each in of_tokens for row in each.quotas),
    ]
    return {
        "plan": request.tenant.plan,
        "quotas": of_tenant,
        "token_quotas": [each for each in of_tokens if each.quotas],
        "has_more_tokens": len(tokens) > MAX_TOKENS,
        "near": [(whose, row) for whose, row in every if row.is_near],
    }


def _make_rows(days: Sequence[DayUsage]) -> Iterator[DayRow]:
    highest = max((day.total for day in days), default=0) or 1
    for place, day in enumerate(days):
        cells = [
            Cell(
                sum(day.by_state[state] for state in states),
                _runs_url(day.since, day.until, states),
            )
            for *_, states in _PARTS
        ]
        total = Cell(day.total, _runs_url(day.since, day.until))
        yield DayRow(
            day.since, total, cells, list(_stack(cells, place * STEP, highest))
        )


def _runs_url(since: datetime, until: datetime, states: Sequence[RunState] = ()) -> str:
    """The list of the runs of a span."""
    query = {"from": f"{since:%Y-%m-%dT%H:%M:%SZ}", "to": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
    if states:
        query["state"] = ",".join(state.value for state in states)
    return f"/app/runs/?{urlencode(query)}"


def _stack(cells: Sequence[Cell], x: int, highest: int) -> Iterator[Bar]:
    top = float(HEIGHT)
    for cell, (css_class, *_) in zip(cells, _PARTS, strict=True):
        height = HEIGHT * cell.runs / highest
        top -= height
        if cell.runs:
            yield Bar(css_class, x + GAP // 2, round(top, 2), round(height, 2))


def _list_limits(request: MemberRequest, found: Usage) -> Iterator[Limit]:
    in_flight = request.tenant.max_in_flight or settings.SCHEDULER_MAX_PER_TENANT
    told = reverse("console-notifications")
    yield Limit("Requests that one worker has under way for you", f"{in_flight}")
    yield Limit("Channels", f"{found.channels} of {channels.MAX_CHANNELS}", told)
    yield Limit("Rules", f"{found.rules} of {rules.MAX_RULES}", told)
    yield Limit("Shortest interval of a task", f"{settings.SCHEDULER_MIN_FREQUENCY} s")
    longest = settings.SCHEDULER_MAX_REQUEST_TIMEOUT
    yield Limit("Longest time for a request", f"{longest} s")
    body = settings.SCHEDULER_MAX_BODY_BYTES // 1024
    yield Limit("Largest body of a call", f"{body} KiB")
