"""Why a moment of a task is planned or not: each cause, from what the service itself wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import DjangoAssertNumQueries

from accounts import audit
from accounts import services as accounts
from accounts.audit import Actor
from accounts.models import User, Via
from tasks_api.domain.cron import Dst
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.schedules import Cron, Interval, Once, Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.domain.why.answers import Answer
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.domain.why.pauses import cause_of_pause
from tasks_api.models import Task
from tasks_api.services import admin_edits, finding, pausing, removal, tasks
from tasks_api.services.pausing import Hold
from tasks_api.services.why import why
from tasks_api.storage import task_counts
from tests.integration.support.reconciliation_model import DAY, MINUTE, let_pass
from tests.integration.support.stored_runs import store_run
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    store_task,
    take_due,
)

pytestmark = pytest.mark.django_db(transaction=True)

BERLIN = "Europe/Berlin"


def ask(task: Task, at: datetime | None = None) -> tuple[Verdict, Cause]:
    answer = answer_to(task, at)
    return answer.verdict, answer.cause.cause


def answer_to(task: Task, at: datetime | None = None) -> Answer:
    return why(task.owner, task.pk, at)


def every_minute(user: User) -> Task:
    """A task whose next fire time is in half a minute."""
    return store_task(user, Interval(timezone.now() + 30 * SECOND, MINUTE, None))


def next_of(task: Task) -> datetime:
    task.refresh_from_db()
    assert task.next_fire_at is not None
    return task.next_fire_at


def pause(task: Task, hold: Hold | None = None) -> None:
    pausing.pause_tasks(task.owner, [str(task.pk)], now=timezone.now(), hold=hold)


def resume(task: Task) -> None:
    pausing.resume_tasks(task.owner, [str(task.pk)], now=timezone.now())


def test_a_coming_fire_time_is_planned_and_its_neighbours_are_named(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)

    answer = answer_to(task, at + MINUTE)

    assert (answer.verdict, answer.cause.cause) == (Verdict.WILL_FIRE, Cause.PLANNED)
    assert answer.facts.planned == at + MINUTE
    assert answer.facts.next is not None
    assert answer.facts.next.at == at + 2 * MINUTE
    assert "Every minute" in answer.cause.words


def test_between_fire_times_nothing_is_planned(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)

    answer = answer_to(task, at + 20 * SECOND)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.WONT_FIRE,
        Cause.NOT_PLANNED,
    )
    assert answer.facts.next is not None
    assert answer.facts.next.at == at + MINUTE


def test_without_a_moment_the_question_is_about_now(user: User) -> None:
    task = every_minute(user)
    assert ask(task) == (Verdict.WONT_FIRE, Cause.BEFORE_START)
    let_pass(task, MINUTE)
    take_due()
    task.runs.all().delete()

    answer = answer_to(task)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.WONT_FIRE,
        Cause.NOT_PLANNED,
    )
    assert "now" in answer.cause.words


def test_a_moment_in_whole_seconds_stands_for_the_fire_time_in_it(user: User) -> None:
    start = (timezone.now() + HOUR).replace(microsecond=123_456)
    task = store_task(user, Interval(start, HOUR, None))

    answer = answer_to(task, start.replace(microsecond=0))
    exact = answer_to(task, start - timedelta(microseconds=1))

    assert answer.facts.planned == start
    assert exact.facts.planned is None


def test_before_the_task_there_was_nothing(user: User) -> None:
    with audit.acting_as(Actor("ann", Via.API)):
        task = every_minute(user)

    answer = answer_to(task, task.created_at - HOUR)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.DID_NOT_FIRE,
        Cause.NOT_CREATED,
    )
    assert answer.cause.until == task.created_at
    [entry] = answer.cause.evidence
    assert "task.create by ann" in entry.text


def test_the_author_of_the_schedule_in_force_is_named(user: User) -> None:
    with audit.acting_as(Actor("ann", Via.API)):
        task = every_minute(user)
    with audit.acting_as(Actor("bea", Via.CONSOLE)):
        _change(task, Interval(timezone.now() + 20 * SECOND, MINUTE, None))

    answer = answer_to(task, timezone.now() + HOUR)

    assert answer.author is not None
    assert (answer.author.actor, answer.author.action) == ("bea", "task.change")


def _change(task: Task, schedule: Schedule) -> None:
    now = timezone.now()
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}")
    with transaction.atomic():
        locked = finding.lock_task(
            task.owner, str(task.pk), surface=Surface.TASKS, now=now
        )
        tasks.change_task(task.owner, locked, spec, now=now)


def test_before_the_start_and_after_the_end(user: User) -> None:
    start = timezone.now() + HOUR
    task = store_task(user, Interval(start, MINUTE, start + HOUR))

    assert ask(task, start - MINUTE) == (Verdict.WONT_FIRE, Cause.BEFORE_START)
    assert ask(task, start + HOUR) == (Verdict.WILL_FIRE, Cause.PLANNED)
    assert ask(task, start + HOUR + MINUTE) == (Verdict.WONT_FIRE, Cause.AFTER_END)


def test_a_task_that_is_over_has_ended(user: User) -> None:
    start = timezone.now() + SECOND
    task = store_task(user, Interval(start, MINUTE, start + MINUTE))
    let_pass(task, HOUR)
    take_due()
    task_counts.end_all_expired_tasks()

    assert ask(task) == (Verdict.WONT_FIRE, Cause.AFTER_END)
    assert ask(task, timezone.now() - MINUTE) == (
        Verdict.DID_NOT_FIRE,
        Cause.AFTER_END,
    )


def test_a_one_time_task_fires_once(user: User) -> None:
    task = store_task(user, Once(timezone.now() + SECOND))
    let_pass(task, MINUTE)
    [run] = take_due()

    assert ask(task) == (Verdict.WAITING, Cause.UNDER_WAY)
    assert ask(task, timezone.now() - SECOND) == (
        Verdict.DID_NOT_FIRE,
        Cause.ALREADY_FIRED,
    )
    assert answer_to(task, run.scheduled_for).facts.planned == run.scheduled_for


def test_a_removed_task_names_who_removed_it(user: User) -> None:
    task = every_minute(user)
    with audit.acting_as(Actor("bea", Via.API)):
        removal.remove_task(user, str(task.pk), now=timezone.now())

    answer = answer_to(task, timezone.now() + HOUR)

    assert (answer.verdict, answer.cause.cause) == (Verdict.WONT_FIRE, Cause.REMOVED)
    assert "bea" in answer.cause.words
    assert {each.kind for each in answer.cause.evidence} == {"task", "audit"}


def test_a_target_that_is_gone_ended_its_task(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    removal.end_gone_tasks({task.pk: TARGET}, now=timezone.now())

    assert ask(task, at) == (Verdict.WONT_FIRE, Cause.TARGET_GONE)


def test_a_pause_names_its_user_its_reason_and_its_end(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    until = timezone.now() + DAY
    with audit.acting_as(Actor("bea", Via.API)):
        pause(task, Hold("the target moves", until))

    answer = answer_to(task, at)

    assert (answer.verdict, answer.cause.cause) == (
        Verdict.WONT_FIRE,
        Cause.PAUSED_BY_USER,
    )
    assert answer.cause.words == 'bea had paused the task: "the target moves".'
    assert answer.cause.until == until
    assert {each.kind for each in answer.cause.evidence} == {"change", "audit"}
    assert ask(task) == (Verdict.WONT_FIRE, Cause.PAUSED_BY_USER)
    # After the pause, it fires again.
    assert ask(task, at + DAY) == (Verdict.WILL_FIRE, Cause.PLANNED)
    # What is no fire time would not have fired without the pause either.
    assert ask(task, at + 20 * SECOND) == (Verdict.WONT_FIRE, Cause.NOT_PLANNED)


def test_a_pause_that_is_over_explains_the_fire_times_in_it(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    pause(task)
    let_pass(task, HOUR)
    resume(task)

    assert ask(task, at - HOUR + 10 * MINUTE) == (
        Verdict.DID_NOT_FIRE,
        Cause.PAUSED_BY_USER,
    )


def test_a_one_time_task_waits_through_a_pause(user: User) -> None:
    task = store_task(user, Once(timezone.now() + SECOND))
    at = next_of(task) - HOUR
    pause(task)
    let_pass(task, HOUR)

    assert ask(task, at) == (Verdict.WAITING, Cause.PAUSED_BY_USER)


def test_a_task_that_was_paused_after_failures(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    pausing.pause_failing_tasks({task.pk: (3, "HTTP 500")})

    answer = answer_to(task, at)

    assert answer.cause.cause == Cause.PAUSED_AFTER_FAILURES
    assert "3 runs in a row failed; the last one: HTTP 500" in answer.cause.words
    # Once it was resumed, the audit log still knows.
    resume(task)
    changed_at = task.schedule_changes.values_list("at", flat=True).order_by("id")[0]
    pauses = [each for each in answer_to(task, at).facts.phases if each.is_paused]
    assert [each.since for each in pauses] == [changed_at]
    assert (
        cause_of_pause(answer_to(task, at).facts, pauses[0]).cause
        == Cause.PAUSED_AFTER_FAILURES
    )


def test_the_task_of_a_deactivated_user(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    accounts.change_user(user, is_active=False)

    assert ask(task, at) == (Verdict.WONT_FIRE, Cause.OWNER_DEACTIVATED)
    accounts.change_user(user, is_active=True)
    assert ask(task, at + HOUR) == (Verdict.WILL_FIRE, Cause.PLANNED)


def test_a_schedule_that_an_operator_disabled_in_the_admin(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(enabled=False)

    # Before and after a beat has followed the edit.
    assert ask(task, at) == (Verdict.WONT_FIRE, Cause.PAUSED_IN_ADMIN)
    admin_edits.sync_admin_edits([task.pk])
    assert ask(task, at) == (Verdict.WONT_FIRE, Cause.PAUSED_IN_ADMIN)


def test_a_schedule_that_cannot_be_computed(user: User) -> None:
    task = every_minute(user)
    at = next_of(task)
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(interval=None)
    admin_edits.sync_admin_edits([task.pk])

    assert ask(task, at) == (Verdict.WONT_FIRE, Cause.SCHEDULE_BROKEN)


def test_a_fire_time_of_another_schedule(user: User) -> None:
    task = every_minute(user)
    old = next_of(task)
    _change(task, Interval(old + 13 * SECOND, MINUTE, None))
    let_pass(task, 10 * MINUTE)

    # The schedule of before would have fired then.
    later = answer_to(task, old - 5 * MINUTE)
    # The present schedule would have fired then, had it been in force.
    earlier = answer_to(task, old + 13 * SECOND - 10 * MINUTE)

    assert (later.verdict, later.cause.cause) == (
        Verdict.DID_NOT_FIRE,
        Cause.SCHEDULE_CHANGED,
    )
    assert later.cause.since is not None
    assert earlier.facts.planned is not None
    before = answer_to(task, task.created_at + timedelta(microseconds=1))
    assert before.verdict == Verdict.DID_NOT_FIRE


@pytest.mark.parametrize(
    ("dst", "asked", "cause"),
    [
        # 02:30 does not exist; by default the task fires when the gap is over.
        (Dst(), datetime(2094, 3, 28, 1, 30, tzinfo=UTC), Cause.CLOCK_GAP),
        (Dst(skips_gap=True), datetime(2094, 3, 28, 0, 30, tzinfo=UTC), Cause.CLOCK_GAP),
        (Dst(skips_gap=True), datetime(2094, 3, 28, 1, 30, tzinfo=UTC), Cause.CLOCK_GAP),
        (Dst(), datetime(2094, 3, 28, 1, 0, tzinfo=UTC), Cause.PLANNED),
        (Dst(skips_gap=True), datetime(2094, 3, 28, 1, 0, tzinfo=UTC), Cause.NOT_PLANNED),
        # 02:30 occurs twice, and fires the first time.
        (Dst(), datetime(2094, 10, 31, 0, 30, tzinfo=UTC), Cause.PLANNED),
        (Dst(), datetime(2094, 10, 31, 1, 30, tzinfo=UTC), Cause.CLOCK_OVERLAP),
        (Dst(runs_twice=True), datetime(2094, 10, 31, 1, 30, tzinfo=UTC), Cause.PLANNED),
        # Any other day.
        (Dst(), datetime(2094, 3, 29, 1, 30, tzinfo=UTC), Cause.NOT_PLANNED),
    ],
)  # fmt: skip
def test_what_the_clock_of_the_zone_does(
    user: User, dst: Dst, asked: datetime, cause: Cause
) -> None:
    task = store_task(user, Cron("30 2 * * *", BERLIN, dst=dst))

    assert ask(task, asked)[1] == cause


def test_what_retention_has_deleted_is_said_to_be_gone(user: User) -> None:
    task = every_minute(user)
    Task.objects.filter(pk=task.pk).update(created_at=timezone.now() - 400 * DAY)

    assert ask(task, timezone.now() - 300 * DAY) == (
        Verdict.NOT_KEPT,
        Cause.NOT_KEPT,
    )


def test_a_fire_time_that_was_lost_is_named(user: User) -> None:
    task = every_minute(user)
    at = next_of(task) - HOUR
    let_pass(task, HOUR)
    take_due()
    task.runs.filter(scheduled_for=at).delete()

    assert ask(task, at) == (Verdict.DID_NOT_FIRE, Cause.UNEXPLAINED)


def test_a_run_of_the_past_is_answered_for_its_moment(user: User) -> None:
    task = every_minute(user)
    at = next_of(task) - HOUR
    let_pass(task, HOUR)
    Task.objects.filter(pk=task.pk).update(next_fire_at=at + MINUTE, last_fire_at=at)
    store_run(task, at=at, state=RunState.SUCCEEDED)

    answer = answer_to(task, at)

    assert (answer.verdict, answer.cause.cause) == (Verdict.DELIVERED, Cause.DELIVERED)
    assert answer.facts.next is not None
    assert answer.facts.next.at == at + MINUTE


def test_others_get_no_answer(user: User, stranger: User, colleague: User) -> None:
    task = every_minute(user)

    for other in (stranger, colleague):
        with pytest.raises(TaskNotFound):
            why(other, task.pk, None)
    colleague.reaches_tenant = True
    assert why(colleague, task.pk, None).verdict == Verdict.WONT_FIRE


def test_an_answer_takes_few_statements_however_long_the_history(
    user: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    task = every_minute(user)
    for _ in range(20):
        pause(task)
        resume(task)
    at = next_of(task) - HOUR
    let_pass(task, HOUR)
    take_due()

    with django_assert_max_num_queries(20):
        assert ask(task, at)[0] == Verdict.DID_NOT_FIRE
    with django_assert_max_num_queries(20):
        assert ask(task)[0] == Verdict.WAITING
