"""Create, change, pause, resume and remove the lanes of a tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import Tenant, User
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.domain import lanes as rule
from tasks_api.domain.exceptions import InvalidState, LaneExists, LaneNotFound
from tasks_api.domain.states import BreakerState
from tasks_api.models import Lane, LaneCeiling, Task
from tasks_api.services.channels import lock_tenant
from tasks_api.services.pausing import Hold
from tasks_api.storage import lane_statements

MAX_LANES = 1000
# Tasks that get their lane in one statement.
BATCH_SIZE = 1000
_AUDITED = (
    "name",
    "host",
    "rate_limit",
    "rate_per",
    "burst",
    "concurrency",
    "breaker_after",
    "breaker_for",
)
_PACED = {"rate_limit", "rate_per", "burst"}


class LaneRuns(NamedTuple):
    """The runs of a lane that are not over."""

    waiting: int = 0
    running: int = 0


def list_lanes(tenant: Tenant) -> QuerySet[Lane]:
    found = Lane.objects.filter(tenant=tenant)
    return found.select_related("tenant__lane_ceiling")


def get_lane(tenant: Tenant, name: str) -> Lane:
    return _require(list_lanes(tenant).filter(name=name).first())


def count_runs(lanes: Sequence[Lane]) -> dict[int, LaneRuns]:
    with prepared() as cursor:
        cursor.execute(
            lane_statements.COUNT_RUNS_OF_LANES, [array(lane.pk for lane in lanes)]
        )
        found = {lane_id: LaneRuns(*counts) for lane_id, *counts in cursor.fetchall()}
    return {lane.pk: found.get(lane.pk, LaneRuns()) for lane in lanes}


def next_slot(lane: Lane, now: datetime) -> datetime | None:
    """When a run could start; None while nobody knows."""
    state = _state_of(lane, now)
    until = rule.held_until(state, now)
    if until is None:
        return None
    slots = rule.give_slots(
        state._replace(breaker_state=BreakerState.CLOSED, held_until=None),
        max(until, lane.next_slot_at or until),
        running=0,
        most=1,
    ).slots
    return slots[0] if slots else until


def create_lane(user: User, fields: Mapping[str, Any]) -> Lane:
    """Create a lane. With a host, the tasks with this host belong to it from now on."""
    with transaction.atomic():
        tenant = lock_tenant(user)
        if list_lanes(tenant).count() >= MAX_LANES:
            raise InvalidState(f"A tenant has at most {MAX_LANES} lanes")
        lane = Lane(tenant=tenant, **fields)
        _save(lane)
        changes = audit.find_changes({}, _audited(lane))
        audit.record(tenant.pk, "lane.create", [lane.name], changes)
    if lane.host:
        assign_tasks(tenant)
    return lane


def change_lane(user: User, name: str, fields: Mapping[str, Any]) -> Lane:
    """Change the given fields of a lane; the others stay.

    New limits hold for each window that begins two seconds after the change.
    """
    with transaction.atomic():
        lane = _lock_lane(user, name)
        before, host = _audited(lane), lane.host
        for field, value in fields.items():
            setattr(lane, field, value)
        if lane.breaker_after is None:
            lane.breaker_state, lane.failures = BreakerState.CLOSED, 0
        changes = audit.find_changes(before, _audited(lane))
        if changes:
            _save(lane)
            audit.record(lane.tenant_id, "lane.change", [lane.name], changes)
        if changes.keys() & _PACED:
            _settle(lane)
    if lane.host != host:
        assign_tasks(lane.tenant)
    return lane


@transaction.atomic
def remove_lane(user: User, name: str) -> None:
    """Remove a lane that no living task belongs to."""
    lane = _lock_lane(user, name, for_removal=True)
    if living := Task.objects.filter(lane=lane, ended_at=None).count():
        tasks = "1 task belongs" if living == 1 else f"{living} tasks belong"
        raise InvalidState(f"{tasks} to this lane")
    Task.objects.filter(lane=lane).update(lane=None)
    lane.delete()
    audit.record(lane.tenant_id, "lane.remove", [name])


@transaction.atomic
def pause_lane(user: User, name: str, hold: Hold, *, now: datetime) -> Lane:
    """Let no run of a lane start, until a moment or until a user resumes it."""
    lane = _lock_lane(user, name)
    lane.paused_at = lane.paused_at if lane.is_paused(now) else now
    lane.hold_reason, lane.resume_at = hold.reason, hold.until
    lane.save(update_fields=["paused_at", "hold_reason", "resume_at"])
    changes = {"reason": ("", hold.reason)} if hold.reason else {}
    if hold.until is not None:
        changes["until"] = ("", hold.until.isoformat())
    audit.record(lane.tenant_id, "lane.pause", [name], changes)
    return lane


@transaction.atomic
def resume_lane(user: User, name: str) -> Lane:
    """Let the runs of a lane start again, at its pace, in their order."""
    lane = _lock_lane(user, name)
    lane.paused_at, lane.hold_reason, lane.resume_at = None, "", None
    lane.save(update_fields=["paused_at", "hold_reason", "resume_at"])
    audit.record(lane.tenant_id, "lane.resume", [name])
    return lane


def assign_tasks(tenant: Tenant) -> None:
    """Give the living tasks of a tenant the lanes of their hosts, in batches."""
    after: UUID | None = UUID(int=0)
    statement = with_limit(lane_statements.ASSIGN_LANES, BATCH_SIZE)
    while after is not None:
        with transaction.atomic(), prepared() as cursor:
            cursor.execute(statement, {"tenant": tenant.pk, "after": after})
            after, changed = cursor.fetchone()
            if changed:
                cursor.execute(lane_statements.LEAVE_OLD_LANES, [array(changed)])


def _state_of(lane: Lane, now: datetime) -> rule.LaneState:
    ceiling: LaneCeiling | None = getattr(lane.tenant, "lane_ceiling", None)
    values: dict[str, Any] = {
        name: getattr(lane, name, None) for name in rule.LaneState._fields
    }
    values["is_paused"] = lane.is_paused(now)
    values["max_per_second"] = ceiling and ceiling.max_per_second
    values["max_concurrency"] = ceiling and ceiling.max_concurrency
    return rule.LaneState(**values)


def _settle(lane: Lane) -> None:
    """Let no window have more starts than the new limits allow; pace the runs anew."""
    state = _state_of(lane, clock.now())
    seconds = rule.expected_spacing(state).total_seconds()
    with prepared() as cursor:
        cursor.execute(
            lane_statements.SETTLE_LANE, [rule.SETTLING_TIME.total_seconds(), lane.pk]
        )
        cursor.execute(lane_statements.PACE_LINE, {"lane": lane.pk, "spacing": seconds})
    lane.refresh_from_db()


def _lock_lane(user: User, name: str, *, for_removal: bool = False) -> Lane:
    """Lock a lane: against admissions, and for its removal against new tasks, too."""
    locked = Lane.objects.select_for_update(no_key=not for_removal, of=("self",))
    found = locked.select_related("tenant__lane_ceiling")
    return _require(found.filter(tenant=user.tenant_id, name=name).first())


def _require(lane: Lane | None) -> Lane:
    if lane is None:
        raise LaneNotFound("Lane not found")
    return lane


def _save(lane: Lane) -> None:
    try:
        with transaction.atomic():
            lane.save()
    except IntegrityError as error:
        is_host = "lane_host_once_per_tenant" in str(error)
        what = f"host {lane.host}" if is_host else f"name {lane.name}"
        raise LaneExists(f"There is a lane with the {what} already") from None


def _audited(lane: Lane) -> dict[str, Any]:
    return {name: getattr(lane, name) for name in _AUDITED}
