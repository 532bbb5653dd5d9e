"""Rules write notices with the events that they ask for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.domain.ids import id_for
from tasks_api.domain.notices import Event
from tasks_api.domain.specs import Surface
from tasks_api.models import (
    Channel,
    FailingTask,
    PendingNotice,
    Run,
    Task,
)
from tasks_api.services import channels, events, rules
from tasks_api.worker import long_work, verdicts
from tasks_api.worker.record import AttemptResult
from tests.integration.support.long_work import (
    accept_run,
    begin_run,
    latest_run_of,
    make_long_work,
    pass_deadline,
)
from tests.integration.support.notices import (
    RETRY,
    claim_runs,
    end,
    end_with,
    make_channel,
    make_periodic,
    make_rule,
    messages,
    pending,
    send_due,
)
from tests.integration.support.stored_tasks import take_due, take_waiting

pytestmark = pytest.mark.django_db(transaction=True)


# Which events.


def test_each_end_of_a_run_is_told_to_rules_that_ask_for_it(
    user: User, channel: Channel
) -> None:
    task = make_periodic(user)
    make_rule(user, channel, *Event, streak=2)

    end(task, False)
    assert pending(channel) == []
    end(task, True)
    end(task, True)
    end(task, True)
    end_with(task, [RETRY])
    end(task, False)
    end(task, False)

    assert [type_ for type_, _, _ in pending(channel)] == [
        "run.failed",
        "run.failed",
        "task.failing",
        "run.failed",
        "task.recovered",
    ]
    reasons = PendingNotice.objects.order_by("pk").values_list("reason", flat=True)
    assert list(reasons)[2] == "2 runs in a row failed; the last one: HTTP 500"
    assert list(reasons)[-1] == "after 3 failed runs"
    assert not FailingTask.objects.exists()


@pytest.mark.parametrize("event", list(Event))
def test_a_rule_gets_only_the_events_that_it_asks_for(
    user: User, channel: Channel, event: Event
) -> None:
    task = make_periodic(user, pause_after_failures=3)
    make_rule(user, channel, event, streak=2)

    end(task, True, late=600)
    end(task, True)
    end(task, False)
    for _ in range(3):
        end(task, True)

    never = {Event.RUN_MISSED, Event.RUN_OVERDUE, Event.TASK_ENDED}
    assert {type_ for type_, _, _ in pending(channel)} == {event} - never


@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    batches=st.lists(st.lists(st.booleans(), min_size=1, max_size=5), max_size=5),
    streak=st.integers(1, 3),
)
def test_streaks_and_recoveries_do_not_depend_on_batches(
    user: User, batches: list[list[bool]], streak: int
) -> None:
    channel, task = (
        make_channel(user, name=timezone.now().isoformat()),
        make_periodic(user, name=""),
    )
    rule = make_rule(user, channel, "task.failing", "task.recovered", streak=streak)
    expected, failed = [], 0
    for fails in (each for batch in batches for each in batch):
        if not fails and failed:
            expected.append("task.recovered")
        failed = failed + 1 if fails else 0
        if failed == streak:
            expected.append("task.failing")

    for batch in batches:
        end(task, *batch)

    assert [type_ for type_, _, _ in pending(channel)] == expected
    rules.remove_rule(user, rule.pk)


def test_a_rule_is_about_a_task_a_tag_or_all(user: User, colleague: User) -> None:
    tagged = make_periodic(user, "tagged", tags=("billing", "x"))
    other, foreign = make_periodic(user, "other"), make_periodic(colleague, "foreign")
    of_all, of_tag, of_task = (make_channel(user) for _ in range(3))
    make_rule(user, of_all, "run.failed")
    make_rule(user, of_tag, "run.failed", tag="billing")
    make_rule(user, of_task, "run.failed", task_id=other.pk)

    for task in (tagged, other, foreign):
        end(task, True)

    assert [pk for _, pk, _ in pending(of_all)] == [tagged.pk, other.pk, foreign.pk]
    assert [pk for _, pk, _ in pending(of_tag)] == [tagged.pk]
    assert [pk for _, pk, _ in pending(of_task)] == [other.pk]


def test_a_run_is_late_when_its_rule_says_so(user: User) -> None:
    task = make_periodic(user)
    soon, later = make_channel(user), make_channel(user)
    make_rule(user, soon, "run.late", late_after=10)
    make_rule(user, later, "run.late", late_after=100)

    end(task, False, late=5)
    end(task, False, late=50)
    end_with(task, [RETRY], late=500)

    assert len(pending(soon)) == 2
    assert len(pending(later)) == 1
    assert "sent 50" in PendingNotice.objects.filter(channel=soon).earliest("pk").reason


def test_a_missed_fire_time_and_a_broken_schedule_are_told(
    user: User, channel: Channel
) -> None:
    make_rule(user, channel, "run.missed", "task.paused")
    missed = make_periodic(user, "missed")
    broken = make_periodic(user, "broken", every=timedelta(hours=2))
    long_ago = timezone.now() - timedelta(days=1)
    Task.objects.filter(pk=missed.pk).update(misfire="skip", next_fire_at=long_ago)
    Task.objects.filter(pk=broken.pk).update(
        interval_period="fortnights", next_fire_at=timezone.now()
    )
    schedules = IntervalSchedule.objects.filter(periodictask__http_task=broken)
    schedules.update(period="fortnights")

    take_due()

    found = [(type_, pk) for type_, pk, _ in pending(channel)]
    assert ("task.paused", broken.pk) in found
    assert {pk for type_, pk in found if type_ == "run.missed"} == {missed.pk}


def test_a_task_that_the_service_pauses_is_told_with_its_reason(
    user: User, channel: Channel
) -> None:
    task = make_periodic(user, pause_after_failures=1)
    make_rule(user, channel, "task.paused")

    end(task, True)

    [notice] = PendingNotice.objects.all()
    assert notice.reason == "A run failed; the last one: HTTP 500"
    assert (notice.type, notice.task_id) == ("task.paused", task.pk)


def test_long_work_that_is_overdue_is_told_and_counts_as_failed(
    user: User, channel: Channel
) -> None:
    task = make_long_work(user)
    make_rule(user, channel, "run.overdue", "run.failed", "task.recovered")
    begin_run(task)
    pass_deadline(latest_run_of(task))

    long_work.expire()

    assert [type_ for type_, _, _ in pending(channel)] == ["run.overdue", "run.failed"]
    moment = timezone.now() - timedelta(minutes=1)
    again = Run.objects.create(
        pk=id_for(moment, task.tenant_id),
        task=task,
        tenant_id=task.tenant_id,
        scheduled_for=moment,
        wake_at=moment,
    )
    [taken] = take_waiting()
    long_work.complete(accept_run(taken), again.pk)
    assert pending(channel)[-1][0] == "task.recovered"


def test_notices_are_about_no_notices(user: User, channel: Channel) -> None:
    make_rule(user, channel, *Event, streak=1)
    end(make_periodic(user), True)
    send_due()
    [message] = Task.objects.filter(surface=Surface.NOTICES)

    end(message, True, late=600)

    assert pending(channel) == []


def test_a_paused_rule_or_channel_gets_nothing(user: User, channel: Channel) -> None:
    task, rule = make_periodic(user), make_rule(user, channel, "run.failed")

    rules.change_rule(user, rule.pk, {"is_paused": True})
    end(task, True)
    rules.change_rule(user, rule.pk, {"is_paused": False})
    channels.change_channel(user, channel.pk, settings={}, fields={"is_paused": True})
    end(task, True)

    assert pending(channel) == []


# What it costs.


def test_a_tenant_without_rules_costs_no_statement(
    user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    task = make_periodic(user)
    end(task, True)
    results = [
        AttemptResult(run, HttpResult(500, "", 1), GiveUp("x"), timezone.now())
        for run in claim_runs(task, 3)
    ]

    with django_assert_num_queries(1):
        verdicts.write_results(results)


def test_a_success_that_nobody_waits_for_costs_one_look(
    user: User, channel: Channel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    task = make_periodic(user)
    make_rule(user, channel, *Event)
    end(task, False)
    results = [
        AttemptResult(run, HttpResult(200, "", 1), verdict, timezone.now())
        for verdict in [Succeed()]
        for run in claim_runs(task, 3)
    ]

    with django_assert_num_queries(2):
        verdicts.write_results(results)


def test_a_flood_writes_few_rows_and_counts_all(user: User, channel: Channel) -> None:
    task = make_periodic(user)
    make_rule(user, channel, "run.failed")

    end(task, *[True] * 100)

    assert PendingNotice.objects.count() == 11
    send_due()
    [message] = messages(channel)
    assert (message.count, len(message.notices)) == (100, 2)
    assert {notice.count for notice in message.notices} == {10, 90}


# In the transaction of the event.


def test_a_crash_loses_event_and_notice_or_neither(
    user: User, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_periodic(user)
    make_rule(user, channel, "run.failed")
    [run] = claim_runs(task)
    result = AttemptResult(run, HttpResult(500, "", 1), GiveUp("x"), timezone.now())

    class Crash(BaseException):
        """As if the process died here."""

    def store_and_crash(*args: Any, **named: Any) -> None:
        events.store_events(*args, **named)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("tasks_api.worker.run_events.store_events", store_and_crash)
        with pytest.raises(Crash):
            verdicts.write_results([result])
    assert Run.objects.get(pk=run.run_id).state == "running"
    assert pending(channel) == []

    verdicts.write_results([result])

    assert Run.objects.get(pk=run.run_id).state == "failed"
    assert pending(channel) == [("run.failed", task.pk, 1)]


def test_a_notice_that_cannot_be_written_fails_no_run(
    user: User, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_periodic(user)
    make_rule(user, channel, "run.failed")

    def fail(*args: object) -> None:
        raise DataError("a value that PostgreSQL refuses")

    monkeypatch.setattr(events, "_insert", fail)

    assert len(end(task, True)) == 1
    assert Run.objects.get(task=task).reason == "HTTP 500"
    assert pending(channel) == []


def test_a_reason_of_any_bytes_is_told(user: User, channel: Channel) -> None:
    task = make_periodic(user)
    make_rule(user, channel, "run.failed")

    end_with(task, [GiveUp("\0 'x' \\ {" + "é" * 9000)])

    [notice] = PendingNotice.objects.all()
    assert len(notice.reason) == 500
