"""The statement that takes due tasks decides as Python does, and both as a schedule says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain import schedules
from tasks_api.domain.ids import moment_of, tenant_bits
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import Cron, Interval, Once, Schedule
from tasks_api.domain.specs import Misfire, Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import tasks
from tasks_api.taking import due_tasks, following
from tasks_api.taking.room import BATCH_SIZE
from tests.integration.support.due_schedules import (
    KINDS,
    PLAIN_OF_KIND,
    Comparison,
    one_transaction,
)
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    ids_of,
    take_due,
)

pytestmark = pytest.mark.django_db(transaction=True)

INSTANT = timedelta(microseconds=1)
FIRST = datetime(2026, 11, 1)  # noqa: DTZ001 (a local time)


PLANS: list[Callable[[datetime], Schedule]] = [
    lambda now: Once(now),
    lambda now: Once(now - 40 * 24 * HOUR),
    lambda now: Once(now + SECOND / 2),
    lambda now: Interval(now, HOUR),
    lambda now: Interval(now + SECOND / 2, HOUR),
    lambda now: Interval(now - HOUR + INSTANT, HOUR),
    lambda now: Interval(now - HOUR - SECOND, HOUR),
    lambda now: Interval(now - 30 * HOUR, 7 * SECOND),
    lambda now: Interval(now, SECOND),
    lambda now: Interval(now, HOUR, now),
    lambda now: Interval(now - 7 * SECOND, HOUR, now - 7 * SECOND, 7 * SECOND),
    lambda now: Interval(now - HOUR, HOUR, offset=9 * SECOND),
    lambda now: Interval(now - HOUR - 30 * SECOND, HOUR, now, 15 * SECOND),
    lambda now: Interval(now, HOUR, now + HOUR),
    lambda now: Interval(now, HOUR, now + HOUR - INSTANT),
    lambda now: Interval(now - 9 * SECOND, 3 * SECOND, now),
    lambda now: Interval(now - HOUR, HOUR, now - SECOND),
    lambda now: Interval(now - HOUR, 2 * HOUR, now - 3 * SECOND),
    lambda now: Interval(now, timedelta(days=20_000)),
    lambda now: Interval(now, timedelta(seconds=2**31 - 1)),
    lambda _: Interval(datetime(9990, 1, 1, tzinfo=UTC), HOUR),
    lambda _: Cron("* * * * *"),
    lambda _: Cron("* * * * *", seconds="*"),
    lambda _: Cron("* * * * *", offset=3 * SECOND),
    lambda _: Recurrence("FREQ=MINUTELY", FIRST),
    lambda _: Recurrence("FREQ=MINUTELY;BYSECOND=0,30", FIRST, offset=3 * SECOND),
    lambda now: Recurrence("FREQ=HOURLY", FIRST, "Europe/Berlin", end=now),
    lambda now: AnyOf((Interval(now, HOUR), Cron("* * * * *"))),
    lambda now: AnyOf((Interval(now - HOUR, HOUR), Once(now)), offset=3 * SECOND),
    lambda now: AnyOf((Interval(now - HOUR, 7 * SECOND), Once(now - SECOND)), end=now),
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("misfire", "window"),
    [(misfire, None) for misfire in Misfire] + [(Misfire.LATEST, 10)],
)
def test_a_due_task_is_decided_as_its_schedule_says(
    user: User,
    plan: Callable[[datetime], Schedule],
    misfire: Misfire,
    window: int | None,
) -> None:
    now = timezone.now()
    schedule = plan(now)
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", misfire=misfire)
    spec = replace(spec, catchup_window=window)
    task = tasks.create_task(user, spec, now=now - 100 * HOUR)
    # Of what recurs, some thousands of fire times at most: more would be one run.
    since = schedule.first_from(now - (960 if isinstance(schedule, Once) else 2) * HOUR)
    Task.objects.filter(pk=task.pk).update(next_fire_at=since)
    following.plan([task.pk])

    before = clock.read()
    found = take_due()
    after = clock.read()

    # The statement's own moment lies between the two.
    grace = None if window is None else timedelta(seconds=window)
    if misfire == Misfire.SKIP:
        grace = timedelta(seconds=settings.SCHEDULER_MISFIRE_GRACE)
    most = 100 if misfire == Misfire.ALL else 1
    assert since is not None
    possible: list[
        tuple[tuple[datetime, ...], tuple[datetime, ...], datetime | None]
    ] = []
    for at in (before, after):
        if since > at:
            possible.append(((), (), since))
            continue
        due = schedules.sort_due(
            schedule,
            since=since,
            now=at,
            limit=BATCH_SIZE,
            grace=grace,
            most=most,
        )
        is_over = isinstance(schedule, Once) and due.fires
        upcoming = None if is_over else due.next_fire_at
        possible.append((tuple(m.moment for m in due.missed), due.fires, upcoming))
    runs = Run.objects.filter(task=task).order_by("scheduled_for")
    missed = tuple(run.scheduled_for for run in runs.filter(state=RunState.MISSED))
    fired = list(runs.filter(state=RunState.RUNNING))
    fires = tuple(run.scheduled_for for run in fired)
    task.refresh_from_db()
    assert (missed, fires, task.next_fire_at) in possible
    assert set(ids_of(found)) == {run.pk for run in fired}
    for run in fired:
        assert run.pk.version == 7
        moment = int(run.scheduled_for.timestamp() * 1000) / 1000
        assert abs(moment_of(run.pk) - moment) <= 0.001
        assert tenant_bits(run.pk) == run.tenant_id


@pytest.mark.parametrize("seed", range(4))
def test_the_statement_decides_as_python_does(
    user: User, stranger: User, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_tasks, "MAX_COMPUTE_SECONDS", 60.0)
    monkeypatch.setattr(following, "MAX_COMPUTE_SECONDS", 60.0)
    # Both ways decide at the same instant, to which the schedules are set.
    with one_transaction() as now:
        comparison = Comparison(user, stranger, seed, now)
        comparison.take()

        assert comparison.find_differences() == []
        # Each kind has some of both. How many more need no Python depends on the moment.
        for kind in KINDS:
            plain, disputed = comparison.count_plain(kind)
            assert plain >= PLAIN_OF_KIND, (kind, plain, disputed)
            assert disputed > 5, (kind, plain, disputed)
