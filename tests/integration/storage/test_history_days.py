"""Days of history are made ahead, take the runs that are over, and are dropped in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from accounts.services import configure_tenant, provision_user
from tasks_api import tasks
from tasks_api.domain.ids import id_for
from tasks_api.domain.states import LATE_AFTER, RunState, Stage
from tasks_api.models import Attempt, FurtherAttempt, Run, Task
from tasks_api.services.runs import RunFilter, list_runs
from tasks_api.storage import partitions, retention
from tests.integration.support.old_rows import (
    DAY,
    ended_task,
    periodic_task,
    prune_all,
)

pytestmark = pytest.mark.django_db(transaction=True)

# A day that is past the usual retention of 30 days, and waits to be dropped no more.
LONG_OVER = 33 * DAY


def midnight(ago: timedelta) -> datetime:
    moment = timezone.now() - ago
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def _usual_days(transactional_db: None) -> None:
    """Make the days around today, which other tests may have dropped."""
    partitions.make_days(now=timezone.now())


@pytest.fixture
def days() -> Iterator[None]:
    """The days of the last two months, dropped again for the tests that need none."""
    tables = {day.table for day in both_kinds()}
    partitions.make_days(now=timezone.now(), since=midnight(60 * DAY))
    yield
    with connection.cursor() as cursor:
        for day in both_kinds():
            if day.table not in tables:
                cursor.execute(f"DROP TABLE {day.table}")
    partitions.make_days(now=timezone.now())


def both_kinds() -> list[partitions.Day]:
    return [
        day
        for parent in (partitions.RUNS, partitions.ATTEMPTS)
        for day in partitions.list_days(parent)
    ]


def over_run(
    task: Task,
    at: datetime,
    *,
    took: timedelta = timedelta(),
    attempts: int = 1,
    stage: Stage | None = None,
) -> Run:
    is_late = took > LATE_AFTER
    run = Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        state=RunState.SUCCEEDED,
        finished_at=at + took,
        stage=stage or (Stage.LATE if is_late else Stage.OVER),
        attempt_count=attempts,
        first_started_at=at,
        first_duration_ms=1,
    )
    for number in range(2, attempts + 1):
        FurtherAttempt.objects.create(
            tenant=task.tenant,
            run_id=run.pk,
            number=number,
            started_at=at,
            duration_ms=1,
        )
    return run


def table_of(run: Run) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM tasks_api_run WHERE id = %s", [run.pk]
        )
        [table] = cursor.fetchone()
    return str(table)


def has_day(at: datetime) -> bool:
    return at in {day.since for day in partitions.list_days(partitions.RUNS)}


def test_days_are_made_ahead_once(db: None) -> None:
    now = timezone.now()
    assert partitions.count_days_ahead(now=now) >= partitions.DAYS_AHEAD

    partitions.make_days(now=now + 20 * DAY)
    before = both_kinds()
    partitions.make_days(now=now + 20 * DAY)

    assert both_kinds() == before
    assert has_day(midnight(-20 * DAY))
    # No day was made for the time between, so the count ends there.
    assert partitions.count_days_ahead(now=now) < 18
    with connection.cursor() as cursor:
        for day in before:
            if day.since > now + 10 * DAY:
                cursor.execute(f"DROP TABLE {day.table}")


def test_several_workers_make_the_same_days(db: None) -> None:
    now = timezone.now() + 40 * DAY
    together = threading.Barrier(3)

    def work() -> None:
        together.wait()
        try:
            partitions.make_days(now=now)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    partitions.make_days(now=now)

    made = [day for day in both_kinds() if day.since > timezone.now() + 30 * DAY]
    assert len(made) == 2 * (partitions.DAYS_AHEAD + 2)
    with connection.cursor() as cursor:
        for day in made:
            cursor.execute(f"DROP TABLE {day.table}")


def test_a_run_without_a_day_is_stored_all_the_same(user: User) -> None:
    at = midnight(-50 * DAY)
    run = over_run(periodic_task(user), at)

    assert table_of(run) == "tasks_api_run_over_other"
    # Its day cannot be made any more, which stops none of the other days.
    partitions.make_days(now=at)
    assert not has_day(at)
    assert has_day(at + DAY)
    with connection.cursor() as cursor:
        for day in both_kinds():
            if day.since > timezone.now() + 30 * DAY:
                cursor.execute(f"DROP TABLE {day.table}")


@pytest.mark.usefixtures("days")
def test_a_day_is_dropped_with_its_runs_and_attempts(user: User) -> None:
    task, at = periodic_task(user), midnight(LONG_OVER)
    for hour in range(5):
        over_run(task, at + hour * timedelta(hours=1), attempts=3)
    kept = over_run(task, timezone.now() - 2 * DAY, attempts=2)

    gone = prune_all()

    assert gone["run"] == 5
    assert not has_day(at)
    assert at not in {day.since for day in both_kinds()}
    assert [run.pk for run in Run.objects.all()] == [kept.pk]
    assert {attempt.run_id for attempt in Attempt.objects.all()} == {kept.pk}


@pytest.mark.usefixtures("days")
def test_a_day_waits_until_none_of_its_runs_need_be_kept(user: User) -> None:
    at = midnight(31 * DAY)
    run = over_run(periodic_task(user), at + DAY - timedelta(minutes=1))
    ends = at + DAY + LATE_AFTER + 30 * DAY

    retention.prune(now=ends - timedelta(seconds=1), pause=lambda _: False)
    assert Run.objects.filter(pk=run.pk).exists()
    retention.prune(now=ends, pause=lambda _: False)

    assert not Run.objects.exists()


@pytest.mark.usefixtures("days")
def test_a_late_run_outlives_its_day_with_its_attempts(user: User) -> None:
    task, at = periodic_task(user), midnight(LONG_OVER)
    over_run(task, at, attempts=2)
    late = over_run(task, at + timedelta(hours=1), took=20 * DAY, attempts=4)

    prune_all()

    assert not has_day(at)
    assert [run.pk for run in Run.objects.all()] == [late.pk]
    assert late.attempts.count() == 4
    retention.prune(now=timezone.now() + 30 * DAY, pause=lambda _: False)
    assert not Run.objects.exists()
    assert not FurtherAttempt.objects.exists()
    assert at not in {day.since for day in both_kinds()}


@pytest.mark.usefixtures("days")
def test_a_tenant_that_keeps_its_runs_for_longer_keeps_the_day(
    user: User, stranger: User
) -> None:
    configure_tenant("Beta", retention_days=365)
    at = midnight(LONG_OVER)
    own = over_run(periodic_task(user), at, attempts=2)
    kept = over_run(periodic_task(stranger), at, attempts=2)
    # A day without runs of theirs is dropped.
    over_run(periodic_task(user), at - DAY)

    assert prune_all()["run"] == 2

    assert has_day(at)
    assert not has_day(at - DAY)
    assert [run.pk for run in Run.objects.all()] == [kept.pk]
    assert {each.run_id for each in FurtherAttempt.objects.all()} == {kept.pk}
    assert own.pk != kept.pk


@pytest.mark.usefixtures("days")
def test_a_shorter_retention_deletes_from_within_a_day(
    user: User, stranger: User
) -> None:
    configure_tenant("Beta", retention_days=3)
    at = midnight(10 * DAY)
    kept = over_run(periodic_task(user), at)
    over_run(periodic_task(stranger), at)

    assert prune_all()["run"] == 1

    assert [run.pk for run in Run.objects.all()] == [kept.pk]


@pytest.mark.usefixtures("days")
def test_ended_tasks_go_after_the_day_of_their_runs(user: User) -> None:
    over_run(ended_task(user, LONG_OVER), timezone.now() - LONG_OVER)

    # The task may have its turn before the day.
    assert prune_all()["task"] + prune_all()["task"] == 1
    assert not Run.objects.exists()


@pytest.mark.usefixtures("days")
def test_a_reader_of_history_delays_a_drop_and_stops_nobody(user: User) -> None:
    over_run(periodic_task(user), midnight(LONG_OVER))
    reading, done = threading.Event(), threading.Event()

    def read() -> None:
        with transaction.atomic():
            list(Run.objects.all())
            reading.set()
            done.wait(60)
        connections.close_all()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(20)
    try:
        assert prune_all()["run"] == 0
    finally:
        done.set()
        reader.join()
    assert prune_all()["run"] == 1


@pytest.mark.usefixtures("days")
def test_the_lag_counts_from_when_a_day_should_have_gone(user: User) -> None:
    assert retention.lag(now=timezone.now()) > 0
    prune_all()
    assert retention.lag(now=timezone.now()) == 0


def test_a_round_of_housekeeping_makes_the_days(user: User, client: Client) -> None:
    last = partitions.list_days(partitions.RUNS)[-1]
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {last.table}")
    ahead = partitions.count_days_ahead(now=timezone.now())

    tasks.prune()

    assert partitions.count_days_ahead(now=timezone.now()) == ahead + 1
    found = client.get("/metrics").content.decode()
    assert f"scheduler_history_days_ahead {ahead + 1}.0\n" in found


@pytest.mark.usefixtures("days")
def test_a_list_reads_the_last_days_and_all_only_if_they_have_too_few(
    user: User,
) -> None:
    task = periodic_task(user)
    runs = [over_run(task, timezone.now() - ago * DAY) for ago in (1, 1.5, 20, 40)]

    with CaptureQueriesContext(connection) as seen:
        found = list_runs(user, RunFilter(), limit=1)
    all_found = list_runs(user, RunFilter(), limit=9)

    assert [each.run.pk for each in found.rows] == [runs[0].pk]
    assert [each.run.pk for each in all_found.rows] == [run.pk for run in runs]
    [statement] = [
        each["sql"] for each in seen.captured_queries if "own(id)" in each["sql"]
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        plan = " ".join(row[0] for row in cursor.fetchall())
    assert table_of(runs[0]) in plan
    assert table_of(runs[2]) not in plan


FIRST_MOMENT = datetime(1, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("at", [FIRST_MOMENT, LAST_MOMENT])
def test_a_list_may_end_at_any_moment(user: User, at: datetime) -> None:
    run = over_run(periodic_task(user), timezone.now() - DAY)

    before = list_runs(user, RunFilter(until=at), limit=9)
    after = list_runs(user, RunFilter(since=at), limit=9)

    assert [each.run.pk for each in before.rows + after.rows] == [run.pk]


# (tenant, days since the fire time, hours until it was over)
PASTS = st.lists(
    st.tuples(
        st.sampled_from(["Alpha", "Beta", "Gamma"]),
        st.floats(0.5, 58),
        st.sampled_from([0.0, 5.0, 7.0, 500.0]),
    ),
    max_size=15,
)
KEPT = {"Alpha": 30, "Beta": 7, "Gamma": 50}
# A day ends up to a day after a run's fire time, and its late runs up to hours after that.
LONGEST_WAIT = DAY + LATE_AFTER


@hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pasts=PASTS)
def test_no_run_goes_before_its_time_and_each_soon_after(
    db: None, days: None, pasts: list[tuple[str, float, float]]
) -> None:
    Run.objects.all().delete()
    now = timezone.now()
    partitions.make_days(now=now, since=midnight(60 * DAY))
    tasks_of = {
        name: periodic_task(provision_user(name, "ann"))
        for name in ("Alpha", "Beta", "Gamma")
    }
    configure_tenant("Beta", retention_days=KEPT["Beta"])
    configure_tenant("Gamma", retention_days=KEPT["Gamma"])
    to_keep, to_delete = set(), set()
    for number, (name, ago, hours) in enumerate(pasts):
        at = now - ago * DAY - number * timedelta(seconds=1)
        took = min(timedelta(hours=hours), now - at)
        run = over_run(tasks_of[name], at, took=took)
        kept_until = at + took + KEPT[name] * DAY
        if kept_until > now:
            to_keep.add(run.pk)
        elif kept_until + LONGEST_WAIT <= now:
            to_delete.add(run.pk)

    prune_all()

    left = set(Run.objects.values_list("pk", flat=True))
    assert to_keep <= left
    assert not left & to_delete
