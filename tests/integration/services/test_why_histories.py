"""After any history of a task, "why" agrees with the account, and with the coming fire times."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.calendars import CalendarChoice, OnExcluded
from tasks_api.domain.rules import AnyOf, make_recurrence
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Interval,
    Part,
    Schedule,
    first_after,
)
from tasks_api.domain.specs import Misfire
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.models import Task
from tasks_api.services import coming, reconciliation
from tasks_api.services.account import FireTimeOutcome
from tasks_api.services.reconciliation import reconcile
from tasks_api.services.why import outcome_of_moment, why
from tests.integration.support.calendars import make_calendar, task_on
from tests.integration.support.reconciliation_model import DAY, TaskModel
from tests.integration.support.stored_tasks import take_due

pytestmark = pytest.mark.django_db(transaction=True)

VERDICT_OF = {
    FireTimeOutcome.DELIVERED: Verdict.DELIVERED,
    FireTimeOutcome.FAILED: Verdict.FAILED,
    FireTimeOutcome.UNDER_WAY: Verdict.WAITING,
    FireTimeOutcome.SKIPPED: Verdict.DID_NOT_FIRE,
    FireTimeOutcome.MISSED: Verdict.DID_NOT_FIRE,
    FireTimeOutcome.CANCELLED: Verdict.DID_NOT_FIRE,
}
# What the cause of a fire time is only if nothing explains it.
UNKNOWN = {Cause.UNEXPLAINED, Cause.AS_RECORDED, Cause.NOT_KEPT}
BY_CALENDAR = {Cause.EXCLUDED_BY_CALENDAR, Cause.MOVED_BY_CALENDAR}
histories = configured(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def planned_times(user: User, task: Task) -> Iterator[datetime]:
    now = clock.read()
    rows = reconciliation.read_schedules(user, task.pk, now)
    spans = reconciliation.schedule_spans(rows)
    for planned in reconciliation.merge_fire_times(spans, now - DAY, now):
        yield planned.at


def account_at(user: User, task: Task, at: datetime) -> FireTimeOutcome:
    """The outcome of one fire time: what an account has more than one that begins later."""
    until = clock.read()
    whole = reconcile(user, task.pk, since=at, until=until)
    rest = reconcile(user, task.pk, since=at + MICROSECOND, until=until)
    [outcome] = whole.outcomes - rest.outcomes
    return outcome


@given(st.integers(min_value=0, max_value=2**32))
@histories
def test_why_agrees_with_the_account_after_any_history(user: User, seed: int) -> None:
    chance = random.Random(seed)
    world = TaskModel(user, chance)
    story = [world.step() for _ in range(chance.randint(4, 25))]
    if chance.random() < 0.3:
        world.remove()
    moments = list(planned_times(user, world.task))

    for at in chance.sample(moments, min(15, len(moments))):
        answer = why(user, world.task.pk, at)
        outcome = account_at(user, world.task, at)
        assert answer.facts.planned == at, story
        assert outcome_of_moment(answer.facts) == outcome, (story, answer)
        assert answer.verdict == VERDICT_OF[outcome], (story, answer)
        assert answer.cause.cause not in UNKNOWN, (story, answer)
        assert answer.cause.words
    for _ in range(5):
        at = timezone.now() - timedelta(seconds=chance.uniform(0, 900))
        if at not in moments:
            answer = why(user, world.task.pk, at)
            is_manual = answer.facts.run is not None and answer.facts.run.by_hand
            assert is_manual or answer.verdict == Verdict.DID_NOT_FIRE, (story, answer)
            assert answer.facts.previous is None or answer.facts.previous.at < at
            assert answer.facts.next is None or answer.facts.next.at > at
    if world.is_open:
        world.remove()


def make_schedule(chance: random.Random, start: datetime) -> Schedule:
    hours = chance.choice([3, 8])
    first = start.replace(minute=0, second=0, microsecond=0, tzinfo=None)
    rule = make_recurrence(f"FREQ=HOURLY;INTERVAL={hours}", first, "Europe/Berlin")
    cron = Cron(f"{chance.randrange(60)} */{hours} * * *", "America/New_York")
    parts: tuple[Part, ...] = (cron, rule)
    interval = Interval(start, timedelta(hours=hours))
    kinds: list[Schedule] = [interval, cron, rule, AnyOf(parts)]
    return chance.choice(kinds)


def make_choice(user: User, chance: random.Random, now: datetime) -> CalendarChoice:
    name = f"c{uuid4().hex}"
    days = [str((now + n * DAY).date()) for n in range(-4, 5) if chance.random() < 0.4]
    # One day is surely to come.
    days.append(str((now + 9 * DAY).date()))
    make_calendar(user, name, dates=days)
    kind = chance.choice(["exclude", "only", "hold"])
    shift = chance.choice(list(OnExcluded))
    chosen = (name,)
    if kind == "hold":
        return CalendarChoice(hold=chosen)
    if kind == "only":
        return CalendarChoice(only=chosen, on_excluded=shift)
    return CalendarChoice(exclude=chosen, on_excluded=shift)


@given(st.integers(min_value=0, max_value=2**32))
@configured(histories, max_examples=6)
def test_why_agrees_for_rules_on_calendars(user: User, seed: int) -> None:
    chance = random.Random(seed)
    now = timezone.now()
    begin = now - 3 * DAY
    schedule = make_schedule(chance, begin)
    misfire = chance.choice([Misfire.ALL, Misfire.LATEST])
    task = task_on(user, schedule, make_choice(user, chance, now), misfire=misfire)
    planned = coming.schedule_of(task)
    assert planned is not None
    Task.objects.filter(pk=task.pk).update(
        created_at=begin, next_fire_at=first_after(planned, begin)
    )
    while take_due():
        pass
    since = now - 2 * DAY
    account = reconcile(user, task.pk, since=since, until=None)
    times = list(planned_times(user, task))

    for at in chance.sample(times, min(3, len(times))):
        answer = why(user, task.pk, at)
        outcome = account_at(user, task, at)
        assert outcome_of_moment(answer.facts) == outcome, answer
        assert answer.verdict == VERDICT_OF[outcome], answer
        assert answer.cause.cause not in UNKNOWN, answer
    assert not account.differences
    excluded = account.excluded_times
    for left in chance.sample(excluded, min(3, len(excluded))):
        if left.at in times:
            continue
        answer = why(user, task.pk, left.at)
        assert answer.verdict == Verdict.DID_NOT_FIRE
        assert answer.cause.cause in BY_CALENDAR, answer
        assert f"{left.calendar} (version {left.version})" in answer.cause.words
    task.refresh_from_db()
    soon = clock.read() + timedelta(minutes=1)
    for each in coming.fire_times_of_task(task, planned, soon, 4):
        at = each.at or each.local
        answer = why(user, task.pk, at)
        expected = Verdict.WONT_FIRE if each.at is None else Verdict.WILL_FIRE
        assert answer.verdict == expected, answer
        assert (answer.cause.cause in BY_CALENDAR) is (
            each.calendar is not None and each.at is None
        )
    Task.objects.filter(pk=task.pk).update(next_fire_at=None)


@given(st.integers(min_value=0, max_value=2**32))
@histories
def test_why_agrees_with_the_coming_fire_times(user: User, seed: int) -> None:
    chance = random.Random(seed)
    world = TaskModel(user, chance)
    for _ in range(chance.randint(1, 8)):
        world.step()
    task = Task.objects.with_schedule().get(pk=world.task.pk)
    schedule = coming.schedule_of(task)
    assert schedule is not None
    now = clock.read() + timedelta(minutes=1)
    found = coming.fire_times_of_task(task, schedule, now, 5)
    times = [each.at for each in found if each.at is not None]
    is_paused = not task.periodic_task.enabled

    for at in times:
        answer = why(user, task.pk, at)
        expected = Verdict.WONT_FIRE if is_paused else Verdict.WILL_FIRE
        assert answer.verdict == expected, answer
        assert (answer.cause.cause == Cause.PLANNED) is not is_paused
    between = times[0] + timedelta(seconds=1.5)
    answer = why(user, task.pk, between)
    assert (answer.verdict, answer.cause.cause) == (
        Verdict.WONT_FIRE,
        Cause.NOT_PLANNED,
    )
    if not is_paused:
        assert answer.facts.next is not None
        assert answer.facts.next.at == times[1]
    if world.is_open:
        world.remove()
