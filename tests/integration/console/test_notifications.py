"""The page of notifications: channels by form, tests, and what was sent."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import services
from accounts.models import AuditEntry, Role, Tenant, User
from tasks_api.domain.notices import ChannelKind
from tasks_api.models import Channel, NotificationRule, Task
from tests.conftest import MakeTask
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.notices import (
    end,
    make_channel,
    make_periodic,
    make_rule,
    messages,
    send_due,
)
from tests.integration.support.stored_runs import store_run

pytestmark = pytest.mark.django_db

NOTIFICATIONS = "/app/settings/notifications/"
SECRET_URL = "https://example.com/services/T0/B0/secret"
# The fields of each kind, as a person fills them in.
GIVEN = {
    "slack": {"url": SECRET_URL},
    "discord": {"url": SECRET_URL},
    "teams": {"url": SECRET_URL},
    "webhook": {"url": SECRET_URL},
    "pagerduty": {"routing_key": "secret-key"},
    "ntfy": {"topic": "ops", "token": "secret-token"},
    "email": {"recipients": "ann@example.com, bob@example.com\r\nann@example.com"},
}


def create(browser: Client, kind: str, **more: str) -> str:
    form = {"name": "ops", "max_per_hour": "20", **GIVEN[kind], **more}
    path = f"{NOTIFICATIONS}channels/new?kind={kind}"
    return browser.post(path, form, follow=True).content.decode()


@pytest.mark.parametrize("kind", sorted(GIVEN))
def test_a_channel_of_each_kind_is_made_and_its_secret_never_shown(
    admin: Client, kind: str
) -> None:
    answer = create(admin, kind)

    channel = Channel.objects.get()
    assert (channel.name, channel.kind) == ("ops", kind)
    assert "Send a test" in answer
    edit = admin.get(f"{NOTIFICATIONS}channels/{channel.pk}/edit").content.decode()
    for page in (answer, edit):
        assert "secret" not in page.replace("signing-secrets", "").replace(
            "Signing secrets", ""
        )
    assert logged_actions(action="channel.create") == [
        ("adam@Alpha", "console", "channel.create", str(channel.pk))
    ]


def test_the_kinds_are_offered_with_where_to_look(admin: Client) -> None:
    page = admin.get(f"{NOTIFICATIONS}channels/new").content.decode()

    assert all(f"?kind={kind}" in page for kind in GIVEN)
    assert "notification_url" not in page


@pytest.mark.parametrize("kind", ["email", "notification_url", "pigeon"])
def test_only_offered_kinds_are_made(
    admin: Client, kind: str, settings: LazySettings
) -> None:
    settings.EMAIL_URL = ""
    page = admin.get(f"{NOTIFICATIONS}channels/new?kind={kind}").content.decode()

    assert "Where shall your tenant be told?" in page
    assert "?kind=email" not in page


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("slack", {"url": "ftp://example.com/"}, "url"),
        ("slack", {"url": ""}, "This field is required"),
        ("slack", {"max_per_hour": "0"}, "greater than or equal to 1"),
        ("slack", {"name": ""}, "This field is required"),
        ("ntfy", {"topic": "a b"}, "1 to 64 of"),
        ("ntfy", {"token": "ü"}, "not printable ASCII"),
        ("email", {"recipients": "ann"}, "ann is no address"),
        ("email", {"recipients": " ,"}, "required"),
        (
            "email",
            {"recipients": " ".join(f"a{n}@example.com" for n in range(21))},
            "At most 20",
        ),
    ],
)
def test_a_channel_that_cannot_be_is_refused_in_the_form(
    admin: Client, kind: str, wrong: dict[str, str], said: str
) -> None:
    page = create(admin, kind, **wrong)

    assert 'class="error" role="alert"' in page
    assert said in page
    assert not Channel.objects.exists()


def test_a_private_target_is_refused(admin: Client, settings: LazySettings) -> None:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False

    create(admin, "webhook", url="http://127.0.0.1/")

    assert not Channel.objects.exists()


def test_a_name_is_given_once(admin: Client) -> None:
    create(admin, "slack")

    assert "There is a channel ops already" in create(admin, "slack")
    assert Channel.objects.count() == 1


def edit(browser: Client, channel: Channel, **form: str) -> str:
    path = f"{NOTIFICATIONS}channels/{channel.pk}/edit"
    given = {"name": channel.name, "max_per_hour": "20", **form}
    return browser.post(path, given, follow=True).content.decode()


def test_an_empty_secret_keeps_the_present_one(admin: Client) -> None:
    create(admin, "slack")
    channel = Channel.objects.get()

    page = edit(admin, channel, name="chat", max_per_hour="5", is_paused="on")

    channel.refresh_from_db()
    assert (channel.name, channel.max_per_hour, channel.is_paused) == ("chat", 5, True)
    assert channel.settings.url == SECRET_URL
    assert "https://example.com/…" in page
    edit(admin, channel, url="https://example.com/new")
    channel.refresh_from_db()
    assert channel.settings.url == "https://example.com/new"
    changed = AuditEntry.objects.filter(action="channel.change").order_by("id")
    assert [sorted(entry.changes or {}) for entry in changed] == [
        ["is_paused", "max_per_hour", "name"],
        ["is_paused", "max_per_hour", "settings"],
    ]


def test_a_setting_that_may_be_absent_is_removed(admin: Client) -> None:
    create(admin, "ntfy", url="https://example.com/ntfy")
    channel = Channel.objects.get()

    edit(admin, channel, topic="ops", remove_token="on")

    channel.refresh_from_db()
    assert channel.settings.token == ""
    assert channel.settings.url == "https://example.com/ntfy"


def test_a_channel_whose_settings_cannot_be_read_takes_new_ones(
    admin: Client, tenant_admin: User
) -> None:
    channel = make_channel(tenant_admin, ChannelKind.SLACK, name="ops")
    Channel.objects.update(sealed_settings="encrypted:v1:nonsense")

    page = admin.get(NOTIFICATIONS).content.decode()
    edit(admin, channel, url=SECRET_URL)

    assert "unreadable" in page
    channel.refresh_from_db()
    assert channel.settings.url == SECRET_URL


def test_removing_a_channel_asks_first(admin: Client, tenant_admin: User) -> None:
    channel = make_channel(tenant_admin, name="ops")
    make_rule(tenant_admin, channel, "run.failed")
    path = f"{NOTIFICATIONS}channels/{channel.pk}/remove"

    question = admin.post(path).content.decode()

    assert "Remove the channel ops?" in question
    assert "Its 1 rule and its unsent messages" in question
    assert Channel.objects.exists()
    admin.post(path, {"confirmed": "yes"})
    assert not Channel.objects.exists()
    assert not NotificationRule.objects.exists()


def test_a_test_is_sent_and_listed(admin: Client, tenant_admin: User) -> None:
    channel = make_channel(tenant_admin, name="ops")

    page = admin.post(f"{NOTIFICATIONS}channels/{channel.pk}/test", follow=True)

    [message] = messages(channel)
    assert message.is_test
    text = page.content.decode()
    assert "A test message to ops is on its way" in text
    assert "Test message of the scheduler for Alpha" in text
    assert "waits" in text
    assert '<a href="#sent">1</a> of 20' in text


def test_a_paused_channel_sends_no_test(admin: Client, tenant_admin: User) -> None:
    channel = make_channel(tenant_admin, is_paused=True)

    page = admin.post(f"{NOTIFICATIONS}channels/{channel.pk}/test", follow=True)

    assert "The channel is paused." in page.content.decode()


def test_what_was_sent_is_listed_with_its_result(
    admin: Client, tenant_admin: User
) -> None:
    channel = make_channel(tenant_admin, name="ops")
    make_rule(tenant_admin, channel, "run.failed")
    end(make_periodic(tenant_admin, "report"), True, late=60)
    send_due()
    sent = Task.objects.get(surface="notices")
    run = store_run(sent, reason="HTTP 404")

    page = admin.get(NOTIFICATIONS).content.decode()

    assert "report failed: HTTP 500" in page
    assert "HTTP 404" in page
    assert f"/app/runs/{run.pk}/" in page


def test_the_list_asks_again_while_a_message_is_under_way(
    admin: Client, tenant_admin: User
) -> None:
    channel = make_channel(tenant_admin, name="ops")
    admin.post(f"{NOTIFICATIONS}channels/{channel.pk}/test")
    asks = {"HX-Request": "true"}

    waiting = admin.get(NOTIFICATIONS, headers=asks).content.decode()
    store_run(Task.objects.get(surface="notices"))
    over = admin.get(NOTIFICATIONS, headers=asks).content.decode()

    assert "hx-trigger" in waiting
    assert "hx-trigger" not in over
    assert "failed" in over
    assert "<html" not in over


def test_the_notification_url_is_listed_with_what_it_got(
    admin: Client, tenant_admin: User, alpha: Tenant
) -> None:
    services.configure_tenant("Alpha", notification_url="https://example.com/told")
    alpha.refresh_from_db()

    page = admin.get(NOTIFICATIONS).content.decode()

    assert "notification URL" in page
    assert "https://example.com/…" in page
    assert "Remove" not in page


# Who.


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_others_read_and_have_no_buttons(
    client: Client, user: User, tenant_admin: User, role: Role
) -> None:
    services.change_user(user, role=role)
    client.force_login(user)
    make_rule(tenant_admin, make_channel(tenant_admin, name="ops"), "run.failed")

    page = client.get(NOTIFICATIONS).content.decode()

    assert "a run failed" in page
    main = page.partition("<main")[2]
    assert "<button" not in main
    assert "New channel" not in main
    assert ("https://example.com/…" in main) is (role == Role.VIEWER)


def test_a_tenant_sees_nothing_of_another(admin: Client, stranger: User) -> None:
    make_channel(stranger, name="theirs")

    page = admin.get(NOTIFICATIONS).content.decode()

    assert "theirs" not in page
    assert "Nobody is told of failures yet" in page


def test_the_page_costs_the_same_with_many_channels(
    admin: Client,
    tenant_admin: User,
    make_task: MakeTask,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(12):
        channel = make_channel(tenant_admin, name=f"channel {number}")
        make_rule(tenant_admin, channel, "run.failed", task_id=make_task().pk)
        admin.post(f"{NOTIFICATIONS}channels/{channel.pk}/test")

    with django_assert_max_num_queries(11):
        admin.get(NOTIFICATIONS)
