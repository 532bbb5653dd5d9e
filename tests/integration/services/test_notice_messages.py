"""Messages gather notices: which, when, how many, and whose they are."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Tenant, User
from tasks_api.domain.notices import ChannelKind, Event
from tasks_api.domain.specs import Surface
from tasks_api.models import (
    Channel,
    PendingNotice,
    Task,
)
from tasks_api.services import channels
from tasks_api.storage import task_rows
from tests.integration.support.notices import (
    end,
    make_channel,
    make_periodic,
    make_rule,
    messages,
    pending,
    send_due,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

NEXT_HOUR = timedelta(hours=1, seconds=1)


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
