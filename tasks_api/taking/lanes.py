"""Admit runs to their lanes: lock the lanes, give out slots, and take runs for them.

One transaction of a worker locks the rows of a few lanes, takes as many runs as they have
slots, and writes their new states. If the worker dies, its slots are lost, and no slot is
ever given out twice. Lanes that another worker has locked are left to it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain import lanes
from tasks_api.domain.lanes import Grant, LaneState
from tasks_api.domain.states import BreakerState
from tasks_api.storage import run_rows
from tasks_api.taking import lane_statements, run_statements, waiting_runs
from tasks_api.taking.room import Room
from tasks_api.taking.start_windows import StartWindow
from tasks_api.taking.waiting_runs import TakenRuns

# Lanes that one look steps over in the index. With more, the next look goes on there.
MAX_LANES = 1000
# The lanes whose tasks are taken in one statement with others, and for how long.
MAX_RECENT = 100
RECENT_SECONDS = 5.0
# A worker asks so often for lanes that others have locked, and waits in between.
LOCK_TRIES = 5
LOCK_WAIT = 0.004


class LockedLane(NamedTuple):
    """A lane that this transaction has locked, and the slots that it gives out."""

    state: LaneState
    grant: Grant
    # Whether runs wait in the lane.
    has_line: bool
    # The database's clock, and the monotonic clock before and after it was read.
    now: datetime
    asked_at: float
    answered_at: float

    @property
    def line_begins_at(self) -> datetime:
        """When a run that comes now is expected to start."""
        return lanes.line_begins_at(
            self.state, self.grant, self.now, has_line=self.has_line
        )

    def slot_after(self, started: int) -> datetime | None:
        """The first slot after so many runs."""
        widened = lanes.widen(self.state, self.grant, started)
        return lanes.slot_after(self.state, self.grant, started, widened)

    def windows(self, runs: Sequence[ClaimedRun]) -> Iterator[tuple[UUID, StartWindow]]:
        """The start windows of runs, which get slots in the order of their fire times.

        The clock was read at some moment between the question and the answer. So a
        window opens and closes by the one of them that is on the safe side.
        """
        if (pace := lanes.pace_of(self.state)) is None:
            return
        window = pace.start_window + lanes.widen(self.state, self.grant, len(runs))
        ordered = sorted(runs, key=lambda run: run.scheduled_for)
        for run, slot in zip(ordered, self.grant.slots, strict=False):
            ahead = (slot - self.now).total_seconds()
            closes_at = self.asked_at + ahead + window.total_seconds()
            yield run.run_id, StartWindow(self.answered_at + ahead, closes_at)


class RecentLanes:
    """The lanes whose tasks were due a moment ago: more of them are likely to be due.

    A statement that takes tasks needs to know their lanes before.
    """

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def note(self, lane_ids: Collection[int]) -> None:
        until = time.monotonic() + RECENT_SECONDS
        self._until |= dict.fromkeys(lane_ids, until)

    def list_ids(self) -> list[int]:
        if self._until:
            now = time.monotonic()
            self._until = {
                lane_id: until for lane_id, until in self._until.items() if until > now
            }
        return list(self._until)[:MAX_RECENT]


recent = RecentLanes()


class LaneLook(NamedTuple):
    """The lanes whose runs may be taken now, and when there are more."""

    ready: list[LaneState] = []
    # Lanes that were deleted, though runs wait there.
    gone: list[int] = []
    next_at: datetime | None = None
    # Lanes in which the end of a request makes room for another one.
    with_places: frozenset[int] = frozenset()


class _SeenLane(NamedTuple):
    state: LaneState
    lane_id: int
    now: datetime
    wake_at: datetime | None
    running: int


class LanePoll:
    """Finds lanes with runs that may start."""

    def __init__(self) -> None:
        self._after = 0

    def look(self) -> LaneLook:
        seen = self._read()
        known = [each for each in seen if each.state.id is not None]
        moments = {each.lane_id: _ready_at(each) for each in known}
        ready = [
            each.state
            for each in known
            if (moment := moments[each.lane_id]) and moment <= each.now
        ]
        later = {moment for moment in moments.values() if moment}
        return LaneLook(
            ready,
            [each.lane_id for each in seen if each.state.id is None],
            min((each for each in later if each > seen[0].now), default=None),
            frozenset(
                each.lane_id
                for each in known
                if lanes.places_of(each.state) is not None
            ),
        )

    def _read(self) -> list[_SeenLane]:
        with prepared() as cursor:
            cursor.execute(
                with_limit(lane_statements.FIND_LANES, MAX_LANES),
                {"after": self._after},
            )
            size = len(LaneState._fields)
            seen = [
                _SeenLane(LaneState._make(row[:size]), *row[size:])
                for row in cursor.fetchall()
            ]
        self._after = seen[-1].lane_id if len(seen) == MAX_LANES else 0
        return seen


def _ready_at(seen: _SeenLane) -> datetime | None:
    """When runs of a lane may be taken; None if that depends on users or answers."""
    places = lanes.places_of(seen.state)
    opens_at = lanes.look_at(seen.state, seen.now)
    if opens_at is None or (places is not None and seen.running >= places):
        return None
    return max(opens_at, (seen.wake_at or seen.now) - lanes.LEAD)


def lock_lanes(
    lane_ids: Collection[int],
    *,
    most: Mapping[int, int],
    only_free: bool,
    waits: bool = True,
) -> dict[int, LockedLane]:
    """Lock lanes, and find at most so many slots of each.

    With `only_free`, a lane in which runs wait has no slots: they come first. Lanes that
    other workers have locked are asked for a few times more if the caller `waits`.
    """
    locked: dict[int, LockedLane] = {}
    for number in range(LOCK_TRIES):
        asked_at = time.monotonic()
        with prepared() as cursor:
            missing = array(set(lane_ids) - locked.keys())
            cursor.execute(lane_statements.LOCK_LANES, [missing])
            rows = cursor.fetchall()
        found = [_LockedRow(LaneState._make(row[:-2]), *row[-2:]) for row in rows]
        locked |= _give_slots(found, asked_at, most=most, only_free=only_free)
        if len(locked) == len(lane_ids) or not waits:
            break
        if number + 1 < LOCK_TRIES:
            time.sleep(LOCK_WAIT)
    return locked


class _LockedRow(NamedTuple):
    state: LaneState
    now: datetime
    has_line: bool


def _give_slots(
    rows: Sequence[_LockedRow],
    asked_at: float,
    *,
    most: Mapping[int, int],
    only_free: bool,
) -> dict[int, LockedLane]:
    answered_at = time.monotonic()
    running = _count_running([row.state for row in rows])
    return {
        state.id: LockedLane(
            state,
            lanes.give_slots(
                state,
                now,
                running=running.get(state.id, 0),
                most=0 if only_free and has_line else most[state.id],
            ),
            has_line,
            now,
            asked_at,
            answered_at,
        )
        for state, now, has_line in rows
    }


def slot_values(locked: Mapping[int, LockedLane]) -> dict[str, str]:
    """The slots of lanes as values of a statement that takes tasks."""
    return {
        "lanes": array(locked),
        "slots": array(len(lane.grant.slots) for lane in locked.values()),
        "lines": array(lane.line_begins_at for lane in locked.values()),
        "spacings": array(
            lanes.expected_spacing(lane.state).total_seconds()
            for lane in locked.values()
        ),
    }


def _count_running(states: Sequence[LaneState]) -> dict[int, int]:
    ids = [state.id for state in states if lanes.places_of(state) is not None]
    if not ids:
        return {}
    with prepared() as cursor:
        cursor.execute(lane_statements.COUNT_RUNNING, [array(ids)])
        return dict(cursor.fetchall())


def note_taken(
    locked: Mapping[int, LockedLane],
    runs: Sequence[ClaimedRun],
    waiting: Mapping[int, int],
) -> dict[UUID, StartWindow]:
    """Write the states of lanes after runs got slots, and others began to wait."""
    by_lane: defaultdict[int, list[ClaimedRun]] = defaultdict(list)
    for run in runs:
        if run.lane_id is not None:
            by_lane[run.lane_id].append(run)
    changed = [
        _new_state(lane, len(by_lane[lane_id]), waiting.get(lane_id, 0))
        for lane_id, lane in locked.items()
        if by_lane[lane_id] or waiting.get(lane_id)
    ]
    if changed:
        with prepared() as cursor:
            cursor.execute(lane_statements.UPDATE_LANES, columns(changed))
    return {
        run_id: window
        for lane_id, lane in locked.items()
        for run_id, window in lane.windows(by_lane[lane_id])
    }


def _new_state(
    lane: LockedLane, started: int, waiting: int
) -> tuple[int, datetime | None, datetime | None, bool]:
    line_ends_at = lane.state.line_ends_at
    if waiting:
        apart = lanes.expected_spacing(lane.state)
        line_ends_at = lane.line_begins_at + apart * waiting
    is_probed = started > 0 and lane.state.breaker_state != BreakerState.CLOSED
    return lane.state.id, lane.slot_after(started), line_ends_at, is_probed


def take_waiting(ready: Sequence[LaneState], room: Room, lease: UUID) -> TakenRuns:
    """Take runs that wait in lanes, as many as the lanes have slots."""
    taken = _take_waiting(_divide(ready, room), room, lease)
    if taken.freed:
        run_rows.start_waiting_runs(list(taken.freed))
    return taken


@transaction.atomic(durable=True)
def _take_waiting(shares: Mapping[int, int], room: Room, lease: UUID) -> TakenRuns:
    locked = lock_lanes(shares, most=shares, only_free=False, waits=False)
    open_lanes = {
        lane_id: len(lane.grant.slots)
        for lane_id, lane in locked.items()
        if lane.grant.slots
    }
    if not open_lanes:
        return TakenRuns(lanes_at=_next_look(locked, []))
    taken = waiting_runs.take(
        run_statements.TAKE_RUNS_OF_LANES.since(None),
        room,
        lease,
        lanes=array(open_lanes.keys()),
        slots=array(open_lanes.values()),
    )
    return taken._replace(
        windows=note_taken(locked, taken.runs, {}),
        lanes_at=_next_look(locked, taken.runs),
    )


def _next_look(
    locked: Mapping[int, LockedLane], runs: Sequence[ClaimedRun]
) -> datetime | None:
    """When more runs of these lanes may be taken; None if that depends on others."""
    started = Counter(run.lane_id for run in runs)
    moments = (
        lanes.look_at(
            lane.state._replace(next_slot_at=lane.slot_after(started[lane_id])),
            lane.now,
        )
        for lane_id, lane in locked.items()
    )
    return min(filter(None, moments), default=None)


def _divide(ready: Sequence[LaneState], room: Room) -> dict[int, int]:
    """Divide the room among tenants, and the part of each among its lanes."""
    lanes_of = Counter(lane.tenant_id for lane in ready)
    part = max(1, room.limit // max(1, len(lanes_of)))
    return {
        lane.id: max(1, min(part, places) // lanes_of[lane.tenant_id])
        for lane in ready
        if (places := room.places_for(lane.tenant_id)) > 0
    }


def leave_lanes(lane_ids: Collection[int]) -> None:
    """Let the runs of lanes that were deleted wait without a lane."""
    with prepared() as cursor:
        cursor.execute(lane_statements.LEAVE_LANES, [array(lane_ids)])
