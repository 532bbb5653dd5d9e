"""Why a run waited or was not sent: lanes, calendars, quotas, and the bounds of tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Role, Tenant, TokenBounds, User, Via
from accounts.services import token_bounds
from tasks_api.delivery import retry
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import BreakerState, RunState
from tasks_api.domain.why.answers import Answer
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.models import Lane, Run, Task
from tasks_api.services import lanes, lapsing, tasks
from tasks_api.services.pausing import Hold
from tasks_api.services.why import why
from tasks_api.taking import lanes as lane_taking
from tasks_api.taking import leases
from tasks_api.taking.room import Room
from tasks_api.worker.day_quotas import DayQuotas
from tasks_api.worker.record import AttemptResult, record_results
from tests.conftest import tenant_of
from tests.integration.support.calendars import make_calendar, task_on
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    store_task,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

LATE, WAITING = Verdict.DELIVERED, Verdict.WAITING


def answer_to(run: Run) -> Answer:
    return why(run.task.owner, run.task_id, run.scheduled_for)


def cause_of(run: Run) -> tuple[Verdict, Cause]:
    answer = answer_to(run)
    return answer.verdict, answer.cause.cause


def end(run: ClaimedRun, result: HttpResult | None = None) -> Run:
    now, result = timezone.now(), result or HttpResult(200, "", 5)
    record_results([AttemptResult(run, result, retry.judge(result, run, now=now), now)])
    return Run.objects.select_related("task__owner").get(pk=run.run_id)


def pending() -> list[Run]:
    found = Run.objects.filter(state=RunState.PENDING).select_related("task__owner")
    return list(found.order_by("scheduled_for", "wake_at"))


def take_after_wait() -> ClaimedRun:
    """Let the moments of all runs that wait have come, and take the first one."""
    Run.objects.filter(stage="live").update(wake_at=timezone.now() - SECOND)
    [run, *_] = take_waiting()
    return run


def make_lane(user: User, **given: Any) -> Lane:
    user.role = Role.ADMIN
    values = {"rate_limit": 1, "rate_per": "hour", **given}
    return Lane.objects.create(tenant=tenant_of(user), name="crm", **values)


def due_in_lane(user: User, count: int = 1) -> None:
    at = timezone.now() - 2 * SECOND
    for _ in range(count):
        spec = TaskSpec(Surface.TASKS, TARGET, Once(at), "{}", lane_name="crm")
        tasks.create_task(user, spec, now=timezone.now())
    # They were stored in time.
    Task.objects.update(created_at=at - HOUR)


def waiting_in_lane(user: User) -> Run:
    due_in_lane(user)
    assert take_due() == []
    [run] = pending()
    return run


def take_in_lane() -> ClaimedRun:
    Lane.objects.update(next_slot_at=None, line_ends_at=None)
    Run.objects.filter(stage="live").update(wake_at=timezone.now() - SECOND)
    ready = lane_taking.LanePoll().look().ready
    lease = leases.new_lease(leases.NO_PRESENCE)
    [run] = lane_taking.take_waiting(ready, Room(), lease).runs
    return run


def test_a_full_lane_lets_a_run_wait_and_makes_it_late(user: User) -> None:
    make_lane(user)
    due_in_lane(user, 2)
    assert len(take_due()) == 1
    [run] = pending()
    assert cause_of(run) == (WAITING, Cause.LANE_FULL)
    assert answer_to(run).cause.until == run.wake_at

    over = end(take_in_lane())

    assert over.reason == "Waited for lane crm."
    assert cause_of(over) == (LATE, Cause.LANE_FULL)
    assert "lane crm" in answer_to(over).cause.words


def test_a_paused_lane_is_named_with_its_user_its_reason_and_its_end(
    user: User,
) -> None:
    make_lane(user, rate_limit=20, rate_per="second")
    until = timezone.now() + HOUR
    with audit.acting_as(Actor("bea", Via.API)):
        lanes.pause_lane(user, "crm", Hold("it moves", until), now=timezone.now())
    run = waiting_in_lane(user)

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (WAITING, Cause.LANE_PAUSED)
    assert answer.cause.words == 'bea had paused lane crm: "it moves".'
    assert answer.cause.until == until
    assert [each.kind for each in answer.cause.evidence] == ["audit"]
    lanes.resume_lane(user, "crm")
    over = end(take_in_lane())
    assert cause_of(over) == (LATE, Cause.LANE_PAUSED)
    assert Cause.LANE_FULL in {each.cause for each in answer_to(over).held_by}


def test_a_pause_of_another_time_holds_nothing(user: User) -> None:
    make_lane(user)
    due_in_lane(user, 2)
    take_due()
    [run] = pending()
    lanes.pause_lane(user, "crm", Hold(), now=timezone.now())
    lanes.resume_lane(user, "crm")
    Run.objects.filter(pk=run.pk).update(scheduled_for=timezone.now())
    [run] = pending()

    assert cause_of(run) == (WAITING, Cause.LANE_FULL)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ({"breaker_state": BreakerState.OPEN, "breaker_after": 3}, Cause.LANE_BREAKER),
        ({"held": True}, Cause.LANE_HELD),
        ({"slowdown": 0.25}, Cause.LANE_SLOWED),
    ],
)
def test_a_lane_whose_target_is_ill(
    user: User, state: dict[str, Any], cause: Cause
) -> None:
    later = timezone.now() + HOUR
    given = {"held_until": later} if state.pop("held", False) else {}
    make_lane(user, next_slot_at=later, breaker_until=later, **given, **state)
    run = waiting_in_lane(user)

    assert cause_of(run) == (WAITING, cause)


def test_a_run_of_a_lane_that_was_removed_still_says_so(user: User) -> None:
    make_lane(user)
    due_in_lane(user, 2)
    take_due()
    over = end(take_in_lane())
    Lane.objects.all().delete()

    assert cause_of(over) == (LATE, Cause.LANE_FULL)


def test_a_calendar_holds_a_run_back_and_makes_it_late(user: User) -> None:
    now = timezone.now()
    times = {"from": (now - HOUR).isoformat(), "to": (now + HOUR).isoformat()}
    make_calendar(user, "freeze", ranges=[times])
    schedule = Interval(now - SECOND, HOUR)
    task_on(user, schedule, CalendarChoice(hold=("freeze",)))
    Task.objects.update(created_at=now - HOUR)
    assert take_due() == []
    [run] = pending()
    waiting = answer_to(run)
    assert (waiting.verdict, waiting.cause.cause) == (WAITING, Cause.HELD_BY_CALENDAR)
    assert waiting.cause.until == run.wake_at
    assert [each.text for each in waiting.cause.evidence] == ["version 1 of freeze"]

    over = end(take_after_wait())

    assert over.reason == "Waited: held by calendar freeze."
    assert cause_of(over) == (LATE, Cause.HELD_BY_CALENDAR)


def test_the_quota_of_a_tenant_holds_a_run_until_the_next_day(
    user: User, alpha: Tenant
) -> None:
    Tenant.objects.filter(pk=alpha.pk).update(max_runs_per_day=1)
    quotas = {alpha.pk: 1}
    for _ in range(2):
        store_task(user, Once(timezone.now() - SECOND))
    Task.objects.update(created_at=timezone.now() - HOUR)
    for _ in range(2):
        counts = DayQuotas()
        taken = take_due(counts.limit(Room(), quotas))
        counts.add(taken, quotas)
        counts.write()
    [run] = pending()

    answer = answer_to(run)

    assert (answer.verdict, answer.cause.cause) == (WAITING, Cause.QUOTA_SPENT)
    assert answer.cause.until == run.wake_at
    over = end(take_after_wait())
    assert over.reason.startswith("Waited for the quota of runs a day until ")
    assert cause_of(over) == (LATE, Cause.QUOTA_SPENT)


def bind(user: User, **bounds: Any) -> None:
    user.bounds = token_bounds.store_bounds(
        tenant_of(user), Bounds(**bounds), parent=None, now=timezone.now()
    )


def test_the_bounds_of_a_token_hold_runs_and_pass_over_others(user: User) -> None:
    bind(user, runs_per_day=1)
    for _ in range(3):
        store_task(user, Once(timezone.now() - SECOND))
    Task.objects.update(created_at=timezone.now() - HOUR)
    assert len(take_due()) == 1
    [run] = pending()
    missed = Run.objects.get(state=RunState.MISSED)
    missed.task.owner.bounds = None

    assert cause_of(run) == (WAITING, Cause.BOUNDS_SPENT)
    assert cause_of(missed) == (Verdict.DID_NOT_FIRE, Cause.BOUNDS_LINE_FULL)


def test_a_token_that_nobody_renews_ends_its_tasks(user: User) -> None:
    bind(user, renew_within=3600)
    store_task(user, Once(timezone.now() - SECOND))
    coming = store_task(user, Interval(timezone.now() + 60 * SECOND, HOUR))
    Task.objects.update(created_at=timezone.now() - HOUR)
    TokenBounds.objects.update(ends_at=timezone.now() + 10 * SECOND)
    assert take_due() == []
    [run] = pending()
    assert run.reason == "Waits: the bounds of its token are about to end."
    assert cause_of(run) == (WAITING, Cause.BOUNDS_ENDING)

    TokenBounds.objects.update(ends_at=F("ends_at") - timedelta(minutes=1))
    while lapsing.end_lapsed():
        pass

    run.refresh_from_db()
    assert cause_of(run) == (Verdict.DID_NOT_FIRE, Cause.BOUNDS_LAPSED)
    answer = why(user, coming.pk, coming.next_fire_at)
    assert answer.cause.cause == Cause.BOUNDS_LAPSED


def test_a_request_that_bounds_forbid_fails(user: User) -> None:
    store_task(user, Once(timezone.now() - SECOND))
    [run] = take_due()
    error = "could not be built: The bounds of the token forbid it (hosts): x"

    over = end(run, HttpResult(None, error, 0))

    assert cause_of(over) == (Verdict.FAILED, Cause.BOUNDS_REFUSED)
