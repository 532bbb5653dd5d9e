"""History that is over moves before its tenant is frozen, whatever happens to it between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.models import Tenant
from scheduler_service.db import clock
from tasks_api.delivery.retry import Succeed
from tasks_api.domain.ids import id_for
from tasks_api.models import FurtherAttempt, Run, Task
from tasks_api.moving import history, moves, taking_back
from tasks_api.moving.errors import MoveRefused
from tasks_api.scheduler import rescue
from tests.integration.support.moves import (
    CutOff,
    cut_off_at,
    ignore,
    move_and_kill,
    read_state,
)
from tests.integration.support.stored_tasks import take_runs
from tests.integration.support.tenant_rows import find_strays
from tests.integration.support.tenant_steps import Side, record
from tests.integration.support.two_databases import OtherDatabase

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
# Hours that are closed, the oldest first, and runs in each of them.
HOURS = [timedelta(hours=ago) for ago in (200, 60, 30, 9, 8)]
RUNS_IN_HOUR = 3

Report = Callable[[str], None]


def store_run(task: Task, moment: datetime, stage: str = "over") -> UUID:
    run_id = id_for(moment, task.tenant_id)
    Run.objects.create(
        id=run_id,
        task=task,
        tenant=task.tenant,
        scheduled_for=moment,
        state="succeeded",
        attempt_count=2,
        started_at=moment,
        finished_at=moment + (MINUTE if stage == "over" else 7 * HOUR),
        stage=stage,
        first_started_at=moment,
        first_duration_ms=7,
        first_status_code=500,
    )
    FurtherAttempt.objects.create(
        tenant=task.tenant,
        run_id=run_id,
        number=2,
        started_at=moment,
        duration_ms=5,
        status_code=200,
    )
    return run_id


@pytest.fixture
def task(sides: list[Side]) -> Task:
    running = Run.objects.filter(state="running")
    running.update(wake_at=timezone.now() - HOUR)
    rescue.rescue_runs()
    return sides[0].make_task(sides[0].owner)


@pytest.fixture
def closed(task: Task) -> list[UUID]:
    """Runs in closed hours, beside late ones in the same hours."""
    now = clock.read().replace(minute=0, second=0, microsecond=0)
    found = []
    for ago in HOURS:
        for number in range(RUNS_IN_HOUR):
            found.append(store_run(task, now - ago + number * MINUTE))
        store_run(task, now - ago + 30 * MINUTE, stage="late")
    return found


def at_step(step: str, act: Callable[[], object]) -> Report:
    """Report of a move that does something once at a step."""
    left = [act]

    def report(reported: str) -> None:
        if reported == step and left:
            left.pop()()

    return report


def stored_at(other: OtherDatabase, ids: Iterable[UUID]) -> set[UUID]:
    with other.here():
        return set(Run.objects.filter(pk__in=ids).values_list("pk", flat=True))


def require_same(alpha: Tenant, other: OtherDatabase) -> None:
    """The target has what the source has, attempts included."""
    before = read_state(alpha)
    attempts = set(FurtherAttempt.objects.filter(tenant=alpha).values_list())
    with other.here():
        after = read_state(alpha)
        assert after.rows == before.rows
        assert after.runs == before.runs
        assert (
            set(FurtherAttempt.objects.filter(tenant=alpha).values_list()) == attempts
        )
        assert find_strays() == {}


def test_closed_history_is_there_before_the_tenant_is_frozen(
    alpha: Tenant, other: OtherDatabase, closed: list[UUID]
) -> None:
    seen: list[str] = []

    def look() -> None:
        assert stored_at(other, closed) == set(closed)
        alpha.refresh_from_db()
        assert alpha.frozen_at is None
        with other.here():
            assert not Tenant.objects.filter(pk=alpha.pk).exists()
            late = Run.objects.filter(tenant=alpha.pk).exclude(pk__in=closed)
            assert not late.filter(stage="late").exists()

    look_once = at_step("history copied", look)

    def report(step: str) -> None:
        seen.append(step)
        look_once(step)

    moves.move_tenant(alpha, other.url, report)

    require_same(alpha, other)
    assert not [step for step in seen if "again" in step]
    hours = [step for step in seen if step.startswith("history of")]
    assert len(hours) == len(HOURS)
    assert hours[0].endswith(f": {RUNS_IN_HOUR} runs")


def test_a_copy_that_was_killed_goes_on_with_the_hours_that_are_left(
    alpha: Tenant, other: OtherDatabase, closed: list[UUID]
) -> None:
    move_and_kill(alpha, other.url, "history of")
    alpha.refresh_from_db()
    assert alpha.frozen_at is None
    there = stored_at(other, closed)
    assert there >= set(closed[:RUNS_IN_HOUR])
    seen: list[str] = []

    moves.move_tenant(alpha, other.url, seen.append)

    require_same(alpha, other)
    hours = [step for step in seen if step.startswith("history of")]
    assert len(hours) <= len(HOURS) - len(there) // RUNS_IN_HOUR


def test_runs_that_are_deleted_between_do_not_come_back(
    alpha: Tenant, other: OtherDatabase, closed: list[UUID]
) -> None:
    first_hour, one_of_many = closed[:RUNS_IN_HOUR], closed[RUNS_IN_HOUR + 1 :: 4]
    gone = [*first_hour, *one_of_many]

    def delete() -> None:
        """As retention deletes an hour, and an erasure the runs of a task."""
        FurtherAttempt.objects.filter(run_id__in=gone).delete()
        Run.objects.filter(pk__in=gone).delete()

    moves.move_tenant(alpha, other.url, at_step("history copied", delete))

    require_same(alpha, other)
    assert stored_at(other, closed) == set(closed) - set(gone)


def test_runs_that_the_target_deletes_between_are_copied_again(
    alpha: Tenant, other: OtherDatabase, closed: list[UUID]
) -> None:
    def delete() -> None:
        """As the target drops a day that its own tenants do not keep."""
        with other.here():
            Run.objects.filter(pk__in=closed[:2]).delete()

    moves.move_tenant(alpha, other.url, at_step("history copied", delete))

    require_same(alpha, other)
    assert stored_at(other, closed) == set(closed)


def test_runs_that_end_between_move_once(
    alpha: Tenant, other: OtherDatabase, task: Task, closed: list[UUID]
) -> None:
    now = timezone.now()
    waiting = []
    for ago in (8 * HOUR, 7 * HOUR, MINUTE):
        run_id = id_for(now - ago, alpha.pk)
        waiting.append(run_id)
        Run.objects.create(
            id=run_id,
            task=task,
            tenant=alpha,
            scheduled_for=now - ago,
            wake_at=now - MINUTE,
            by_hand=True,
        )

    def end() -> None:
        runs = take_runs(waiting)
        assert len(runs) == len(waiting)
        record(runs, Succeed())

    moves.move_tenant(alpha, other.url, at_step("history copied", end))

    require_same(alpha, other)
    with other.here():
        ended = Run.objects.filter(pk__in=waiting).order_by("scheduled_for")
        assert list(ended.values_list("state", "stage")) == [
            ("succeeded", "late"),
            ("succeeded", "late"),
            ("succeeded", "over"),
        ]


@pytest.mark.parametrize("step", ["history copied", "frozen", "copied"])
def test_a_move_that_is_taken_back_leaves_nothing_at_the_target(
    alpha: Tenant, other: OtherDatabase, closed: list[UUID], step: str
) -> None:
    before = read_state(alpha)
    with pytest.raises(CutOff):
        moves.move_tenant(alpha, other.url, cut_off_at(step))
    assert stored_at(other, closed) == set(closed)

    taking_back.abort_move(alpha, other.url, ignore)

    assert read_state(alpha) == before
    with other.here():
        assert not Run.objects.filter(tenant=alpha.pk).exists()
        assert not FurtherAttempt.objects.filter(tenant=alpha.pk).exists()


def test_a_tenant_that_lives_at_the_target_is_not_cleared(
    alpha: Tenant, other: OtherDatabase, closed: list[UUID]
) -> None:
    with other.here():
        Tenant.objects.create(pk=alpha.pk, name="Omega")

    with pytest.raises(MoveRefused, match="a tenant of the id"):
        taking_back.abort_move(alpha, other.url, ignore)
    with pytest.raises(MoveRefused, match="does not move"):
        taking_back.abort_move(alpha, None, ignore)


def test_an_hour_is_closed_when_no_run_of_it_can_be_over_in_time() -> None:
    now = datetime.fromisoformat("2026-03-04T12:34:00+00:00")

    assert history.closed_until(now) == datetime.fromisoformat(
        "2026-03-04T06:00:00+00:00"
    )
