"""Old history goes, in bites; what is young, waits or still fires stays."""

from __future__ import annotations

import importlib
import re
import threading
from collections import Counter
from datetime import datetime, timedelta

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, PeriodicTask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from accounts.services import AccountError, configure_tenant, provision
from tasks_api import tasks
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.states import FINAL, RunState
from tasks_api.metrics import counters
from tasks_api.models import (
    Attempt,
    Heartbeat,
    Message,
    QueueTally,
    Run,
    ScheduleChange,
    Task,
)
from tasks_api.scheduler import dispatch
from tasks_api.services import admin_edits, pausing
from tasks_api.storage import retention
from tasks_api.worker import leases
from tests.integration.test_dispatch import HOUR, SECOND, store

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
LONG_AGO = 40 * DAY
ENDED = "0008_task_ended"


def finished(
    task: Task,
    ago: timedelta,
    *,
    state: RunState = RunState.SUCCEEDED,
    took: timedelta = timedelta(),
) -> Run:
    moment = timezone.now() - ago
    run = Run.objects.create(
        id=id_for(moment, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=moment,
        state=state,
        finished_at=moment + took,
    )
    Attempt.objects.create(run=run, number=1, started_at=moment, duration_ms=1)
    return run


def waiting(task: Task, ago: timedelta) -> Run:
    moment = timezone.now() - ago
    return Run.objects.create(
        id=id_for(moment, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=moment,
        wake_at=moment,
    )


def periodic(owner: User) -> Task:
    return store(owner, Interval(timezone.now() + HOUR, HOUR, None))


def ended(owner: User, ago: timedelta) -> Task:
    task = store(owner, Once(timezone.now() + HOUR))
    moment = timezone.now() - ago
    Task.objects.filter(pk=task.pk).update(ended_at=moment, next_fire_at=None)
    return task


def prune(**options: retention.Pause) -> Counter[str]:
    """Without a rest between bites, unless told."""
    pause = options.get("pause", lambda _: False)
    return retention.prune(now=timezone.now(), pause=pause)


def test_old_runs_go_with_their_attempts_and_young_ones_stay(user: User) -> None:
    task = periodic(user)
    for day in range(5):
        finished(task, LONG_AGO + day * DAY)
    young = finished(task, 3 * DAY)

    gone = prune()

    assert gone["run"] == 5
    assert [run.pk for run in Run.objects.all()] == [young.pk]
    assert [attempt.run_id for attempt in Attempt.objects.all()] == [young.pk]


@pytest.mark.parametrize("state", sorted(FINAL))
def test_whatever_became_of_a_run_it_goes(user: User, state: RunState) -> None:
    finished(periodic(user), LONG_AGO, state=state)

    prune()

    assert not Run.objects.exists()


def test_a_run_that_ended_late_is_kept_from_its_end_on(user: User) -> None:
    task = periodic(user)
    kept = finished(task, LONG_AGO, took=LONG_AGO - DAY)
    # Planned before others that are gone already, and over for long enough by now.
    finished(task, LONG_AGO + DAY, took=2 * DAY)

    prune()

    assert [run.pk for run in Run.objects.all()] == [kept.pk]


def test_each_tenant_keeps_its_history_for_its_own_time(
    user: User, stranger: User
) -> None:
    gamma = provision("Gamma", "gil")
    configure_tenant("Alpha", retention_days=2)
    configure_tenant("Beta", retention_days=365)
    owners = (user, stranger, gamma)
    runs = {
        owner.tenant.name: [finished(periodic(owner), ago) for ago in (DAY, 3 * DAY)]
        + [finished(periodic(owner), LONG_AGO)]
        for owner in owners
    }

    prune()

    kept = Run.objects.values_list("pk", flat=True)
    assert set(kept) == {
        runs["Alpha"][0].pk,
        *(run.pk for run in runs["Beta"]),
        *(run.pk for run in runs["Gamma"][:2]),
    }


def test_the_setting_counts_again_once_a_tenant_has_none_of_its_own(
    user: User,
) -> None:
    finished(periodic(user), LONG_AGO)
    configure_tenant("Alpha", retention_days=365)
    assert prune()["run"] == 0

    configure_tenant("Alpha", retention_days=0)

    assert prune()["run"] == 1


def test_changes_of_a_schedule_go_but_for_the_last_old_one(user: User) -> None:
    task = store(user, Interval(timezone.now() + HOUR, HOUR, None))
    for verb in (pausing.pause_tasks, pausing.resume_tasks) * 2:
        verb(user, [str(task.pk)], now=timezone.now())
    ids = list(ScheduleChange.objects.order_by("pk").values_list("pk", flat=True))
    old = timezone.now() - LONG_AGO
    ScheduleChange.objects.filter(pk__in=ids[:3]).update(at=old)

    retention.prune(now=timezone.now())

    left = ScheduleChange.objects.order_by("pk").values_list("pk", flat=True)
    assert list(left) == ids[2:]


def test_more_than_one_bite_is_taken(user: User, stranger: User, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BITE", 2)
    for owner in (user, stranger):
        task = periodic(owner)
        for day in range(7):
            finished(task, LONG_AGO + day * DAY)

    assert prune()["run"] == 14
    assert not Run.objects.exists()
    assert not Attempt.objects.exists()


def test_runs_of_the_same_moment_all_go(user: User, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BITE", 2)
    moment = timezone.now() - LONG_AGO
    for _ in range(5):
        task = periodic(user)
        run = finished(task, LONG_AGO)
        Run.objects.filter(pk=run.pk).update(scheduled_for=moment)

    prune()

    assert not Run.objects.exists()


def test_the_oldest_go_first(user: User, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BITE", 1)
    task = periodic(user)
    runs = [finished(task, LONG_AGO - number * DAY) for number in (2, 0, 3, 1)]
    left = [oldest_first := sorted(runs, key=lambda run: run.scheduled_for)]

    def look(_: float) -> bool:
        found = list(Run.objects.order_by("scheduled_for"))
        # Other kinds have their turns, too.
        if found != left[-1]:
            left.append(found)
        return not found

    prune(pause=look)

    assert left == [oldest_first[number:] for number in range(5)]


def test_a_round_ends_when_it_is_told_to(user: User, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BITE", 1)
    task = periodic(user)
    for day in range(3):
        finished(task, LONG_AGO + day * DAY)

    prune(pause=lambda _: True)

    assert Run.objects.count() == 2


def test_much_of_one_kind_keeps_no_other_waiting(user: User, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BITE", 1)
    task = periodic(user)
    for number in range(9):
        finished(task, LONG_AGO + number * DAY)
    ended(user, LONG_AGO)
    bites = iter([False, False, True])

    gone = prune(pause=lambda _: next(bites))

    assert (gone["run"], gone["task"]) == (1, 1)


def test_a_round_rests_after_each_bite_and_ends_in_time(
    user: User, monkeypatch
) -> None:
    monkeypatch.setattr(retention, "BITE", 1)
    task = periodic(user)
    for day in range(3):
        finished(task, LONG_AGO + day * DAY)
    rests: list[float] = []

    prune(pause=rests.append)

    assert len(rests) >= 3
    assert min(rests) > 0
    monkeypatch.setattr(retention, "ROUND", 0.0)
    finished(task, LONG_AGO)
    finished(task, LONG_AGO + HOUR)
    prune(pause=rests.append)
    assert Run.objects.count() == 1


def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(
    user: User,
) -> None:
    def statements(count: int) -> int:
        task = periodic(user)
        for number in range(count):
            finished(task, LONG_AGO + number * HOUR)
        with CaptureQueriesContext(connection) as seen:
            assert prune()["run"] == count
        return len(seen)

    assert statements(1) == statements(40)


def test_several_may_forget_at_once_and_each_row_goes_once(
    user: User, stranger: User, monkeypatch
) -> None:
    monkeypatch.setattr(retention, "BITE", 7)
    for owner in (user, stranger):
        task = periodic(owner)
        for number in range(150):
            finished(task, LONG_AGO + number * HOUR)
        for number in range(50):
            ended(owner, LONG_AGO + number * HOUR)
    together = threading.Barrier(4)
    gone: list[Counter[str]] = []

    def work() -> None:
        together.wait()
        try:
            gone.append(prune())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What one had locked when another one passed.
    gone.append(prune())

    total = sum(gone, Counter())
    assert (total["run"], total["task"]) == (300, 100)
    assert not Run.objects.exists()
    assert (
        Task.objects.count()
        == PeriodicTask.objects.exclude(http_task=None).count()
        == 2
    )
    assert not ClockedSchedule.objects.exists()


def test_a_row_that_somebody_holds_is_left_for_the_next_round(user: User) -> None:
    task = periodic(user)
    held = finished(task, LONG_AGO)
    finished(task, LONG_AGO + DAY)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "SELECT 1 FROM tasks_api_run WHERE id = %s FOR UPDATE", [held.pk]
            )
            locked.set()
            done.wait(20)
            cursor.execute("ROLLBACK")
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(20)
    try:
        assert prune()["run"] == 1
    finally:
        done.set()
        holder.join()
    assert prune()["run"] == 1


def test_an_ended_task_goes_with_its_schedule_and_a_living_one_stays(
    user: User,
) -> None:
    old = ended(user, LONG_AGO)
    living = store(user, Once(timezone.now() + HOUR))
    schedule_id = old.periodic_task_id

    assert prune()["task"] == 1

    assert [task.pk for task in Task.objects.all()] == [living.pk]
    assert not PeriodicTask.objects.filter(pk=schedule_id).exists()
    assert ClockedSchedule.objects.count() == 1


def test_a_moment_that_another_schedule_shares_stays(user: User) -> None:
    old, living = ended(user, LONG_AGO), store(user, Once(timezone.now() + HOUR))
    shared = living.periodic_task.clocked
    PeriodicTask.objects.filter(pk=old.periodic_task_id).update(clocked=shared)

    prune()

    assert shared in ClockedSchedule.objects.all()


def test_a_task_whose_end_came_long_ago_goes_with_its_runs(user: User) -> None:
    task = periodic(user)
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        expires=timezone.now() - LONG_AGO
    )
    finished(task, LONG_AGO + DAY)
    configure_tenant("Beta", retention_days=365)
    other = periodic(provision("Beta", "bob"))
    PeriodicTask.objects.filter(pk=other.periodic_task_id).update(
        expires=timezone.now() - LONG_AGO
    )
    # As a beat does when schedules were edited.
    admin_edits.sync_admin_edits([task.pk, other.pk])

    assert prune()["task"] == 1

    assert [task.pk for task in Task.objects.all()] == [other.pk]


def test_a_task_whose_young_runs_are_kept_stays_with_them(user: User) -> None:
    task = ended(user, LONG_AGO)
    finished(task, DAY)

    prune()

    assert Task.objects.filter(pk=task.pk).exists()


def test_a_run_that_waits_is_never_forgotten(user: User) -> None:
    store(user, Once(timezone.now() - LONG_AGO))
    [run_id] = dispatch.dispatch_due().run_ids

    retention.prune(now=timezone.now() + SECOND, pause=lambda _: False)

    assert len(leases.claim([run_id])) == 1


def message(owner: User, name: str, *, leased_until: datetime | None, **kw) -> Message:
    return Message.objects.create(
        tenant=owner.tenant,
        queue="mail",
        name=name,
        timeout_seconds=1,
        run_at=timezone.now() - 2 * LONG_AGO,
        leased_until=leased_until,
        **kw,
    )


def test_messages_that_nobody_may_have_go_and_are_tallied(user: User) -> None:
    old, young = timezone.now() - LONG_AGO, timezone.now() - DAY
    message(user, "exhausted", leased_until=old, max_retries=1, retry_count=1)
    message(user, "a retry left", leased_until=old, max_retries=2, retry_count=1)
    message(user, "without end", leased_until=old, max_retries=-1)
    message(user, "not yet", leased_until=young)
    message(user, "waits", leased_until=None)

    assert prune()["message"] == 1

    assert not Message.objects.filter(name="exhausted").exists()
    assert Message.objects.count() == 4
    [tally] = QueueTally.objects.all()
    assert (tally.queue, tally.exhausted) == ("mail", 1)


def test_heartbeats_of_long_ago_go(db: None) -> None:
    for name, ago in (("old", LONG_AGO), ("new", SECOND)):
        seen_at = timezone.now() - ago
        Heartbeat.objects.create(name=name, kind="beat", seen_at=seen_at)

    prune()

    assert [heartbeat.name for heartbeat in Heartbeat.objects.all()] == ["new"]


def test_how_far_it_is_behind_is_known(user: User) -> None:
    now = timezone.now()
    assert retention.lag(now=now) == 0
    task = periodic(user)
    finished(task, 29 * DAY)
    assert retention.lag(now=now) == 0
    finished(task, 31 * DAY)
    finished(task, 32 * DAY)

    lag = retention.lag(now=timezone.now())

    assert 2 * DAY <= timedelta(seconds=lag) < 2 * DAY + HOUR


def test_what_is_deleted_is_counted(user: User) -> None:
    def counted(kind: str) -> float:
        return counters.PRUNED.labels(kind)._value.get()

    before = counted("run"), counted("task")
    finished(ended(user, LONG_AGO), LONG_AGO)

    prune()

    assert (counted("run"), counted("task")) == (before[0] + 1, before[1] + 1)


def test_web_tells_how_far_it_is_behind(user: User, client: Client) -> None:
    finished(periodic(user), 31 * DAY)

    found = client.get("/metrics").content.decode()

    [line] = re.findall(r"^scheduler_retention_lag_seconds (.+)$", found, re.MULTILINE)
    assert float(line) == pytest.approx(DAY.total_seconds(), abs=60)


def test_a_worker_begins_one_round_at_a_time(user: User) -> None:
    finished(periodic(user), LONG_AGO)
    with tasks._pruning:
        tasks.prune()
        assert Run.objects.exists()

    tasks.prune()

    assert not Run.objects.exists()


def test_a_round_is_sent_every_minute_and_rounds_do_not_pile_up(db: None) -> None:
    for number, verb in (("0002_housekeeping", "add"), (ENDED, "look_every_minute")):
        migration = importlib.import_module(f"tasks_api.migrations.{number}")
        getattr(migration, verb)(apps, None)

    row = PeriodicTask.objects.get(name="forget old history")
    assert (row.interval.every, row.interval.period) == (1, "minutes")
    assert row.task == tasks.prune.name
    assert row.expire_seconds < 60


@pytest.mark.parametrize("days", [-1, 36_501, 2**31])
def test_a_retention_out_of_range_is_refused(db: None, days: int) -> None:
    with pytest.raises(AccountError, match="retention"):
        configure_tenant("Alpha", retention_days=days)


def test_the_command_sets_a_tenants_retention(user: User) -> None:
    for days, stored in (("7", 7), ("0", None)):
        call_command("configure_tenant", "Alpha", "--retention-days", days)

        user.tenant.refresh_from_db()
        assert user.tenant.retention_days == stored


def test_the_longest_retention_is_no_date_out_of_range(user: User) -> None:
    configure_tenant("Alpha", retention_days=36_500)
    finished(periodic(user), LONG_AGO)

    assert prune()["run"] == 0


Past = tuple[str, float, float | None]
# (tenant, days since the fire time, days until it was over or None while it waits)
PASTS = st.lists(
    st.tuples(
        st.sampled_from(["Alpha", "Beta", "Gamma"]),
        st.integers(1, 60).map(lambda day: day + 0.5),
        st.none() | st.integers(0, 60),
    ),
    max_size=20,
)
KEPT = {"Alpha": 30, "Beta": 7, "Gamma": 50}


@hypothesis_settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pasts=PASTS, bite=st.integers(1, 5), tenants=st.integers(1, 3))
def test_what_stays_is_what_is_young_or_waits(
    db: None, pasts: list[Past], bite: int, tenants: int
) -> None:
    Run.objects.all().delete()
    tasks_of = {
        name: periodic(provision(name, "ann")) for name in ("Alpha", "Beta", "Gamma")
    }
    configure_tenant("Beta", retention_days=KEPT["Beta"])
    configure_tenant("Gamma", retention_days=KEPT["Gamma"])
    expected = set()
    for number, (name, ago, took) in enumerate(pasts):
        task = tasks_of[name]
        since = ago * DAY + number * SECOND
        if took is None:
            run = waiting(task, since)
        else:
            run = finished(task, since, took=min(took * DAY, since))
        if took is None or max(ago - took, 0) < KEPT[name]:
            expected.add(run.pk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "BITE", bite)
        patch.setattr(retention, "TENANTS", tenants)
        prune()

    assert set(Run.objects.values_list("pk", flat=True)) == expected
    left = set(Attempt.objects.values_list("run_id", flat=True))
    assert left <= expected
