"""Turn due tasks into runs. The heart of the scheduler.

Any number of processes may do so at once: rows that another one holds are skipped,
and the constraint on (task, scheduled_for) makes a second run impossible. The clock is
the database's, so a process whose own clock is off fires neither early nor twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain import schedules
from tasks_api.domain.exceptions import ScheduleError, reason_of
from tasks_api.domain.ids import KEY, free_id_of_fire_time, id_of_fire_time
from tasks_api.domain.specs import Misfire, Overlap
from tasks_api.domain.states import RING_AGAIN, RunState
from tasks_api.metrics import counters
from tasks_api.storage import beat_tables, run_rows, schedule_changes

logger = logging.getLogger(__name__)

# Rows in one claim: enough to make a statement's cost small, few enough to hold the
# locks for some tens of milliseconds only.
BATCH = 1000
# In how many parts a flood follows what workers have begun of it.
REFILLS = 5
# Seconds of computing in one claim. Less than the look-ahead, so that what waits for its
# commit is not late.
TIME_TO_COMPUTE = 0.25
# Beyond so many, catching up is likelier to hurt the target than to help anybody.
MOST_MADE_UP = 100


class _DueTask(NamedTuple):
    task_id: UUID
    tenant_id: int
    periodic_task_id: int
    next_fire_at: datetime
    last_fire_at: datetime | None
    # Whether somebody changed its schedule and did not say so.
    is_edited: bool
    overlap: str
    misfire: str
    catchup_window: int | None
    surface: str
    now: datetime
    run_key: bytes
    stored: beat_tables.StoredSchedule

    @property
    def grace(self) -> timedelta | None:
        """How late a fire time may be and still run; None is however late."""
        late = settings.SCHEDULER_MISFIRE_GRACE
        if self.misfire == Misfire.SKIP:
            return timedelta(seconds=late)
        if self.catchup_window is None:
            return None
        return timedelta(seconds=max(late, self.catchup_window))

    @property
    def most(self) -> int:
        """How many fire times that passed are made up for."""
        return MOST_MADE_UP if self.misfire == Misfire.ALL else 1


class _Move(NamedTuple):
    """How dispatch leaves a task; the order is that of _move()'s columns."""

    task_id: UUID
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    pause_reason: str


class Dispatched(NamedTuple):
    """What one claim did: the runs to ring for, and whether more may be waiting."""

    run_ids: list[UUID]
    is_full: bool


NOTHING = Dispatched([], is_full=False)


@transaction.atomic(durable=True)
def dispatch_due(*, limit: int = BATCH, since: datetime | None = None) -> Dispatched:
    """Make a run for every task that is due, and move each to its next fire time.

    Looks a little ahead, so that the message is at a worker when the moment comes. Not
    for tasks whose runs must not overlap: only at the moment itself is it known whether
    the last one is over. What is due before `since` is left alone.
    """
    shares = _shares(limit, since) if _is_crowded(limit, since) else None
    if shares == []:
        # Whoever has something due has enough that waits. Workers first.
        return Dispatched([], is_full=False)
    locked = _fire_plain(limit, shares, since=since)
    others = _fire_others(locked.others, limit=limit)
    is_full = locked.due == limit if shares is None else locked.due > 0
    return Dispatched(
        locked.run_ids + others.run_ids, is_full=is_full or others.is_full
    )


def due_ids(limit: int) -> list[UUID]:
    """The tasks that are due, the earliest first, whoever has them in hand."""
    with prepared() as cursor:
        cursor.execute(
            _from(None, _DUE_IDS).replace("{limit}", str(limit)),
            {"look_ahead": settings.SCHEDULER_LOOK_AHEAD},
        )
        return [task_id for (task_id,) in cursor.fetchall()]


@transaction.atomic(durable=True)
def dispatch_one(task_id: UUID) -> list[UUID]:
    """Do for one task, if it is due, what dispatch_due() does for many."""
    locked = _fire_plain(1, task_id=task_id)
    return locked.run_ids + _fire_others(locked.others, limit=BATCH).run_ids


