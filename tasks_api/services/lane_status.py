"""What users see of lanes: what each does now, and how much is in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from accounts.models import User
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import fetch_all, with_limit
from tasks_api.models import Lane, LaneCeiling
from tasks_api.services import lanes
from tasks_api.services.lane_status_statements import COUNT_IN_LANES

# The most runs and tasks of each lane that are counted: in a list, and of one lane.
COUNTED_IN_LIST, COUNTED_IN_LANE = 1_000, 10_000


class Count(NamedTuple):
    """How many of the tenant there are, and how many of them the user reaches."""

    total: int
    own: int
    most: int

    @property
    def is_cut_off(self) -> bool:
        return self.total == self.most


class LaneStatus(NamedTuple):
    """A lane, with its runs that wait and those that are under way, and its tasks."""

    lane: Lane
    waiting: Count
    running: Count
    tasks: Count
    # The fire time of the oldest run that waits.
    oldest_at: datetime | None
    # When a run could start; None while nobody knows.
    next_slot_at: datetime | None

    @property
    def ceiling(self) -> LaneCeiling | None:
        """What operators allow at most."""
        return getattr(self.lane.tenant, "lane_ceiling", None)


class LanePage(NamedTuple):
    """Lanes in the order of their names, and the name after which the next page begins."""

    lanes: list[LaneStatus]
    after: str | None


class _CountRow(NamedTuple):
    lane_id: int
    waiting: int
    own_waiting: int
    oldest_at: datetime | None
    running: int
    own_running: int
    tasks: int
    own_tasks: int


def list_statuses(user: User, *, after: str, limit: int, now: datetime) -> LanePage:
    assert user.tenant is not None
    rows = lanes.list_lanes(user.tenant).filter(name__gt=after).order_by("name")
    found = list(rows[: limit + 1])
    shown = _describe(user, found[:limit], COUNTED_IN_LIST, now)
    return LanePage(shown, found[limit - 1].name if len(found) > limit else None)


def get_status(user: User, name: str, *, now: datetime) -> LaneStatus:
    """Return a lane of the user's tenant. Raises LaneNotFound."""
    assert user.tenant is not None
    lane = lanes.get_lane(user.tenant, name)
    [found] = _describe(user, [lane], COUNTED_IN_LANE, now)
    return found


def _describe(
    user: User, found: Sequence[Lane], most: int, now: datetime
) -> list[LaneStatus]:
    values = {
        "lanes": array(lane.pk for lane in found),
        "owner": None if user.reaches_tenant else user.pk,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(with_limit(COUNT_IN_LANES, most), values)
        rows = {row.lane_id: row for row in fetch_all(cursor, _CountRow)}
    return [_status_of(lane, rows[lane.pk], most, now) for lane in found]


def _status_of(lane: Lane, row: _CountRow, most: int, now: datetime) -> LaneStatus:
    return LaneStatus(
        lane,
        Count(row.waiting, row.own_waiting, most),
        Count(row.running, row.own_running, most),
        Count(row.tasks, row.own_tasks, most),
        row.oldest_at,
        lanes.next_slot(lane, now),
    )
