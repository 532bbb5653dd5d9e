"""Rules write notices with the events that they ask for, and messages gather them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError, connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts import services as accounts
from accounts.models import Tenant, User
from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.domain.ids import id_for
from tasks_api.domain.notices import ChannelKind, Event
from tasks_api.domain.specs import Surface
from tasks_api.models import (
    Channel,
    FailingTask,
    NotificationRule,
    PendingNotice,
    Run,
    Task,
)
from tasks_api.services import channels, events, rules
from tasks_api.storage import task_rows
from tasks_api.worker import long_work, verdicts
from tasks_api.worker.record import AttemptResult
from tests.conftest import MakeTask
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
from tests.integration.support.old_rows import LONG_AGO, finished_run, prune_all
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

NEXT_HOUR = timedelta(hours=1, seconds=1)


@pytest.fixture
def channel(user: User) -> Channel:
    return make_channel(user)


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


def test_a_message_and_what_it_tells_are_stored_together(
    user: User, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rule(user, channel, "run.failed")
    end(make_periodic(user), True)

    def fail(*args: object, **named: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(task_rows, "insert_tasks", fail)
        send_due()
    assert (messages(channel), len(pending(channel))) == ([], 1)

    send_due(timezone.now() + timedelta(minutes=2))

    assert (len(messages(channel)), pending(channel)) == (1, [])


def test_the_error_of_a_channel_holds_up_no_other(user: User, channel: Channel) -> None:
    broken = make_channel(user)
    for each in (channel, broken):
        make_rule(user, each, "run.failed")
    end(make_periodic(user), True)
    with connection.cursor() as cursor:
        # A value that Python cannot read.
        cursor.execute(
            "UPDATE tasks_api_pendingnotice SET at = 'infinity' WHERE channel_id = %s",
            [broken.pk],
        )

    send_due()

    assert (len(messages(channel)), messages(broken)) == (1, [])
    assert PendingNotice.objects.filter(channel=broken).count() == 1


def test_beats_that_send_at_once_send_each_notice_once(
    user: User, channel: Channel
) -> None:
    others = [make_channel(user) for _ in range(3)]
    task = make_periodic(user)
    for each in (channel, *others):
        make_rule(user, each, "run.failed")
    end(task, True)

    run_in_threads(4, send_due)
    send_due()

    assert [len(messages(each)) for each in (channel, *others)] == [1] * 4


# When, and how many.


def test_a_digest_gathers_what_happens_in_its_span(
    user: User, channel: Channel
) -> None:
    task = make_periodic(user)
    make_rule(user, channel, "run.failed", digest_seconds=3600)

    end(task, True)
    end(task, True)
    send_due()
    assert messages(channel) == []
    send_due(timezone.now() + NEXT_HOUR)

    [message] = messages(channel)
    assert (message.count, message.held_back) == (2, 0)
    assert message.title == "2 notices about job"


def test_a_notice_waits_for_the_end_of_quiet_hours(
    user: User, channel: Channel
) -> None:
    now = timezone.now()
    fields = {
        "quiet_from": (now - timedelta(hours=1)).time().replace(microsecond=0),
        "quiet_until": (now + timedelta(hours=2)).time().replace(microsecond=0),
        "quiet_zone": "UTC",
    }
    make_rule(user, channel, "run.failed", **fields)

    end(make_periodic(user), True)
    end(make_periodic(user, "other"), True)
    send_due(now + timedelta(hours=1, minutes=59))
    assert messages(channel) == []
    send_due(now + timedelta(hours=2))

    [message] = messages(channel)
    assert message.count == 2


def test_a_channel_sends_so_many_messages_an_hour_and_holds_back_the_rest(
    user: User,
) -> None:
    channel = make_channel(user, max_per_hour=2)
    task = make_periodic(user)
    make_rule(user, channel, "run.failed")
    began = datetime(2030, 1, 1, 12, 10, tzinfo=UTC)

    for minute in range(10):
        end(task, True)
        send_due(began + timedelta(minutes=minute))
    assert [message.count for message in messages(channel)] == [1, 1]
    send_due(began + timedelta(minutes=49))
    assert len(messages(channel)) == 2
    send_due(began + timedelta(minutes=50))

    *_, last = messages(channel)
    assert (len(messages(channel)), last.count, last.held_back) == (3, 8, 8)
    assert "8 of these were held back" in "\n".join(last.lines)
    assert "at most 2 messages an hour" in "\n".join(last.lines)


def test_what_is_held_back_waits_for_quiet_hours_too(user: User) -> None:
    channel = make_channel(user, max_per_hour=1)
    task = make_periodic(user)
    make_rule(
        user,
        channel,
        "run.failed",
        quiet_from=time(23),
        quiet_until=time(6),
        quiet_zone="UTC",
    )
    PendingNotice.objects.all().delete()
    late = datetime(2030, 1, 1, 22, 30, tzinfo=UTC)
    for minute in range(2):
        end(task, True)
        PendingNotice.objects.update(send_at=late)
        send_due(late + timedelta(minutes=minute))

    send_due(late + timedelta(hours=1))
    assert len(messages(channel)) == 1
    send_due(datetime(2030, 1, 2, 6, tzinfo=UTC))

    assert [message.held_back for message in messages(channel)] == [0, 1]


def test_pagerduty_gets_a_message_for_each_task(user: User) -> None:
    channel = make_channel(
        user,
        ChannelKind.PAGERDUTY,
        settings={"routing_key": "k" * 32},
        max_per_hour=3,
    )
    first, second = make_periodic(user, "first"), make_periodic(user, "second")
    make_rule(user, channel, "run.failed", "task.recovered", digest_seconds=3600)
    end(first, True)
    end(first, False)
    end(second, True)

    send_due(timezone.now() + NEXT_HOUR)

    found = {message.notices[-1].task_name: message for message in messages(channel)}
    assert found["first"].is_relief
    assert not found["second"].is_relief
    assert {message.count for message in found.values()} == {1, 2}


def test_what_pagerduty_may_not_get_apart_it_gets_together(user: User) -> None:
    channel = make_channel(
        user,
        ChannelKind.PAGERDUTY,
        settings={"routing_key": "k" * 32},
        max_per_hour=3,
    )
    make_rule(user, channel, "run.failed")
    for number in range(5):
        end(make_periodic(user, str(number)), True)

    send_due()

    assert sorted(message.count for message in messages(channel)) == [1, 1, 3]


# Whose.


def test_no_event_of_a_tenant_reaches_another_one(user: User, stranger: User) -> None:
    ours, theirs = make_channel(user), make_channel(stranger)
    make_rule(user, ours, *Event, streak=1)
    make_rule(stranger, theirs, *Event, streak=1)

    end(make_periodic(stranger), True, late=600)

    assert pending(ours) == []
    assert len(pending(theirs)) == 3
    send_due()
    [message] = Task.objects.filter(surface=Surface.NOTICES)
    assert (message.tenant, message.owner) == (stranger.tenant, stranger)


def test_messages_belong_to_an_active_user(user: User, colleague: User) -> None:
    channel = make_channel(user)
    task = make_periodic(colleague)
    make_rule(user, channel, "run.failed")
    accounts.change_user(user, is_active=False)

    end(task, True)
    send_due()

    assert Task.objects.get(surface=Surface.NOTICES).owner == colleague


def test_the_notification_url_is_told_by_rules_as_well(user: User) -> None:
    accounts.configure_tenant("Alpha", notification_url="https://e.org/told")
    [channel] = channels.list_channels(Tenant.objects.get(name="Alpha"))
    make_rule(user, channel, "run.failed")
    end(make_periodic(user), True)
    send_due()
    assert len(messages(channel)) == 1

    accounts.configure_tenant("Alpha", notification_url="")
    end(make_periodic(user, "other"), True)
    send_due()

    assert (len(messages(channel)), pending(channel)) == (1, [])


# What is left.


def test_a_channel_takes_its_unsent_messages_with_it(
    user: User, channel: Channel
) -> None:
    task, later = make_periodic(user), make_channel(user)
    make_rule(user, channel, "run.failed")
    make_rule(user, later, "run.failed", digest_seconds=3600)
    end(task, True)
    send_due()

    for each in (channel, later):
        channels.remove_channel(user, each.pk, now=timezone.now())

    assert not PendingNotice.objects.exists()
    assert not NotificationRule.objects.exists()
    assert not Task.objects.filter(surface=Surface.NOTICES, ended_at=None).exists()


def test_a_notice_for_a_channel_that_is_gone_goes_too(
    user: User, channel: Channel
) -> None:
    make_rule(user, channel, "run.failed")
    end(make_periodic(user), True)
    for model in (NotificationRule, Channel):
        model.objects.all()._raw_delete("default")

    send_due()

    assert not PendingNotice.objects.exists()


def test_a_deleted_tenant_leaves_nothing_and_others_keep_theirs(
    user: User, stranger: User
) -> None:
    for owner in (user, stranger):
        channel = make_channel(owner)
        make_rule(owner, channel, "run.failed", "task.failing")
        end(make_periodic(owner), True)
        send_due()
        end(make_periodic(owner, "other"), True)

    call_command("delete_tenant", "Alpha", "--yes")

    for model in (Channel, NotificationRule, PendingNotice):
        tenants = set(model.objects.values_list("tenant", flat=True))
        assert tenants == {stranger.tenant_id}, model
    assert FailingTask.objects.count() == 2


def test_retention_takes_messages_and_what_was_known_of_old_tasks(
    user: User, channel: Channel, make_task: MakeTask
) -> None:
    task = make_periodic(user)
    make_rule(user, channel, "run.failed", "task.failing", task_id=task.pk)
    end(task, True)
    send_due()
    [message] = Task.objects.filter(surface=Surface.NOTICES)
    for each in (task, message):
        Run.objects.filter(task=each).delete()
        finished_run(each, LONG_AGO)
        Task.objects.filter(pk=each.pk).update(
            ended_at=timezone.now() - LONG_AGO, next_fire_at=None
        )

    prune_all()

    assert not Task.objects.exists()
    assert not FailingTask.objects.exists()
    assert not NotificationRule.objects.exists()