def _fire_others(tasks: Sequence[_DueTask], *, limit: int) -> Dispatched:
    """Fire what needs more thought than a statement has; full if there was no time for all.

    What there was no time for stays as it is, and due.
    """
    if not tasks:
        return NOTHING
    moves, runs, left = [], [], 0
    edited = [task.task_id for task in tasks if task.is_edited]
    edited_at = (
        schedule_changes.close(edited, schedule_changes.What.EDITED) if edited else None
    )
    time_left = _TimeLeft(task.tenant_id for task in tasks)
    for task in tasks:
        if not task.is_edited and not time_left.has(task.tenant_id):
            left += 1
            continue
        with time_left.taken_by(task.tenant_id):
            move, made = _fire(task, limit=limit, edited_at=edited_at)
        moves.append(move)
        runs.extend(made)
    runs = run_rows.with_free_ids(runs)
    made_run_ids, moved_up = run_rows.insert(runs, now=tasks[0].now)
    broken = {move.task_id for move in moves if move.pause_reason}
    if broken := broken.difference(edited):
        schedule_changes.close(broken, schedule_changes.What.BROKEN)
    beat_tables.follow(
        [(task.task_id, task.stored) for task in tasks if task.is_edited]
    )
    _move(moves)
    _count(_fired(tasks, runs, set(made_run_ids)))
    waiting = {run.run_id for run in runs if run.is_next}
    ringing = [run_id for run_id in made_run_ids if run_id not in waiting] + moved_up
    return Dispatched(ringing, is_full=left > 0)


class _TimeLeft:
    """Shares the time for computing in one claim among the tenants in it.

    The claim holds rows of all of them, so none may make the others wait. Each computes
    at least once.
    """

    def __init__(self, tenant_ids: Iterable[int]) -> None:
        tenants = set(tenant_ids)
        self._left = dict.fromkeys(tenants, TIME_TO_COMPUTE / len(tenants))

    def has(self, tenant_id: int) -> bool:
        return self._left[tenant_id] > 0

    @contextmanager
    def taken_by(self, tenant_id: int) -> Iterator[None]:
        # Of this thread alone: a busy machine takes no time away from anybody.
        before = time.thread_time()
        yield
        self._left[tenant_id] -= time.thread_time() - before


def _fired(
    tasks: Sequence[_DueTask], runs: Sequence[run_rows.NewRun], made: set[UUID]
) -> list[tuple[int, datetime]]:
    """Which schedules ran, and when; a one-off is counted when it is over."""
    recurring = {task.task_id: task for task in tasks if not task.stored.is_one_off}
    return [
        (task.periodic_task_id, max(run.scheduled_for, task.now))
        for run in runs
        if run.run_id in made and (task := recurring.get(run.task_id))
    ]


class _Locked(NamedTuple):
    """What one statement did with the tasks that are due."""

    due: int
    run_ids: list[UUID]
    # Those that it left for us, locked.
    others: list[_DueTask]


class _Share(NamedTuple):
    """How many due tasks of a tenant one claim may take."""

    tenant_id: int
    most: int


# Begins an index where the caller knows that nothing lies before, but for what is dead.
_SINCE = "AND task.next_fire_at >= %(since)s::timestamptz"


def _from(since: datetime | None, statement: str) -> str:
    return statement.replace("{since}", "" if since is None else _SINCE)


def _is_crowded(limit: int, since: datetime | None) -> bool:
    """Whether more is due than one claim takes, so that tenants must share it."""
    with prepared() as cursor:
        cursor.execute(
            _from(since, _CROWD).replace("{limit}", str(limit)),
            {"look_ahead": settings.SCHEDULER_LOOK_AHEAD, "since": since},
        )
        return cursor.fetchone() is not None


_CROWD = """
    SELECT FROM tasks_api_task task
    WHERE next_fire_at <= now() + make_interval(secs => %(look_ahead)s) {since}
    ORDER BY next_fire_at OFFSET {limit} LIMIT 1
"""


_ROOMS = """
    WITH waiting AS (
        SELECT tenant_id, count(*) AS runs FROM tasks_api_run
        WHERE wake_at IS NOT NULL AND state = 'pending'
        GROUP BY tenant_id
    )
    SELECT tenant.id, %(most)s - coalesce(waiting.runs, 0)
    FROM accounts_tenant tenant LEFT JOIN waiting ON waiting.tenant_id = tenant.id
    WHERE EXISTS (
            SELECT FROM tasks_api_task task
            WHERE task.tenant_id = tenant.id AND task.next_fire_at
                <= now() + make_interval(secs => %(look_ahead)s) {since})
        AND coalesce(waiting.runs, 0) <= %(most)s - %(least)s
"""


