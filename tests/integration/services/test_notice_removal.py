"""What is left of channels, rules and notices when channels, tenants or tasks go."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.specs import Surface
from tasks_api.models import (
    Channel,
    FailingTask,
    NotificationRule,
    PendingNotice,
    Run,
    Task,
)
from tasks_api.services import channels
from tests.conftest import MakeTask
from tests.integration.support.notices import (
    end,
    make_channel,
    make_periodic,
    make_rule,
    send_due,
)
from tests.integration.support.old_rows import LONG_AGO, finished_run, prune_all

pytestmark = pytest.mark.django_db(transaction=True)


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
