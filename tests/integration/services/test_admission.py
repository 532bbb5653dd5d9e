"""Tasks enter a lane with a rate only if they make no run late."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import Tenant, User
from tasks_api.domain.exceptions import DoesNotFit
from tasks_api.domain.lines import Load
from tasks_api.domain.schedules import Cron, Interval, Once, Schedule
from tasks_api.domain.specs import Admit, Surface, TaskSpec
from tasks_api.models import Lane, LaneCeiling, Task
from tasks_api.services import finding, lane_loads, pausing, removal, tasks
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
NOW = timezone.now()


@pytest.fixture
def lane(user: User) -> Lane:
    """A lane in which a hundred runs may come at once: one a second, for a minute."""
    return make_lane(user)


def make_lane(user: User, name: str = "crm", **columns: Any) -> Lane:
    assert user.tenant
    return Lane.objects.create(
        tenant=user.tenant, name=name, **{"rate_limit": 1, **columns}
    )


def hourly(**changes: Any) -> TaskSpec:
    spec = TaskSpec(
        Surface.TASKS,
        "http://crm.example/",
        Interval(NOW.replace(microsecond=0) + HOUR, HOUR),
        "{}",
        lane_name="crm",
    )
    return replace(spec, **changes)


def store(user: User, count: int, **changes: Any) -> list[Task]:
    rows = tasks.create_tasks(user, count * [hourly(**changes)], now=NOW)
    ids = [row.id for row in rows]
    return list(Task.objects.with_schedule().filter(pk__in=ids))


def refuse(user: User, count: int, **changes: Any) -> DoesNotFit:
    with pytest.raises(DoesNotFit) as caught:
        store(user, count, **changes)
    return caught.value


def test_ten_thousand_hourly_tasks_are_refused_with_the_window_that_fits(
    user: User,
) -> None:
    make_lane(user, rate_limit=20)

    error = refuse(user, 10_000, spread=300)

    assert (error.field, error.smallest_spread) == ("spread", 500)
    assert "at least 500 s" in str(error)
    assert not Task.objects.exists()


def test_what_is_stored_takes_its_part_of_the_rate(user: User, lane: Lane) -> None:
    store(user, 500, spread=1000)

    error = refuse(user, 600, spread=1000)

    assert error.smallest_spread
    # In a thousand seconds, 500 of the others may come, and some wait in the end.
    assert 1180 < error.smallest_spread <= 1200
    store(user, 600, spread=error.smallest_spread)


def test_paused_tasks_keep_their_place(user: User, lane: Lane) -> None:
    stored = store(user, 60)
    pausing.pause_tasks(user, [str(task.pk) for task in stored], now=NOW)

    assert refuse(user, 2).lane == "crm"


def test_removed_tasks_leave_their_place(user: User, lane: Lane) -> None:
    store(user, 60)
    removal.remove_tasks(Task.objects.all(), now=NOW)

    store(user, 60)


def test_tasks_of_other_tenants_and_other_lanes_do_not_count(
    user: User, stranger: User, lane: Lane
) -> None:
    make_lane(user, "mail")
    make_lane(stranger)
    store(user, 60, lane_name="mail")
    store(stranger, 60)

    store(user, 60)


def test_the_lane_of_the_target_host_is_judged_as_well(user: User) -> None:
    make_lane(user, "of-host", host="crm.example")

    assert refuse(user, 70, lane_name="").lane == "of-host"
    store(user, 70, lane_name="", url="http://other.example/")


def test_the_ceiling_of_operators_is_a_rate(user: User) -> None:
    make_lane(user, rate_limit=None)
    store(user, 70)
    assert isinstance(user.tenant, Tenant)
    LaneCeiling.objects.create(tenant=user.tenant, max_per_second=1)

    assert refuse(user, 2).lane == "crm"


def test_a_burst_is_made_up_for(user: User) -> None:
    make_lane(user, rate_limit=10, burst=9)

    assert refuse(user, 1000, spread=300).smallest_spread == 500


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": Once(NOW + HOUR)},
        {"surface": Surface.CRON_JOBS, "name": "one"},
        {"admit": Admit.ANYWAY},
    ],
)
def test_tasks_that_no_rule_judges_are_admitted(
    user: User, lane: Lane, changes: dict[str, Any]
) -> None:
    store(user, 60)

    store(user, 1, **changes)


def test_what_was_admitted_anyway_counts_for_others(user: User, lane: Lane) -> None:
    store(user, 100, admit=Admit.ANYWAY)

    assert refuse(user, 1).lane == "crm"


def test_a_change_is_judged_without_what_the_task_brought_before(
    user: User, lane: Lane
) -> None:
    store(user, 59)
    [last] = store(user, 1)

    change(user, last, hourly(body="[]"))
    change(user, last, hourly(spread=30))
    change(user, last, hourly())


def test_a_change_into_a_full_lane_is_refused(user: User, lane: Lane) -> None:
    store(user, 61)
    [other] = store(user, 1, lane_name="", url="http://other.example/")

    with pytest.raises(DoesNotFit):
        change(user, other, hourly())


@transaction.atomic
def change(user: User, task: Task, spec: TaskSpec) -> None:
    locked = finding.lock_task(user, str(task.pk), surface=Surface.TASKS, now=NOW)
    tasks.change_task(user, locked, spec, now=NOW)


@pytest.mark.parametrize("number", range(3))
def test_two_requests_at_once_do_not_take_the_same_room(
    user: User, lane: Lane, number: int
) -> None:
    def create() -> bool:
        try:
            store(user, 40)
        except DoesNotFit:
            return False
        return True

    assert sorted(run_in_threads(4, create)) == [False, False, False, True]
    assert Task.objects.count() == 40


@pytest.mark.parametrize(
    ("schedule", "spread"),
    [
        (Interval(NOW.replace(microsecond=0) + HOUR, HOUR), 0),
        (Interval(NOW.replace(microsecond=0) + HOUR, HOUR), 600),
        (Interval(NOW.replace(microsecond=0) - HOUR / 3, HOUR), 600),
        (Cron("0 * * * *"), 0),
        (Cron("0 * * * *"), 600),
        (Cron("0 9 * * 1", "Europe/Berlin"), 3600),
        (Cron("*/20 * * * *", start=NOW + 5 * HOUR), 300),
    ],
)
def test_what_is_stored_is_read_as_one_load(
    user: User, lane: Lane, schedule: Schedule, spread: int
) -> None:
    store(user, 30, schedule=schedule, spread=spread, admit=Admit.ANYWAY)

    [load] = lane_loads.read_lane(lane.pk, since=NOW, now=NOW)

    since = NOW + 2 * HOUR
    assert (load.size, load.window) == (30, spread)
    assert load.schedule.first_from(since) == schedule.first_from(since)


def test_the_end_of_a_task_is_that_of_its_load(user: User, lane: Lane) -> None:
    start = NOW.replace(microsecond=0) + HOUR
    store(user, 3, schedule=Interval(start, HOUR, start + 3 * HOUR), spread=60)

    loads = lane_loads.read_lane(lane.pk, since=NOW, now=NOW)

    assert sum(load.size for load in loads) == 3
    assert {load.last for load in loads} <= {start + 3 * HOUR}
    assert isinstance(loads[0], Load)