def _shares(limit: int, since: datetime | None) -> list[_Share]:
    """The claim in equal parts among the tenants with something due.

    No part is larger than what its tenant may still have waiting: the rest of a flood
    stays in the tables, and neither the broker nor the workers are full of it. Nor is it
    small while much waits, because to count what waits costs as much as to fire hundreds.
    """
    with prepared() as cursor:
        cursor.execute(
            _from(since, _ROOMS),
            {
                "since": since,
                "most": settings.SCHEDULER_MAX_WAITING,
                "least": max(1, settings.SCHEDULER_MAX_WAITING // REFILLS),
                "look_ahead": settings.SCHEDULER_LOOK_AHEAD,
            },
        )
        rooms = cursor.fetchall()
    part = max(1, limit // max(1, len(rooms)))
    return [_Share(tenant_id, min(part, room)) for tenant_id, room in rooms]


def _fire_plain(
    limit: int,
    shares: Sequence[_Share] | None = None,
    *,
    since: datetime | None = None,
    task_id: UUID | None = None,
) -> _Locked:
    """Lock what is due, and fire at once what is plain.

    Plain are one-offs, and intervals of seconds of which a single fire time is due, and
    whose runs need not wait in line. That is nearly all of them, nearly always, so it is
    worth a statement that does without us. It decides as schedules.due() does; a test
    compares the two.
    """
    statement = _FIRE_EARLIEST if shares is None else _FIRE_SHARES
    if task_id is not None:
        statement = _FIRE_ONE
    with prepared() as cursor:
        cursor.execute(
            _from(since, statement).replace("{limit}", str(limit)),
            {
                "since": since,
                "task": task_id,
                "tenants": array(share.tenant_id for share in shares or ()),
                "shares": array(share.most for share in shares or ()),
                "look_ahead": settings.SCHEDULER_LOOK_AHEAD,
                "end_grace": schedules.END_GRACE.total_seconds(),
                "ring_again": RING_AGAIN.total_seconds(),
            },
        )
        rows = cursor.fetchall()
    others = [
        _DueTask._make([*row[2:14], beat_tables.StoredSchedule._make(row[14:])])
        for row in rows
        if row[2] is not None
    ]
    run_ids = [row[0] for row in rows if row[0] is not None]
    skipped = sum(row[1] for row in rows)
    counters.MADE.inc(len(run_ids) + skipped)
    counters.RUNS.labels(RunState.SKIPPED).inc(skipped)
    return _Locked(len(rows), run_ids, others)


_IS_DUE = """
    task.next_fire_at <= now() + make_interval(secs => %(look_ahead)s) {since}
        AND (task.overlap = 'allow' OR task.next_fire_at <= now())
"""
_EARLIEST = f"{_IS_DUE} ORDER BY task.next_fire_at LIMIT {{limit}}"
_DUE_IDS = f"SELECT task.id FROM tasks_api_task task WHERE {_EARLIEST}"  # noqa: S608 (a constant)
_CHOSEN = "task.id IN (SELECT id FROM chosen)"
# The earliest of each tenant, as many as its share is, and those alone that no other
# beat has. The limit tells the planner how few they are, or it reads all tasks for them.
_CHOOSE = f"""
    chosen AS MATERIALIZED (
        SELECT of_tenant.id
        FROM unnest(%(tenants)s::bigint[], %(shares)s::int[]) AS share(tenant_id, most)
        CROSS JOIN LATERAL (
            SELECT task.id FROM tasks_api_task task
            WHERE task.tenant_id = share.tenant_id AND {_IS_DUE}
            ORDER BY task.next_fire_at LIMIT share.most
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS of_tenant
        LIMIT {{limit}}
    ),
"""  # noqa: S608 (a constant)
# A fire time whose run exists already, because a database was restored for instance, is
# moved past and not counted. A one-off is counted when it is over, with the same write
# that disables it. Whether a run would overlap is for the constraint to say.
_FIRE = f"""
    WITH {{chosen}} due AS MATERIALIZED (
        SELECT task.id, task.tenant_id, task.periodic_task_id, task.next_fire_at,
            task.last_fire_at, NOT {beat_tables.IS_FOLLOWED} AS is_edited, task.overlap,
            task.misfire, task.catchup_window, task.surface, now() AS at, {KEY} AS run_key,
            {beat_tables.COLUMNS},
            task.overlap IN ('allow', 'skip')
                -- As far as it is in time anyway, this is for nobody to decide.
                AND task.next_fire_at >= now() - make_interval(secs => CASE
                    WHEN task.misfire = 'skip' THEN 1 ELSE task.catchup_window END)
                    IS NOT false AS is_undisputed
        FROM tasks_api_task task {beat_tables.JOINS}
        WHERE {{due}}
        FOR NO KEY UPDATE OF task SKIP LOCKED
    ), plain AS MATERIALIZED (
        SELECT id, tenant_id, periodic_task_id, next_fire_at,
            CASE WHEN upcoming <= ends_at OR ends_at IS NULL THEN upcoming END AS upcoming,
            is_one_off, overlap = 'skip' AS is_exclusive
        FROM due, LATERAL (SELECT CASE WHEN NOT is_one_off
            THEN next_fire_at + make_interval(secs => interval_every) END AS upcoming) AS grid
        WHERE is_undisputed AND NOT is_edited AND CASE
            WHEN once_at IS NOT NULL THEN is_one_off
            WHEN interval_period = 'seconds' THEN NOT is_one_off AND interval_every > 0
                AND extract(epoch FROM next_fire_at - coalesce(starts_at, created_at))
                    %% interval_every = 0
                AND upcoming > at AND upcoming < '9999-01-01'
                AND (ends_at IS NULL OR at <= ends_at + make_interval(secs => %(end_grace)s))
            ELSE false END
    ), made AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            wake_at, exclusive, attempt_count, lost_count)
        SELECT {{id}}, id, tenant_id, next_fire_at, 'pending', '',
            greatest(next_fire_at, now()) + make_interval(secs => %(ring_again)s),
            is_exclusive, 0, 0
        FROM plain
        ON CONFLICT DO NOTHING
        RETURNING id, task_id, scheduled_for
    ), skipped AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            finished_at, exclusive, attempt_count, lost_count)
        SELECT {{id}}, id, tenant_id, next_fire_at, 'skipped', '{run_rows.UNFINISHED}', now(),
            true, 0, 0
        FROM plain WHERE is_exclusive
            AND NOT EXISTS (SELECT FROM made WHERE made.task_id = plain.id)
        ON CONFLICT DO NOTHING
        RETURNING task_id
    ), moved AS (
        UPDATE tasks_api_task task SET
            next_fire_at = plain.upcoming, last_fire_at = plain.next_fire_at,
            pause_reason = ''
        FROM plain WHERE task.id = plain.id
    ), counted AS (
        UPDATE django_celery_beat_periodictask periodic SET
            last_run_at = greatest(made.scheduled_for, now()),
            total_run_count = total_run_count + 1
        FROM made JOIN plain ON plain.id = made.task_id AND NOT plain.is_one_off
        WHERE periodic.id = plain.periodic_task_id
    )
    SELECT made.id, skipped.task_id IS NOT NULL, other.* FROM due
    LEFT JOIN plain ON plain.id = due.id
    LEFT JOIN made ON made.task_id = plain.id
    LEFT JOIN skipped ON skipped.task_id = plain.id
    LEFT JOIN LATERAL (
        SELECT due.id, due.tenant_id, due.periodic_task_id, due.next_fire_at,
            due.last_fire_at, due.is_edited, due.overlap, due.misfire,
            due.catchup_window, due.surface, due.at, due.run_key,
            {", ".join(f"due.{name}" for name in beat_tables.StoredSchedule._fields)}
        WHERE plain.id IS NULL
    ) AS other ON true
""".replace(  # noqa: S608 (constants of ours)
    "{id}",
    free_id_of_fire_time(
        moment="next_fire_at", tenant_id="tenant_id", task_id="plain.id"
    ),
)
_FIRE_EARLIEST = _FIRE.replace("{chosen}", "").replace("{due}", _EARLIEST)
_FIRE_ONE = _FIRE.replace("{chosen}", "").replace(
    "{due}", f"task.id = %(task)s::uuid AND {_IS_DUE}"
)
_FIRE_SHARES = _FIRE.replace("{chosen}", _CHOOSE).replace("{due}", _CHOSEN)


def _fire(
    task: _DueTask, *, limit: int, edited_at: datetime | None
) -> tuple[_Move, list[run_rows.NewRun]]:
    """Decide what one due task does: fire, catch up, follow an edit, or pause."""
    try:
        if edited_at and task.is_edited:
            upcoming = beat_tables.first_fire(
                task.stored,
                now=edited_at,
                last_fire_at=task.last_fire_at,
                surface=task.surface,
            )
            return _moved(task, upcoming, task.last_fire_at), []
        schedule = beat_tables.schedule_from(task.stored)
        beat_tables.refuse_too_often(schedule)
        if found := schedules.crowd(
            schedule, task.next_fire_at, task.now, spare=task.most
        ):
            return _passed_over(task, schedule, found)
        due = schedules.due(
            schedule,
            since=task.next_fire_at,
            now=task.now,
            limit=limit,
            grace=task.grace,
            most=task.most,
        )
    except Exception as error:
        # Whatever it is, it must not hold up everybody else's.
        reason, is_foreseen = reason_of(error), isinstance(error, ScheduleError)
        ids = {"task_id": task.task_id, "tenant_id": task.tenant_id}
        cause = None if is_foreseen else error
        logger.warning("The task pauses: %s", reason, extra=ids, exc_info=cause)
        return _moved(task, None, task.last_fire_at, reason), []
    upcoming = None if task.stored.is_one_off and due.fires else due.next_fire_at
    runs = [_missed(task, moment, reason) for moment, reason in due.missed]
    runs += [_pending(task, moment) for moment in due.fires]
    last = due.fires[-1] if due.fires else due.missed[-1].moment
    return _moved(task, upcoming, last), runs


def _passed_over(
    task: _DueTask, schedule: schedules.Schedule, crowd: schedules.Crowd
) -> tuple[_Move, list[run_rows.NewRun]]:
    """Write down a crowd of fire times as one run; what is left of them comes next."""
    why = schedules.why_missed(schedule, crowd.first, task.now, task.grace, task.most)
    run = _missed(task, crowd.first, crowd.reason(why))
    upcoming = schedules.first_after(schedule, crowd.last)
    return _moved(task, upcoming, crowd.last), [run._replace(covers_until=crowd.last)]


def _moved(
    task: _DueTask,
    next_fire_at: datetime | None,
    last_fire_at: datetime | None,
    pause_reason: str = "",
) -> _Move:
    return _Move(task.task_id, next_fire_at, last_fire_at, pause_reason)


def _pending(task: _DueTask, moment: datetime) -> run_rows.NewRun:
    wake_at = max(moment, task.now) + RING_AGAIN
    if task.overlap == Overlap.QUEUE_ONE:
        # Each begins as the next one, and moves up if none is before it.
        run = _new_run(
            task, moment, RunState.PENDING, reason=run_rows.WAITS, wake_at=wake_at
        )
        return run._replace(exclusive=False, is_next=True)
    return _new_run(task, moment, RunState.PENDING, wake_at=wake_at)


def _missed(task: _DueTask, moment: datetime, reason: str) -> run_rows.NewRun:
    return _new_run(task, moment, RunState.MISSED, reason=reason, finished_at=task.now)


def _new_run(
    task: _DueTask,
    moment: datetime,
    state: RunState,
    *,
    reason: str = "",
    wake_at: datetime | None = None,
    finished_at: datetime | None = None,
) -> run_rows.NewRun:
    return run_rows.NewRun(
        id_of_fire_time(task.run_key, task.task_id, moment, task.tenant_id),
        task.task_id,
        task.tenant_id,
        moment,
        state,
        reason,
        wake_at,
        finished_at,
        exclusive=task.overlap != Overlap.ALLOW,
        is_next=False,
    )


def _move(moves: Sequence[_Move]) -> None:
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_task task SET
                next_fire_at = move.next_fire_at, last_fire_at = move.last_fire_at,
                pause_reason = move.pause_reason
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[])
                AS move(id, next_fire_at, last_fire_at, pause_reason)
            WHERE task.id = move.id
            """,
            columns(moves),
        )
    broken = [move.task_id for move in moves if move.pause_reason]
    beat_tables.set_enabled(broken, False)


def _count(fired: Sequence[tuple[int, datetime]]) -> None:
    """Keep what the admin shows of a schedule current: when it last ran, how often."""
    if not fired:
        return
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE django_celery_beat_periodictask periodic SET
                last_run_at = fired.at, total_run_count = total_run_count + fired.runs
            FROM (
                SELECT id, max(at) AS at, count(*) AS runs
                FROM unnest(%s::int[], %s::timestamptz[]) AS run(id, at) GROUP BY id
            ) AS fired
            WHERE periodic.id = fired.id
            """,
            columns(fired),
        )
