"""Why a task fires or not by its calendars, its limits, its resumes and its backfills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import User, Via
from tasks_api.domain.calendars import CalendarChoice, OnExcluded
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.cron import Dst
from tasks_api.domain.rules import AnyOf, make_recurrence
from tasks_api.domain.schedules import Cron, Interval, Part, Schedule
from tasks_api.domain.specs import Misfire, Overlap
from tasks_api.domain.states import RunState
from tasks_api.domain.why.answers import Answer
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.models import Run, Task
from tasks_api.services import pausing, removal
from tasks_api.services.why import why
from tasks_api.storage import run_rows
from tests.integration.support.backfills import (
    backfilled,
    end_run,
    hourly_task,
    let_be_due,
    live_backfills,
    make_task,
    settle,
)
from tests.integration.support.calendars import (
    change_calendar,
    make_calendar,
    task_on,
)
from tests.integration.support.reconciliation_model import MINUTE, let_pass, settle_all
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    store_task,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

BERLIN = "Europe/Berlin"
WONT, WILL, DID_NOT = Verdict.WONT_FIRE, Verdict.WILL_FIRE, Verdict.DID_NOT_FIRE
# A Saturday.
SATURDAY = datetime(2094, 5, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHTLY = Cron("0 9 * * *")


def answer_to(task: Task, at: datetime | None) -> Answer:
    return why(task.owner, task.pk, at)


def ask(task: Task, at: datetime | None) -> tuple[Verdict, Cause]:
    answer = answer_to(task, at)
    return answer.verdict, answer.cause.cause


def weekdays_only(user: User, **more: Any) -> Task:
    with audit.acting_as(Actor("bea", Via.API)):
        make_calendar(user, "weekends", weekdays=["sat", "sun"])
    return task_on(user, NIGHTLY, CalendarChoice(exclude=("weekends",), **more))


def test_a_calendar_that_leaves_a_fire_time_out_is_named_with_its_version(
    user: User,
) -> None:
    task = weekdays_only(user)

    answer = answer_to(task, SATURDAY)

    assert (answer.verdict, answer.cause.cause) == (WONT, Cause.EXCLUDED_BY_CALENDAR)
    assert "calendar weekends (version 1)" in answer.cause.words
    assert answer.cause.evidence[0].kind == "calendar"
    assert ask(task, SATURDAY + 2 * DAY) == (WILL, Cause.PLANNED)
    assert ask(task, SATURDAY + HOUR) == (WONT, Cause.NOT_PLANNED)


def test_a_new_version_of_a_calendar_counts_from_its_change_on(user: User) -> None:
    task = weekdays_only(user)
    with audit.acting_as(Actor("cleo", Via.API)):
        change_calendar(user, "weekends", weekdays=["sun"])

    assert ask(task, SATURDAY) == (WILL, Cause.PLANNED)
    answer = answer_to(task, SATURDAY + DAY)
    assert "version 2" in answer.cause.words
    assert answer.author is not None
    assert (answer.author.actor, answer.author.action) == ("cleo", "calendar.change")
    assert any("by cleo" in each.text for each in answer.cause.evidence)


def test_a_calendar_that_moves_a_fire_time_says_where_to(user: User) -> None:
    make_calendar(user, "holidays", dates=["2094-05-05"])
    choice = CalendarChoice(
        exclude=("holidays",), on_excluded=OnExcluded.NEXT_BUSINESS_DAY
    )
    # On Wednesdays.
    task = task_on(user, Cron("0 9 * * 3"), choice)
    away = SATURDAY + 4 * DAY

    moved = answer_to(task, away)
    there = answer_to(task, away + DAY)

    assert (moved.verdict, moved.cause.cause) == (WONT, Cause.MOVED_BY_CALENDAR)
    assert moved.cause.until == away + DAY
    assert (there.verdict, there.cause.cause) == (WILL, Cause.PLANNED)
    assert "moved it there from 2094-05-05T09:00:00" in there.cause.words


def test_a_fire_time_that_a_calendar_will_hold_says_until_when(user: User) -> None:
    times = {"from": SATURDAY.isoformat(), "to": (SATURDAY + HOUR).isoformat()}
    make_calendar(user, "freeze", ranges=[times])
    task = task_on(user, NIGHTLY, CalendarChoice(hold=("freeze",)))

    answer = answer_to(task, SATURDAY)

    assert (answer.verdict, answer.cause.cause) == (WILL, Cause.PLANNED)
    assert "holds its run until 2094-05-01T10:00:00" in answer.cause.words


def several(dst: Dst) -> list[Schedule]:
    daily = Cron("30 2 * * *", BERLIN, dst=dst)
    first = datetime(2026, 1, 1, 2, 30)  # noqa: DTZ001 (a local time)
    rule = make_recurrence("FREQ=DAILY", first, BERLIN)
    parts: tuple[Part, ...] = (Cron("0 0 1 1 *", dst=dst), daily)
    return [daily, AnyOf(parts), rule] if dst == Dst() else [daily, AnyOf(parts)]


@pytest.mark.parametrize(
    ("dst", "asked", "cause"),
    [
        (Dst(), datetime(2094, 3, 28, 1, 30, tzinfo=UTC), Cause.CLOCK_GAP),
        (Dst(), datetime(2094, 10, 31, 1, 30, tzinfo=UTC), Cause.CLOCK_OVERLAP),
        (Dst(), datetime(2094, 10, 31, 0, 30, tzinfo=UTC), Cause.PLANNED),
        (Dst(skips_gap=True), datetime(2094, 3, 28, 0, 30, tzinfo=UTC), Cause.CLOCK_GAP),
        (Dst(runs_twice=True), datetime(2094, 10, 31, 1, 30, tzinfo=UTC), Cause.PLANNED),
    ],
)  # fmt: skip
def test_the_clock_counts_for_rules_for_several_schedules_and_on_calendars(
    user: User, dst: Dst, asked: datetime, cause: Cause
) -> None:
    make_calendar(user, "none", dates=["2020-01-01"])
    for schedule in several(dst):
        plain = store_task(user, schedule)
        other = task_on(user, schedule, CalendarChoice(exclude=("none",)))
        assert ask(plain, asked)[1] == cause, schedule
        assert ask(other, asked)[1] == cause, schedule


def test_a_rule_begins_and_ends(user: User) -> None:
    first = datetime(2094, 5, 1, 9)  # noqa: DTZ001 (a local time)
    rule = make_recurrence("FREQ=DAILY;COUNT=3", first, "UTC")
    for schedule in (rule, AnyOf((rule,))):
        task = store_task(user, schedule)
        assert ask(task, SATURDAY - DAY) == (WONT, Cause.BEFORE_START)
        assert ask(task, SATURDAY + 2 * DAY) == (WILL, Cause.PLANNED)
        assert ask(task, SATURDAY + 3 * DAY) == (WONT, Cause.AFTER_END)


def test_a_task_makes_no_more_runs_than_it_may(user: User) -> None:
    start = timezone.now() + HOUR
    task = make_task(user, Interval(start, HOUR), max_runs=2)
    assert ask(task, start + HOUR) == (WILL, Cause.PLANNED)
    assert ask(task, start + 2 * HOUR) == (WONT, Cause.MAX_RUNS)


def test_a_task_that_has_made_all_its_runs_has_ended(user: User) -> None:
    task = make_task(user, Interval(timezone.now() + SECOND, HOUR), max_runs=1)
    let_pass(task, 2 * SECOND)
    [run] = take_due()
    end_run(run)

    task.refresh_from_db()
    assert task.ended_at is not None
    assert ask(task, timezone.now() + HOUR) == (WONT, Cause.MAX_RUNS)
    assert ask(task, None)[1] == Cause.MAX_RUNS


def test_a_task_that_stops_on_success(user: User) -> None:
    task = make_task(
        user, Interval(timezone.now() + SECOND, HOUR), stop_on_success=True
    )
    let_pass(task, 2 * SECOND)
    [run] = take_due()
    end_run(run)
    removal.end_succeeded_tasks([run.run_id])

    assert ask(task, timezone.now() + HOUR) == (WONT, Cause.STOPPED_ON_SUCCESS)


def test_a_task_that_makes_up_for_its_pause(user: User) -> None:
    schedule = Interval(timezone.now() + 30 * SECOND, MINUTE)
    task = make_task(user, schedule, misfire=Misfire.SKIP)
    ids = [str(task.pk)]
    pausing.pause_tasks(user, ids, now=timezone.now())
    let_pass(task, 4 * MINUTE)
    with audit.acting_as(Actor("bea", Via.API)):
        pausing.resume_tasks(user, ids, now=timezone.now(), catch_up=CatchUp.LATEST)
    settle_all()
    missed = Run.objects.filter(task=task, state=RunState.MISSED).first()
    assert missed is not None
    [run] = take_waiting()
    end_run(run)

    answer = answer_to(task, run.scheduled_for)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DELIVERED, Cause.CAUGHT_UP)
    assert any("task.resume by bea" in each.text for each in answer.cause.evidence)
    assert ask(task, missed.scheduled_for) == (DID_NOT, Cause.NOT_CAUGHT_UP)


def test_a_backfill_is_evidence_for_its_slot_and_names_it(user: User) -> None:
    task = hourly_task(user, age=4 * HOUR)
    settle(task)
    slots = backfilled(user, task).plan.slots
    let_be_due(task)
    made = live_backfills(task)
    for run in take_waiting():
        end_run(run)

    of_slot = answer_to(task, slots[0])
    sent = Run.objects.get(pk=made[0].pk)
    of_run = answer_to(task, sent.scheduled_for)

    assert of_slot.verdict == DID_NOT
    texts = {each.text: each.id for each in of_slot.cause.evidence}
    assert texts["a backfill of it, succeeded"] == str(made[0].pk)
    assert (of_run.verdict, of_run.cause.cause) == (
        Verdict.DELIVERED,
        Cause.BACKFILLED,
    )


def test_a_backfill_that_may_not_overlap_waits_in_line(user: User) -> None:
    task = hourly_task(user, age=3 * HOUR, overlap=Overlap.SKIP)
    assert len(take_due() or take_waiting()) == 1
    backfilled(user, task)
    let_be_due(task)
    assert take_waiting() == []
    run = live_backfills(task)[0]

    assert run.reason == run_rows.WAITING_REASON
    assert ask(task, run.scheduled_for) == (Verdict.WAITING, Cause.IN_LINE)


def test_a_slot_of_a_pause_names_its_backfill(user: User) -> None:
    task = store_task(user, Interval(timezone.now() + 30 * SECOND, HOUR))
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    let_pass(task, 3 * HOUR)
    backfill = backfilled(user, task)

    answer = answer_to(task, backfill.plan.slots[0])

    assert (answer.verdict, answer.cause.cause) == (DID_NOT, Cause.PAUSED_BY_USER)
    assert "a backfill of it, pending" in {each.text for each in answer.cause.evidence}


def test_an_edit_in_a_pause_does_not_hide_who_paused_the_task(user: User) -> None:
    task = weekdays_only(user)
    with audit.acting_as(Actor("bea", Via.API)):
        pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    change_calendar(user, "weekends", weekdays=["sun"])

    answer = answer_to(task, SATURDAY)

    assert (answer.verdict, answer.cause.cause) == (WONT, Cause.PAUSED_BY_USER)
    assert answer.cause.words == "bea had paused the task."
