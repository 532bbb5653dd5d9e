"""Links from numbers to the lists that they count."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlencode

from django.urls import NoReverseMatch, reverse

from tasks_api.domain.states import RunState
from tasks_api.domain.timestamps import format_timestamp

RUNS, CALENDAR = "/app/runs/", "/app/calendar/"


def runs_url(
    since: datetime, until: datetime, states: Iterable[RunState] = (), reason: str = ""
) -> str:
    """The runs of a time, which lie in some states and have a reason."""
    query = {
        "state": ",".join(sorted(state.value for state in states)),
        "reason": reason,
        "from": format_timestamp(since),
        "to": format_timestamp(until),
    }
    return f"{RUNS}?{urlencode({key: value for key, value in query.items() if value})}"


def fire_times_url(since: datetime, until: datetime) -> str:
    """The tasks that fire between two moments."""
    query = {"from": format_timestamp(since), "to": format_timestamp(until)}
    return f"{CALENDAR}tasks/?{urlencode(query)}"


def page_of(route: str, *arguments: str) -> str:
    """The path of a page; empty if there is no such page."""
    try:
        return reverse(route, args=arguments)
    except NoReverseMatch:
        return ""
