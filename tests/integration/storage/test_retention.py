"""Old history goes; what is young, waits or still fires stays."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, PeriodicTask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import Tenant, User
from accounts.services import AccountError, configure_tenant, provision_user
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.states import FINAL_STATES, RunState
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
from tasks_api.services import admin_edits, pausing
from tasks_api.storage import retention
from tests.conftest import tenant_of
from tests.integration.support.old_rows import (
    DAY,
    LONG_AGO,
    ended_task,
    finished_run,
    periodic_task,
    prune_all,
    waiting_run,
)
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    ids_of,
    store_task,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_old_runs_go_with_their_attempts_and_young_ones_stay(user: User) -> None:
    task = periodic_task(user)
    for day in range(5):
        finished_run(task, LONG_AGO + day * DAY)
    young = finished_run(task, 3 * DAY)

    gone = prune_all()

    assert gone["run"] == 5
    assert [run.pk for run in Run.objects.all()] == [young.pk]
    assert [attempt.run_id for attempt in Attempt.objects.all()] == [young.pk]


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_old_runs_of_every_final_state_go(user: User, state: RunState) -> None:
    finished_run(periodic_task(user), LONG_AGO, state=state)

    prune_all()

    assert not Run.objects.exists()


def test_a_run_that_ended_late_is_kept_from_its_end_on(user: User) -> None:
    task = periodic_task(user)
    kept = finished_run(task, LONG_AGO, took=LONG_AGO - DAY)
    # Planned before others that are gone already, and over for long enough by now.
    finished_run(task, LONG_AGO + DAY, took=2 * DAY)

    prune_all()

    assert [run.pk for run in Run.objects.all()] == [kept.pk]


def test_each_tenant_keeps_its_history_for_its_own_time(
    user: User, stranger: User
) -> None:
    gamma = provision_user("Gamma", "gil")
    configure_tenant("Alpha", retention_days=2)
    configure_tenant("Beta", retention_days=365)
    owners = (user, stranger, gamma)
    runs = {
        tenant_of(owner).name: [
            finished_run(periodic_task(owner), ago) for ago in (DAY, 3 * DAY)
        ]
        + [finished_run(periodic_task(owner), LONG_AGO)]
        for owner in owners
    }

    prune_all()

    kept = Run.objects.values_list("pk", flat=True)
    assert set(kept) == {
        runs["Alpha"][0].pk,
        *(run.pk for run in runs["Beta"]),
        *(run.pk for run in runs["Gamma"][:2]),
    }


def test_the_setting_counts_again_once_a_tenant_has_none_of_its_own(
    user: User,
) -> None:
    finished_run(periodic_task(user), LONG_AGO)
    configure_tenant("Alpha", retention_days=365)
    assert prune_all()["run"] == 0

    configure_tenant("Alpha", retention_days=0)

    assert prune_all()["run"] == 1


def test_changes_of_a_schedule_go_but_for_the_last_old_one(user: User) -> None:
    task = store_task(user, Interval(timezone.now() + HOUR, HOUR, None))
    for verb in (pausing.pause_tasks, pausing.resume_tasks) * 2:
        verb(user, [str(task.pk)], now=timezone.now())
    ids = list(ScheduleChange.objects.order_by("pk").values_list("pk", flat=True))
    old = timezone.now() - LONG_AGO
    ScheduleChange.objects.filter(pk__in=ids[:3]).update(at=old)

    retention.prune(now=timezone.now())

    left = ScheduleChange.objects.order_by("pk").values_list("pk", flat=True)
    assert list(left) == ids[2:]


def test_an_ended_task_goes_with_its_schedule_and_a_living_one_stays(
    user: User,
) -> None:
    old = ended_task(user, LONG_AGO)
    living = store_task(user, Once(timezone.now() + HOUR))
    schedule_id = old.periodic_task_id

    assert prune_all()["task"] == 1

    assert [task.pk for task in Task.objects.all()] == [living.pk]
    assert not PeriodicTask.objects.filter(pk=schedule_id).exists()
    assert ClockedSchedule.objects.count() == 1


def test_a_moment_that_another_schedule_shares_stays(user: User) -> None:
    old, living = (
        ended_task(user, LONG_AGO),
        store_task(user, Once(timezone.now() + HOUR)),
    )
    shared = living.periodic_task.clocked
    PeriodicTask.objects.filter(pk=old.periodic_task_id).update(clocked=shared)

    prune_all()

    assert shared in ClockedSchedule.objects.all()


def test_a_task_whose_end_came_long_ago_goes_with_its_runs(user: User) -> None:
    task = periodic_task(user)
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        expires=timezone.now() - LONG_AGO
    )
    finished_run(task, LONG_AGO + DAY)
    configure_tenant("Beta", retention_days=365)
    other = periodic_task(provision_user("Beta", "bob"))
    PeriodicTask.objects.filter(pk=other.periodic_task_id).update(
        expires=timezone.now() - LONG_AGO
    )
    # As a beat does when schedules were edited.
    admin_edits.sync_admin_edits([task.pk, other.pk])

    assert prune_all()["task"] == 1

    assert [task.pk for task in Task.objects.all()] == [other.pk]


def test_a_task_whose_young_runs_are_kept_stays_with_them(user: User) -> None:
    task = ended_task(user, LONG_AGO)
    finished_run(task, DAY)

    prune_all()

    assert Task.objects.filter(pk=task.pk).exists()


def test_a_run_that_waits_is_never_forgotten(user: User) -> None:
    store_task(user, Once(timezone.now() - LONG_AGO))
    given_back = give_back(take_due())

    retention.prune(now=timezone.now() + SECOND, pause=lambda _: False)

    assert ids_of(take_waiting()) == given_back


def message(
    owner: User, name: str, *, leased_until: datetime | None, **columns: int
) -> Message:
    return Message.objects.create(
        tenant=tenant_of(owner),
        queue="mail",
        name=name,
        timeout_seconds=1,
        run_at=timezone.now() - 2 * LONG_AGO,
        leased_until=leased_until,
        **columns,
    )


def test_messages_that_nobody_may_have_go_and_are_tallied(user: User) -> None:
    old, young = timezone.now() - LONG_AGO, timezone.now() - DAY
    message(user, "exhausted", leased_until=old, max_retries=1, retry_count=1)
    message(user, "a retry left", leased_until=old, max_retries=2, retry_count=1)
    message(user, "without end", leased_until=old, max_retries=-1)
    message(user, "not yet", leased_until=young)
    message(user, "waits", leased_until=None)

    assert prune_all()["message"] == 1

    assert not Message.objects.filter(name="exhausted").exists()
    assert Message.objects.count() == 4
    [tally] = QueueTally.objects.all()
    assert (tally.queue, tally.exhausted) == ("mail", 1)


def test_heartbeats_of_long_ago_go(db: None) -> None:
    for name, ago in (("old", LONG_AGO), ("new", SECOND)):
        seen_at = timezone.now() - ago
        Heartbeat.objects.create(name=name, kind="beat", seen_at=seen_at)

    prune_all()

    assert [heartbeat.name for heartbeat in Heartbeat.objects.all()] == ["new"]


def test_the_lag_of_retention_is_known(user: User) -> None:
    now = timezone.now()
    assert retention.lag(now=now) == 0
    task = periodic_task(user)
    finished_run(task, 29 * DAY)
    assert retention.lag(now=now) == 0
    finished_run(task, 31 * DAY)
    finished_run(task, 32 * DAY)

    lag = retention.lag(now=timezone.now())

    assert 2 * DAY <= timedelta(seconds=lag) < 2 * DAY + HOUR


def test_deleted_rows_are_counted(user: User) -> None:
    def counted(kind: str) -> float:
        return float(counters.ROWS_PRUNED.labels(kind)._value.get())

    before = counted("run"), counted("task")
    finished_run(ended_task(user, LONG_AGO), LONG_AGO)

    prune_all()

    assert (counted("run"), counted("task")) == (before[0] + 1, before[1] + 1)


def test_web_exports_the_lag_of_retention(user: User, client: Client) -> None:
    finished_run(periodic_task(user), 31 * DAY)

    found = client.get("/metrics").content.decode()

    [line] = re.findall(r"^scheduler_retention_lag_seconds (.+)$", found, re.MULTILINE)
    assert float(line) == pytest.approx(DAY.total_seconds(), abs=60)


@pytest.mark.parametrize("days", [-1, 36_501, 2**31])
def test_a_retention_out_of_range_is_refused(db: None, days: int) -> None:
    with pytest.raises(AccountError, match="retention"):
        configure_tenant("Alpha", retention_days=days)


def test_the_command_sets_a_tenants_retention(alpha: Tenant) -> None:
    for days, stored in (("7", 7), ("0", None)):
        call_command("configure_tenant", "Alpha", "--retention-days", days)

        alpha.refresh_from_db()
        assert alpha.retention_days == stored


def test_the_longest_retention_is_no_date_out_of_range(user: User) -> None:
    configure_tenant("Alpha", retention_days=36_500)
    finished_run(periodic_task(user), LONG_AGO)

    assert prune_all()["run"] == 0


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
def test_only_young_and_waiting_runs_stay(
    db: None, pasts: list[Past], bite: int, tenants: int
) -> None:
    Run.objects.all().delete()
    tasks_of = {
        name: periodic_task(provision_user(name, "ann"))
        for name in ("Alpha", "Beta", "Gamma")
    }
    configure_tenant("Beta", retention_days=KEPT["Beta"])
    configure_tenant("Gamma", retention_days=KEPT["Gamma"])
    expected = set()
    for number, (name, ago, took) in enumerate(pasts):
        task = tasks_of[name]
        since = ago * DAY + number * SECOND
        if took is None:
            run = waiting_run(task, since)
        else:
            run = finished_run(task, since, took=min(took * DAY, since))
        if took is None or max(ago - took, 0) < KEPT[name]:
            expected.add(run.pk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "BATCH_SIZE", bite)
        patch.setattr(retention, "MAX_TENANTS_IN_BATCH", tenants)
        prune_all()

    assert set(Run.objects.values_list("pk", flat=True)) == expected
    left = set(Attempt.objects.values_list("run_id", flat=True))
    assert left <= expected
