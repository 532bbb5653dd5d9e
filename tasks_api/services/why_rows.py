"""Read the rows that prove why a task fired or not: runs, gaps and audit entries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from accounts import audit
from accounts.models import AuditEntry
from accounts.services import name_in_audit
from scheduler_service.db import clock
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.ids import id_of_fire_time
from tasks_api.domain.states import BreakerState, RunState
from tasks_api.domain.why.facts import (
    DEED_WITHIN,
    SHORTEST_GAP,
    AttemptFacts,
    Deed,
    Facts,
    Gap,
    LaneFacts,
    LanePause,
    RunFacts,
    Substitute,
    TaskFacts,
    TenantMove,
)
from tasks_api.models import HeartbeatGap, Lane, Run, RunIdKey, Task

# Runs are looked for in the partitions of so many days around a moment.
DAYS_AROUND = timedelta(days=1)
# The newest attempts of a run that are read; cron jobs may have thousands.
MAX_ATTEMPTS = 30
MAX_GAPS = 50
MAX_DEEDS = 200
MAX_SUBSTITUTES = 5
# The newest pauses and resumes of a lane before a run was over.
MAX_LANE_CHANGES = 50
# The entries of the newest moves of a tenant, and their actions: the tenant lived again
# where it was, or where it had arrived.
MAX_MOVE_ENTRIES = 50
FREEZE, ENDS_OF_FREEZES = "tenant.freeze", ("tenant.thaw", "tenant.arrive")
# Schedules near a moment whose authors are read.
MAX_NEAR_PHASES = 5
# A run that holds another one began at most this long before it.
BLOCKER_WITHIN = timedelta(days=2)


def describe_task(task: Task) -> TaskFacts:
    return TaskFacts(
        task.pk,
        task.created_at,
        ended_at=task.ended_at,
        end_reason=task.end_reason,
        is_one_off=task.periodic_task.one_off,
        last_fire_at=task.last_fire_at,
        pause_reason=task.pause_reason,
        hold_reason=task.hold_reason,
        resume_at=task.resume_at,
        suspended=task.suspended,
        overlap=task.overlap,
        misfire=task.misfire,
        next_fire_at=task.first_open_fire_time,
        runs_left=task.runs_left,
    )


def find_run(task: Task, since: datetime, until: datetime) -> Run | None:
    """Return a run of the time, rather the one of the schedule than one by hand."""
    found = Run.objects.planned_between(
        since - DAYS_AROUND, until + DAYS_AROUND
    ).filter(task=task, scheduled_for__gte=since, scheduled_for__lt=until)
    return found.order_by("by_hand", "scheduled_for").first()


def find_cover(task: Task, moment: datetime) -> Run | None:
    """Return the run that stands for many missed fire times, this one among them."""
    found = Run.objects.planned_between(until=moment + DAYS_AROUND).filter(
        task=task, scheduled_for__lte=moment, covers_until__gte=moment
    )
    return found.first()


def describe_run(run: Run) -> RunFacts:
    newest = list(run.attempts.order_by("-number")[:MAX_ATTEMPTS])
    return RunFacts(
        run.pk,
        run.scheduled_for,
        RunState(run.state),
        run.reason,
        by_hand=run.by_hand,
        is_next=run.is_next,
        lost_count=run.lost_count,
        attempt_count=run.attempt_count,
        begun_at=run.first_started_at or run.started_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        wake_at=run.wake_at,
        covers_until=run.covers_until,
        redrive_of=run.redrive_of,
        attempts=tuple(
            AttemptFacts(
                each.number,
                each.started_at,
                each.duration_ms,
                each.status_code,
                each.error,
            )
            for each in reversed(newest)
        ),
        blocked_by=_find_blocker(run),
        backfilled_slot=run.slot if run.backfill_id is not None else None,
        lane=_describe_lane(run),
    )


def find_substitutes(
    task: Task, moment: datetime, run: Run | None
) -> tuple[Substitute, ...]:
    """Return the redrives and backfills that stand for a fire time, the newest first.

    A backfill names the id that the run of the fire time has, or would have.
    """
    key = bytes(RunIdKey.objects.get().key)
    ids = {id_of_fire_time(key, task.pk, moment, task.tenant_id)}
    if run is not None:
        ids.add(run.pk)
    found = Run.objects.filter(tenant=task.tenant_id, redrive_of__in=ids)
    rows = found.order_by("-pk").values_list("backfill_id", "pk", "state")
    return tuple(
        Substitute("redrive" if by is None else "backfill", run_id, RunState(state))
        for by, run_id, state in rows[:MAX_SUBSTITUTES]
    )


def _describe_lane(run: Run) -> LaneFacts | None:
    if run.lane_id is None:
        return None
    lane = Lane.objects.filter(pk=run.lane_id, tenant=run.tenant_id).first()
    if lane is None:
        return None
    return LaneFacts(
        lane.name,
        tuple(_read_pauses(lane, until=run.finished_at or clock.read())),
        is_broken=lane.breaker_state != BreakerState.CLOSED,
        breaker_until=lane.breaker_until,
        held_until=lane.held_until,
        slowdown=lane.slowdown,
    )


def _read_pauses(lane: Lane, *, until: datetime) -> Iterator[LanePause]:
    """Yield when the lane was paused, by the audit log; the oldest first."""
    entries = audit.find_entries(
        lane.tenant_id, action="lane.", object_id=lane.name, until=until
    )
    changes = entries.filter(action__in=["lane.pause", "lane.resume"])
    newest: list[AuditEntry] = list(changes[:MAX_LANE_CHANGES])
    oldest_first = newest[::-1]
    ends: list[datetime | None] = [entry.at for entry in oldest_first[1:]]
    for entry, ended_at in zip(oldest_first, [*ends, None], strict=False):
        if entry.action == "lane.pause":
            yield _pause_of(entry, ended_at)


def _pause_of(entry: AuditEntry, ended_at: datetime | None) -> LanePause:
    given = entry.changes or {}
    _, reason = given.get("reason", ("", ""))
    _, said = given.get("until", (None, None))
    ends = [each for each in (ended_at, said and datetime.fromisoformat(said)) if each]
    return LanePause(entry.at, min(ends, default=None), reason, _deed_of(entry))


def _find_blocker(run: Run) -> UUID | None:
    """Return the run of the task that was not over at the fire time of this one."""
    since = run.scheduled_for - BLOCKER_WITHIN
    until = run.scheduled_for + DAYS_AROUND
    earlier = Run.objects.planned_between(since, until).filter(
        task=run.task_id, scheduled_for__gte=since, scheduled_for__lt=run.scheduled_for
    )
    unfinished = Q(finished_at=None) | Q(finished_at__gte=run.scheduled_for)
    was_sent = earlier.filter(unfinished).exclude(started_at=None)
    return was_sent.order_by("-scheduled_for").values_list("pk", flat=True).first()


def read_gaps(facts: Facts) -> list[Gap]:
    run = facts.run
    since, until = facts.moment, facts.now
    if run is not None and run.finished_at is not None:
        until = run.finished_at
    over = Q(ended_at__gte=since)
    long_open = Q(ended_at=None) & (
        Q(kind=HeartbeatGap.Kind.BROKER) | Q(began_at__lt=facts.now - SHORTEST_GAP)
    )
    rows = HeartbeatGap.objects.filter(over | long_open, began_at__lte=until)
    return [
        Gap(row.kind, row.began_at, row.ended_at, row.is_survived, row.is_restart)
        for row in rows.order_by("began_at")[:MAX_GAPS]
    ]


def read_moves(task: Task, facts: Facts) -> tuple[TenantMove, ...]:
    """Read when the tenant was frozen, by its audit log; the oldest first."""
    entries = audit.find_entries(task.tenant_id, action="tenant.", until=facts.now)
    changes = entries.filter(action__in=[FREEZE, *ENDS_OF_FREEZES])
    newest: list[AuditEntry] = list(changes[:MAX_MOVE_ENTRIES])
    oldest_first = newest[::-1]
    following: list[AuditEntry | None] = [*oldest_first[1:], None]
    return tuple(
        _move_of(entry, ended)
        for entry, ended in zip(oldest_first, following, strict=False)
        if entry.action == FREEZE
    )


def _move_of(entry: AuditEntry, ended: AuditEntry | None) -> TenantMove:
    deeds = tuple(_deed_of(each) for each in (entry, ended) if each is not None)
    return TenantMove(entry.at, None if ended is None else ended.at, deeds)


def _deed_of(row: AuditEntry) -> Deed:
    return Deed(row.pk, row.at, row.actor, row.via, row.action)


def read_deeds(task: Task, facts: Facts) -> list[Deed]:
    """Read who changed the task, at the moments that count."""
    near = Q(pk__in=[])
    for at in _moments_of_changes(facts):
        near |= Q(at__range=(at - DEED_WITHIN, at + DEED_WITHIN))
    own = audit.find_entries(task.tenant_id, object_id=str(task.pk))
    of_user = audit.find_entries(
        task.tenant_id, action="user.deactivate", object_id=name_in_audit(task.owner)
    )
    of_calendars = audit.find_entries(task.tenant_id, action="calendar.change")
    names = _names_of_calendars(facts)
    rows: list[AuditEntry] = [
        *own.filter(near)[:MAX_DEEDS],
        *of_user.filter(near)[:MAX_DEEDS],
    ]
    if names:
        of_these = of_calendars.filter(near, object_id__in=names)
        rows += of_these[:MAX_DEEDS]
    return [_deed_of(row) for row in rows]


def _names_of_calendars(facts: Facts) -> set[str]:
    rules = [
        phase.schedule.rules
        for phase in facts.phases
        if isinstance(phase.schedule, OnCalendars)
    ]
    lists = (days for each in rules for days in (each.exclude, each.only, each.hold))
    return {calendar.name for days in lists for calendar in days}


def _moments_of_changes(facts: Facts) -> set[datetime]:
    nearest = sorted(facts.phases, key=lambda each: abs(each.since - facts.moment))
    found = {each.since for each in nearest[: 2 * MAX_NEAR_PHASES]}
    found |= {each.until for each in nearest[:MAX_NEAR_PHASES] if each.until}
    found |= {facts.task.created_at}
    more = [facts.task.ended_at]
    if facts.written_by is not None:
        more.append(facts.written_by.since)
    if facts.run is not None:
        more.append(facts.run.finished_at)
    return found | {at for at in more if at is not None}
