"""Rules by form: which events of which tasks go to which channel, and when."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts import services
from accounts.models import Tenant, User
from tasks_api.domain.specs import Surface
from tasks_api.models import Channel, NotificationRule
from tests.conftest import MakeTask
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.notices import make_channel

pytestmark = pytest.mark.django_db

NOTIFICATIONS = "/app/settings/notifications/"
RULE = {
    "events": ["run.failed", "task.recovered"],
    "streak": "3",
    "late_after": "60",
    "digest_seconds": "0",
}


def post_rule(browser: Client, channel: Channel, path: str = "new", **more: Any) -> str:
    form = {**RULE, "channel_id": str(channel.pk), **more}
    answer = browser.post(f"{NOTIFICATIONS}rules/{path}", form, follow=True)
    return answer.content.decode()


def test_a_rule_is_made_changed_and_removed(
    admin: Client, tenant_admin: User, make_task: MakeTask
) -> None:
    channel, task = make_channel(tenant_admin, name="ops"), make_task(name="report")

    page = post_rule(
        admin,
        channel,
        task="report",
        quiet_from="22:00",
        quiet_until="07:00",
        quiet_zone="Europe/Berlin",
    )

    rule = NotificationRule.objects.get()
    assert (rule.channel, rule.task_id) == (channel, task.pk)
    assert rule.events == ["run.failed", "task.recovered"]
    assert "a run failed, a task has recovered" in page
    assert "quiet 22:00 to 07:00, Europe/Berlin" in page
    assert ">report</a>" in page
    form = admin.get(f"{NOTIFICATIONS}rules/{rule.pk}/edit").content.decode()
    assert 'value="report"' in form
    assert 'value="22:00"' in form
    post_rule(admin, channel, f"{rule.pk}/edit", tag="billing", digest_seconds="3600")
    rule.refresh_from_db()
    assert (rule.task_id, rule.tag, rule.digest_seconds) == (None, "billing", 3600)
    assert rule.quiet_from is None
    path = f"{NOTIFICATIONS}rules/{rule.pk}/remove"
    assert "Remove the rule?" in admin.post(path).content.decode()
    admin.post(path, {"confirmed": "yes"})
    assert not NotificationRule.objects.exists()
    assert [action for *_, action, _ in logged_actions(object_id=str(rule.pk))] == [
        "rule.create",
        "rule.change",
        "rule.remove",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"events": []}, "This field is required"),
        ({"events": ["sun.shines"]}, "Select a valid choice"),
        ({"channel_id": "nothing"}, "Select a valid choice"),
        ({"task": "nothing"}, "There is no task of this name or id"),
        ({"task": "01a1fc25-cc90-73cc-897d-06cb540be56b"}, "There is no task of this"),
        ({"task": "a", "tag": "b"}, "not both"),
        ({"streak": "0"}, "greater than or equal to 1"),
        ({"late_after": "604801"}, "less than or equal to 604800"),
        ({"digest_seconds": "7"}, "Select a valid choice"),
        ({"quiet_from": "22:00"}, "take all three"),
        ({"quiet_from": "22:00", "quiet_until": "noon"}, "Enter a valid time"),
        (
            {"quiet_from": "22:00", "quiet_until": "22:00", "quiet_zone": "UTC"},
            "the same as their beginning",
        ),
        (
            {"quiet_from": "22:00", "quiet_until": "07:00", "quiet_zone": "Mars"},
            "time zone",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused_in_the_form(
    admin: Client, tenant_admin: User, wrong: dict[str, Any], said: str
) -> None:
    page = post_rule(admin, make_channel(tenant_admin), **wrong)

    assert said in page
    assert 'class="error" role="alert"' in page
    assert not NotificationRule.objects.exists()


def test_a_name_that_several_tasks_have_is_asked_back(
    admin: Client, tenant_admin: User, make_task: MakeTask
) -> None:
    first, _ = make_task(name="a"), make_task(name="a", surface=Surface.TIMERS)
    channel = make_channel(tenant_admin)

    assert "give the id of one" in post_rule(admin, channel, task="a")
    post_rule(admin, channel, task=str(first.pk))
    assert NotificationRule.objects.get().task_id == first.pk


def test_a_rule_is_about_no_task_of_another_tenant(
    admin: Client, tenant_admin: User, stranger: User, make_task: MakeTask
) -> None:
    foreign = make_task(stranger, name="theirs")
    channel = make_channel(tenant_admin)

    for text in ("theirs", str(foreign.pk)):
        assert "There is no task" in post_rule(admin, channel, task=text)
    assert not NotificationRule.objects.exists()


def test_what_the_notification_url_gets_anyway_is_refused(
    admin: Client, alpha: Tenant
) -> None:
    services.configure_tenant("Alpha", notification_url="https://example.com/told")
    admin.get(NOTIFICATIONS)

    page = post_rule(admin, Channel.objects.get(), events=["task.paused"])

    assert "gets task.paused without a rule" in page.replace("&#x27;", "'")
