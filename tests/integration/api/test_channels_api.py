"""Channels and rules over the API: administrators write, members read, secrets stay hidden."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.domain.notices import Event
from tasks_api.models import Channel
from tests.conftest import ClientFor
from tests.integration.support.channels_surface import (
    BODIES,
    SECRET_URL,
    error,
    make_channel,
    make_rule,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(tenant_admin: User, client_for: ClientFor) -> APIClient:
    return client_for(tenant_admin)


@pytest.fixture
def foreign_admin(stranger: User, client_for: ClientFor) -> APIClient:
    return client_for(accounts.change_user(stranger, role=Role.ADMIN))


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_a_channel_of_each_kind_is_made_and_shown_without_its_secret(
    admin: APIClient, kind: str
) -> None:
    body = {"name": kind, "kind": kind, **BODIES[kind]}

    answer = admin.post("/channels/", body, format="json")

    made = answer.json()
    assert answer.status_code == 201, made
    assert admin.get(answer["Location"]).json() == made
    assert (made["kind"], made["max_per_hour"], made["paused"]) == (kind, 20, False)
    # An address is no secret for those who manage the channel.
    assert kind == "email" or "s3cret" not in answer.content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed_settings FROM tasks_api_channel")
        assert "s3cret" not in cursor.fetchone()[0]


def test_members_read_channels_and_rules_without_where_they_send(
    admin: APIClient, user: User, client_for: ClientFor
) -> None:
    channel = make_channel(admin)
    rule = make_rule(admin, channel)
    member = client_for(user)

    [shown] = member.get("/channels/").json()["channels"]

    assert shown == {
        name: channel[name]
        for name in ("id", "name", "kind", "max_per_hour", "paused", "created_at")
    }
    assert member.get(f"/channels/{channel['id']}/").json() == shown
    assert member.get("/rules/").json()["rules"] == [rule]
    assert member.get(f"/rules/{rule['id']}/").json() == rule


def test_members_change_nothing(
    admin: APIClient, user: User, client_for: ClientFor
) -> None:
    channel = make_channel(admin)
    rule, member = make_rule(admin, channel), client_for(user)
    of_channel, of_rule = f"/channels/{channel['id']}/", f"/rules/{rule['id']}/"

    answers = [
        member.post("/channels/", {}, format="json"),
        member.patch(of_channel, {"paused": True}, format="json"),
        member.post(f"{of_channel}test/"),
        member.delete(of_channel),
        member.post("/rules/", {}, format="json"),
        member.patch(of_rule, {"paused": True}, format="json"),
        member.delete(of_rule),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert admin.get(of_channel).json() == channel
    assert admin.get(of_rule).json() == rule


def test_another_tenant_reaches_nothing(
    admin: APIClient, foreign_admin: APIClient
) -> None:
    channel = make_channel(admin)
    rule = make_rule(admin, channel)
    of_channel, of_rule = f"/channels/{channel['id']}/", f"/rules/{rule['id']}/"
    body = {"channel_id": channel["id"], "events": ["run.failed"]}

    answers = [
        foreign_admin.get(of_channel),
        foreign_admin.patch(of_channel, {"paused": True}, format="json"),
        foreign_admin.post(f"{of_channel}test/"),
        foreign_admin.delete(of_channel),
        foreign_admin.get(of_rule),
        foreign_admin.patch(of_rule, {"paused": True}, format="json"),
        foreign_admin.delete(of_rule),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert foreign_admin.get("/channels/").json()["channels"] == []
    assert foreign_admin.get("/rules/").json()["rules"] == []
    refused = foreign_admin.post("/rules/", body, format="json")
    assert (refused.status_code, "channel_id" in error(refused)) == (400, True)
    # Names are each tenant's own.
    make_channel(foreign_admin)
    assert admin.get(of_channel).json() == channel


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "slack", "url": SECRET_URL}, "name"),
        ({"name": "", "kind": "slack", "url": SECRET_URL}, "name"),
        ({"name": "a" * 101, "kind": "slack", "url": SECRET_URL}, "name"),
        ({"name": "a\nb", "kind": "slack", "url": SECRET_URL}, "name"),
        ({"name": "a"}, "kind"),
        ({"name": "a", "kind": "fax"}, "kind"),
        ({"name": "a", "kind": ["slack"]}, "kind"),
        ({"name": "a", "kind": "notification_url"}, "kind"),
        ({"name": "a", "kind": "slack"}, "url"),
        ({"name": "a", "kind": "slack", "url": "ftp://x/"}, "url"),
        ({"name": "a", "kind": "slack", "url": "http://127.0.0.1/"}, "url"),
        ({"name": "a", "kind": "slack", "url": "https://hooks.example.com/…"}, "url"),
        (
            {
                "name": "a",
                "kind": "slack",
                "url": SECRET_URL,
                "recipients": ["a@b.org"],
            },
            "recipients",
        ),
        ({"name": "a", "kind": "email", "recipients": []}, "recipients"),
        ({"name": "a", "kind": "email", "recipients": "a@example.com"}, "recipients"),
        (
            {"name": "a", "kind": "email", "recipients": ["a@example.com\nBcc: b"]},
            "recipients",
        ),
        ({"name": "a", "kind": "email", "recipients": [7]}, "recipients"),
        (
            {"name": "a", "kind": "email", "recipients": ["a@example.com"] * 21},
            "recipients",
        ),
        ({"name": "a", "kind": "ntfy", "topic": "a/b"}, "topic"),
        ({"name": "a", "kind": "ntfy", "topic": "a", "token": "é"}, "token"),
        ({"name": "a", "kind": "pagerduty", "routing_key": ""}, "routing_key"),
        (
            {"name": "a", "kind": "slack", "url": SECRET_URL, "max_per_hour": 0},
            "max_per_hour",
        ),
        ({"name": "a", "kind": "slack", "url": SECRET_URL, "paused": "no"}, "paused"),
        ({"name": "a", "kind": "slack", "urll": SECRET_URL}, "urll"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_with_its_field(
    admin: APIClient, body: dict[str, Any], field: str
) -> None:
    answer = admin.post("/channels/", body, format="json")

    assert answer.status_code == 400
    assert field in error(answer)
    assert not Channel.objects.exists()


def test_what_was_read_can_be_sent_back(admin: APIClient) -> None:
    quiet = {"from": "22:00", "to": "07:00", "timezone": "Europe/Berlin"}
    for kind, body in BODIES.items():
        channel = make_channel(admin, name=kind, **{"url": None, "kind": kind, **body})
        stored = Channel.objects.get(pk=channel["id"]).settings
        rule = make_rule(admin, channel, events=list(Event), quiet_hours=quiet)

        of_channel = admin.patch(f"/channels/{channel['id']}/", channel, format="json")
        of_rule = admin.patch(f"/rules/{rule['id']}/", rule, format="json")

        assert (of_channel.status_code, of_channel.json()) == (200, channel)
        assert (of_rule.status_code, of_rule.json()) == (200, rule)
        assert Channel.objects.get(pk=channel["id"]).settings == stored


def test_the_settings_of_a_channel_change(admin: APIClient) -> None:
    channel = make_channel(admin, kind="ntfy", url=None, topic="ops", token="s3cret")
    path = f"/channels/{channel['id']}/"
    changes = {"topic": "dev", "token": None, "name": "dev", "max_per_hour": 5}

    changed = admin.patch(path, changes, format="json").json()

    assert changed == {**channel, **changes}
    stored = Channel.objects.get().settings
    assert (stored.topic, stored.token) == ("dev", "")
    refused = admin.patch(path, {"topic": None}, format="json")
    assert (refused.status_code, "topic" in error(refused)) == (400, True)


def test_a_name_is_given_once(admin: APIClient) -> None:
    make_channel(admin)
    other = make_channel(admin, name="other")

    again = admin.post(
        "/channels/",
        {"name": "on call", "kind": "slack", "url": SECRET_URL},
        format="json",
    )
    renamed = admin.patch(
        f"/channels/{other['id']}/", {"name": "on call"}, format="json"
    )

    assert (again.status_code, renamed.status_code) == (409, 409)
    assert error(again) == "There is a channel on call already"


def test_a_channel_goes_with_its_rules(admin: APIClient) -> None:
    channel = make_channel(admin)
    make_rule(admin, channel)

    answer = admin.delete(f"/channels/{channel['id']}/")

    assert answer.json() == {"message": "Channel has been removed successfully"}
    assert admin.get("/rules/").json()["rules"] == []
    assert admin.get(f"/channels/{channel['id']}/").status_code == 404
    assert admin.delete(f"/channels/{channel['id']}/").status_code == 404


def test_lists_are_read_in_pages(admin: APIClient) -> None:
    channels = [make_channel(admin, name=str(number)) for number in range(5)]
    rules = [make_rule(admin, channels[0]) for _ in range(5)]

    for path, made in (("channels", channels), ("rules", rules)):
        first = admin.get(f"/{path}/?limit=3")
        rest = admin.get(f"/{path}/", {"cursor": first.json()["next_cursor"]})
        assert [*first.json()[path], *rest.json()[path]] == made[::-1]
        assert 'rel="next"' in first["Link"]
        assert rest.json()["next_cursor"] is None
        assert admin.get(f"/{path}/?cursor=x").status_code == 400


def test_a_tenant_has_so_many_channels_and_rules(
    admin: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.channels.MAX_CHANNELS", 1)
    monkeypatch.setattr("tasks_api.services.rules.MAX_RULES", 1)
    channel = make_channel(admin)
    make_rule(admin, channel)
    rule = {"channel_id": channel["id"], "events": ["run.failed"]}
    another = {"name": "b", "kind": "slack", "url": SECRET_URL}

    assert admin.post("/channels/", another, format="json").status_code == 409
    assert admin.post("/rules/", rule, format="json").status_code == 409


def test_changes_stand_in_the_audit_log_without_secrets(admin: APIClient) -> None:
    channel = make_channel(admin)
    rule = make_rule(admin, channel)
    admin.patch(f"/channels/{channel['id']}/", {"url": f"{SECRET_URL}2"}, format="json")
    admin.patch(f"/rules/{rule['id']}/", {"streak": 5}, format="json")
    admin.post(f"/channels/{channel['id']}/test/")
    admin.delete(f"/rules/{rule['id']}/")
    admin.delete(f"/channels/{channel['id']}/")

    entries = AuditEntry.objects.filter(actor="adam@Alpha").order_by("id")
    found = [(entry.action, entry.object_id) for entry in entries]

    ids = {"channel": channel["id"], "rule": rule["id"]}
    done = [
        *("channel.create", "rule.create", "channel.change", "rule.change"),
        *("channel.test", "rule.remove", "channel.remove"),
    ]
    # The test message was not sent yet.
    ours = [each for each in found if each[0] != "task.remove"]
    assert ours == [(action, ids[action.split(".")[0]]) for action in done]
    changes = [entry.changes for entry in entries]
    assert {"settings": ["…", "…"]} in changes
    assert {"streak": [3, 5]} in changes
    assert "s3cret" not in str(changes)


def test_mail_is_offered_where_it_can_be_sent(
    admin: APIClient, settings: LazySettings
) -> None:
    settings.EMAIL_URL = ""
    body = {"name": "a", "kind": "email", "recipients": ["a@example.com"]}

    answer = admin.post("/channels/", body, format="json")

    assert answer.status_code == 400
    assert "EMAIL_URL" in error(answer)


def test_the_notification_url_is_a_channel_that_operators_set(
    admin: APIClient,
) -> None:
    taken = make_channel(admin, name="notification URL")
    accounts.configure_tenant("Alpha", notification_url="https://a:s3cret@e.org/told")

    [channel, other] = admin.get("/channels/").json()["channels"]

    assert (other, channel["name"][:-7]) == (taken, "notification URL")

    path = f"/channels/{channel['id']}/"
    assert (channel["kind"], channel["url"]) == ("notification_url", "https://e.org/…")
    assert admin.get("/channels/").json()["channels"] == [channel, other]
    assert admin.delete(path).status_code == 409
    assert admin.patch(path, {"url": SECRET_URL}, format="json").status_code == 400
    assert admin.post(f"{path}test/").status_code == 202
    make_rule(admin, channel, events=["run.failed"])
    built_in = {"channel_id": channel["id"], "events": ["task.paused"]}
    refused = admin.post("/rules/", built_in, format="json")
    assert (refused.status_code, "events" in error(refused)) == (400, True)
