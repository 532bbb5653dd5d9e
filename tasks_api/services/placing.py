"""Choose the spread of tasks whose clients leave it to the service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from tasks_api.domain.admission import longest_window
from tasks_api.domain.guard import host_of
from tasks_api.domain.lines import Load, horizon_from, start_of_horizon
from tasks_api.domain.places import Neighbours
from tasks_api.domain.schedules import Once, Schedule, with_offset
from tasks_api.domain.specs import TaskSpec
from tasks_api.services import lane_loads
from tasks_api.services.coming import schedule_of
from tasks_api.services.rated_lanes import RatedLane, RatedLanes
from tasks_api.services.wanted_tasks import Wanted

# Beside tasks that no lane bounds, a second has room for one.
_RATE_WITHOUT_LANE = 1.0


class _Beside(NamedTuple):
    """What tasks are placed beside: those of a lane, or of a target host."""

    lane: RatedLane | None
    host: str = ""


def place(
    owner: User, wanted: Sequence[Wanted], lanes: RatedLanes, *, now: datetime
) -> list[Wanted]:
    """Return the tasks with places for those that leave them to the service.

    A stored task keeps its place while its schedule stays. Others get the emptiest
    places of their lane, or else of those tasks of the tenant that have their host.
    """
    placed = [_keep_place(each) for each in wanted]
    alike: defaultdict[_Beside, defaultdict[Schedule, list[int]]]
    alike = defaultdict(lambda: defaultdict(list))
    for index, (spec, _) in enumerate(placed):
        if is_without_place(spec):
            lane = lanes.of(spec)
            beside = _Beside(lane, "" if lane else host_of(spec.url))
            alike[beside][spec.schedule].append(index)
    for beside, by_schedule in alike.items():
        stored = [each.task.pk for each in placed if each.task is not None]
        _place_beside(owner, beside, by_schedule, placed, stored, now)
    return placed


def is_without_place(spec: TaskSpec) -> bool:
    """Whether the service is to choose the spread of a task."""
    return (
        spec.spread_auto
        and spec.spread_offset is None
        and not isinstance(spec.schedule, Once)
    )


def _keep_place(wanted: Wanted) -> Wanted:
    spec, task = wanted
    if task is None or not keeps_place(wanted):
        return wanted
    kept = replace(spec, spread=task.spread, spread_offset=task.spread_offset)
    return Wanted(kept, task)


def keeps_place(wanted: Wanted) -> bool:
    """Whether the service chose the place of a task already, for the same schedule."""
    spec, task = wanted
    if task is None or not is_without_place(spec) or not task.spread_auto:
        return False
    schedule = schedule_of(task)
    return schedule is not None and with_offset(schedule, 0) == spec.schedule


def _place_beside(
    owner: User,
    beside: _Beside,
    by_schedule: Mapping[Schedule, Sequence[int]],
    placed: list[Wanted],
    stored: Sequence[UUID],
    now: datetime,
) -> None:
    """Give places to tasks that have the same neighbours, one schedule after another."""
    new = [Load(len(indexes), schedule) for schedule, indexes in by_schedule.items()]
    since = start_of_horizon(new, now=now) or now
    others = _read_others(owner, beside, since, now, stored)
    neighbours = Neighbours(
        others,
        rate=beside.lane.capacity.rate if beside.lane else _RATE_WITHOUT_LANE,
        horizon=horizon_from(since, [*others, *new]),
    )
    for load, indexes in zip(new, by_schedule.values(), strict=True):
        window, offsets = neighbours.place(load, longest=longest_window(load))
        for index, offset in zip(indexes, offsets, strict=True):
            spec, task = placed[index]
            chosen = replace(spec, spread=window, spread_offset=offset)
            placed[index] = Wanted(chosen, task)


def _read_others(
    owner: User,
    beside: _Beside,
    since: datetime,
    now: datetime,
    without: Sequence[UUID],
) -> list[Load]:
    if beside.lane is not None:
        return lane_loads.read_lane(
            beside.lane.id, since=since, now=now, without=without
        )
    assert owner.tenant_id is not None
    return lane_loads.read_beside(
        owner.tenant_id, beside.host, since=since, now=now, without=without
    )
