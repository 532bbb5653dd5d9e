"""What the pages of lanes show.

Functions stand for what only the whole page needs: a template calls them when it comes to
them, and a poll of the live part doesn't.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

from accounts.models import User
from console.lanes import words
from console.lanes.load import read_load
from console.lanes.words import LaneState
from console.links import RUNS
from console.pages import MemberRequest
from console.tasks.rows import TaskRow, row_of
from scheduler_service.db import clock
from tasks_api.domain.states import RunState
from tasks_api.services import lane_status, runs
from tasks_api.services.browsing import browse_tasks
from tasks_api.services.lane_status import Count, LaneStatus
from tasks_api.services.listing import TaskFilters
from tasks_api.services.runs import RunFilter, RunSummary
from tasks_api.services.task_details import summarize

LANES_PER_PAGE = 25
SHOWN_TASKS, SHOWN_RUNS = 10, 10
# What starts within this starts at once.
SOON = timedelta(seconds=2)
WAITING = (RunState.PENDING, RunState.RETRYING)
UNDER_WAY = (RunState.RUNNING, RunState.OPEN)


@dataclass(frozen=True)
class Figure:
    """A number, and the list of what it counts, as far as the user reaches it."""

    count: Count
    url: str


class LaneRow(NamedTuple):
    """A lane with its limits and its states in words, and its numbers."""

    status: LaneStatus
    limits: str
    states: list[LaneState]
    waiting: Figure
    running: Figure
    tasks: Figure


def read_list(request: MemberRequest) -> dict[str, Any]:
    now, after = clock.now(), request.GET.get("after", "").replace("\0", "")
    page = lane_status.list_statuses(
        request.user, after=after, limit=LANES_PER_PAGE, now=now
    )
    return {
        "rows": [_row_of(each, now) for each in page.lanes],
        "after": page.after,
        "api": request.build_absolute_uri("/").rstrip("/"),
    }


def read_lane(request: MemberRequest, name: str) -> dict[str, Any]:
    now, user = clock.now(), request.user
    found = lane_status.get_status(user, name, now=now)
    lane = found.lane
    return {
        "lane": lane,
        "row": _row_of(found, now),
        "is_paused": lane.is_paused(now),
        "next_start": _next_start(found, now),
        "limits": words.limit_sentences(lane),
        "ceilings": words.ceiling_sentences(lane, found.ceiling),
        "load": partial(read_load, lane, now=now),
        "tasks": partial(_read_tasks, user, name, now),
        "runs": partial(_read_runs, user, name),
        "all_runs_url": runs_of_lane(name),
    }


def _next_start(found: LaneStatus, now: datetime) -> datetime | None:
    """When the next run could start, if that is not at once."""
    at = found.next_slot_at
    return at if at is not None and at > now + SOON else None


def _row_of(found: LaneStatus, now: datetime) -> LaneRow:
    lane = found.lane
    return LaneRow(
        found,
        words.short_limits(lane),
        words.states_of(lane, now),
        Figure(found.waiting, runs_of_lane(lane.name, WAITING)),
        Figure(found.running, runs_of_lane(lane.name, UNDER_WAY)),
        Figure(found.tasks, f"/app/tasks/?{urlencode({'lane': lane.name})}"),
    )


def runs_of_lane(name: str, states: tuple[RunState, ...] = ()) -> str:
    """The list of the runs of a lane in some states, or the newest ones of a day."""
    if not states:
        return f"{RUNS}?{urlencode({'lane': name})}"
    state = ",".join(state.value for state in states)
    return f"{RUNS}?{urlencode({'lane': name, 'state': state, 'last': 'all'})}"


def _read_tasks(user: User, name: str, now: datetime) -> list[TaskRow]:
    wanted = TaskFilters(lane=name)
    page = browse_tasks(user, wanted, before=None, limit=SHOWN_TASKS, now=now)
    return [row_of(summarize(task), now) for task in page.tasks]


def _read_runs(user: User, name: str) -> list[RunSummary]:
    return runs.list_runs(user, RunFilter(lane=name), limit=SHOWN_RUNS).rows
