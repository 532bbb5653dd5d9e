"""Admit tasks to lanes with a rate: refuse those that would make runs late.

Admissions to one lane wait for each other, from the judgement to the commit. So two
requests cannot both take the last room of a lane.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import transaction

from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.admission import Verdict, judge
from tasks_api.domain.exceptions import DoesNotFit
from tasks_api.domain.lines import SECOND, Load, LoadChange, start_of_horizon
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Admit, Surface, TaskSpec
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.services import lane_loads, placing, rated_lanes
from tasks_api.services.lane_loads import LoadKey, key_of_spec, key_of_task
from tasks_api.services.rated_lanes import NO_LANES, RatedLane, RatedLanes
from tasks_api.services.wanted_tasks import Wanted


@dataclass(frozen=True)
class LaneVerdict:
    """Whether tasks fit a lane; `indexes` are their places among those of a request."""

    lane: RatedLane
    verdict: Verdict
    indexes: Sequence[int]


@contextmanager
def admitted(
    owner: User,
    wanted: Sequence[Wanted],
    *,
    now: datetime,
    is_admitted: bool = False,
) -> Iterator[list[TaskSpec]]:
    """Yield the specs of tasks with their places, once their lanes admit them.

    The lanes stay locked in the transaction of the block. Without a lane that has a
    rate, or a place to choose, or if the caller has them admitted already, there is no
    transaction. Raises DoesNotFit for the first lane in which the tasks do not fit.
    """
    specs = list(map(_spec_of, wanted))
    lanes = NO_LANES if is_admitted else _find_lanes(owner, wanted)
    needs_places = any(map(placing.is_without_place, specs))
    if not lanes and not needs_places:
        yield specs
        return
    with transaction.atomic():
        lock_lanes(wanted, lanes)
        judged = _judge(owner, wanted, lanes, now)
        refuse(judged.verdicts)
        yield list(map(_spec_of, judged.tasks))


class Judged(NamedTuple):
    """Tasks with their places, and what their lanes say about them."""

    tasks: Sequence[Wanted]
    verdicts: Sequence[LaneVerdict]


def judge_tasks(
    owner: User, wanted: Sequence[Wanted], *, now: datetime, locks_lanes: bool = True
) -> Judged:
    """Judge tasks, and lock their lanes until the caller's transaction ends."""
    lanes = _find_lanes(owner, wanted)
    if locks_lanes:
        lock_lanes(wanted, lanes)
    return _judge(owner, wanted, lanes, now)


def _find_lanes(owner: User, wanted: Sequence[Wanted]) -> RatedLanes:
    return rated_lanes.find(owner, map(_spec_of, filter(_may_be_judged, wanted)))


def lock_lanes(wanted: Sequence[Wanted], lanes: RatedLanes) -> None:
    """Lock the lanes that tasks enter, in the order of their ids."""
    entered = {lane for each in wanted if (lane := _lane_of(each, lanes)) is not None}
    for lane in sorted(entered, key=_id_of):
        locks.acquire(LockKind.ADMISSION, lane.id)


def _judge(
    owner: User, wanted: Sequence[Wanted], lanes: RatedLanes, now: datetime
) -> Judged:
    placed = placing.place(owner, wanted, lanes, now=now)
    entering: defaultdict[RatedLane, dict[int, Wanted]] = defaultdict(dict)
    for index, each in enumerate(placed):
        if (found := _lane_of(each, lanes)) is not None:
            entering[found][index] = each
    ordered = sorted(entering, key=_id_of)
    verdicts = [_judge_lane(lane, entering[lane], now) for lane in ordered]
    return Judged(placed, verdicts)


def _id_of(lane: RatedLane) -> int:
    return lane.id


def _spec_of(wanted: Wanted) -> TaskSpec:
    return wanted.spec


def _lane_of(wanted: Wanted, lanes: RatedLanes) -> RatedLane | None:
    """Return the lane to which a task brings something else than before."""
    if not _may_be_judged(wanted):
        return None
    lane = lanes.of(wanted.spec)
    return None if lane is None or _brings_the_same(lane, wanted) else lane


def refuse(verdicts: Iterable[LaneVerdict]) -> None:
    """Raise DoesNotFit for the first verdict that says so."""
    for each in verdicts:
        if not each.verdict.fits:
            raise _to_error(each)


def _may_be_judged(wanted: Wanted) -> bool:
    """Whether a task recurs, and its client can choose another spread."""
    spec = wanted.spec
    return spec.surface is Surface.TASKS and not isinstance(spec.schedule, Once)


def _brings_the_same(lane: RatedLane, wanted: Wanted) -> bool:
    spec, task = wanted
    return (
        task is not None
        and task.lane_id == lane.id
        and (
            key_of_task(task) == key_of_spec(spec)
            or (spec.spread_auto and placing.keeps_place(wanted))
        )
    )


def _judge_lane(
    lane: RatedLane, wanted: Mapping[int, Wanted], now: datetime
) -> LaneVerdict:
    judged = {i: each for i, each in wanted.items() if each.spec.admit == Admit.FITTING}
    new = _loads_of_specs(judged.values())
    since = start_of_horizon(new, now=now)
    if since is None:
        return LaneVerdict(lane, Verdict(True, 0), list(judged))
    tasks = [each.task for each in wanted.values() if each.task is not None]
    stored = lane_loads.read_lane(
        lane.id, since=since, now=now, without=[task.pk for task in tasks]
    )
    anyway = [each for i, each in wanted.items() if i not in judged]
    gone = _loads_of_tasks(task for task in tasks if task.lane_id == lane.id)
    change = LoadChange([*stored, *_loads_of_specs(anyway)], new, gone)
    return LaneVerdict(lane, judge(change, lane.capacity, now=now), list(judged))


def _loads_of_specs(wanted: Iterable[Wanted]) -> list[Load]:
    return lane_loads.to_loads(Counter(key_of_spec(each.spec) for each in wanted))


def _loads_of_tasks(tasks: Iterable[Task]) -> list[Load]:
    keys: Counter[LoadKey] = Counter()
    keys.update(key for task in tasks if (key := key_of_task(task)) is not None)
    return lane_loads.to_loads(keys)


def _to_error(refused: LaneVerdict) -> DoesNotFit:
    spread = refused.verdict.smallest_spread
    field = "lane" if spread is None else "spread"
    return DoesNotFit(
        field,
        f"Invalid value of {field}. {explain(refused)}",
        lane=refused.lane.name,
        smallest_spread=spread,
        indexes=refused.indexes,
    )


def explain(refused: LaneVerdict) -> str:
    """Say why tasks do not fit a lane, and what would."""
    lane, verdict = refused.lane, refused.verdict
    assert verdict.at is not None
    rate = f"{lane.capacity.limit:,} in {lane.capacity.per // SECOND:,} s"
    lets = f"Lane {lane.name} lets runs start at a rate of {rate}"
    if verdict.overload:
        return f"{lets}. Its tasks would bring {verdict.overload:.3g} times as many"
    late = (
        f"{lets}. A run that is due at {format_timestamp(verdict.at)} would start "
        f"{verdict.seconds_to_start:,} s later, where {verdict.allowed:,.0f} s are allowed"
    )
    if verdict.smallest_spread is None:
        return f"{late}; no spread of the task would change that"
    return f"{late}; the spread should be at least {verdict.smallest_spread} s"
