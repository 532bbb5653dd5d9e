"""Rules over the API: what they may be about, and what is refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import NotificationRule
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.channels_surface import (
    error,
    make_channel,
    make_rule,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(tenant_admin: User, client_for: ClientFor) -> APIClient:
    return client_for(tenant_admin)


def test_a_rule_is_about_no_task_of_another_tenant(
    admin: APIClient, stranger: User, make_task: MakeTask
) -> None:
    foreign = make_task(stranger)
    body = {
        "channel_id": make_channel(admin)["id"],
        "events": ["run.failed"],
        "task_id": str(foreign.pk),
    }

    answer = admin.post("/rules/", body, format="json")

    assert answer.status_code == 400
    assert error(answer) == "Invalid value of task_id. There is no such task"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"channel_id": None}, "channel_id"),
        ({"channel_id": "x"}, "channel_id"),
        ({"channel_id": str(uuid.uuid4())}, "channel_id"),
        ({"events": []}, "events"),
        ({"events": ["run.exploded"]}, "events"),
        ({"events": "run.failed"}, "events"),
        ({"task_id": "x"}, "task_id"),
        ({"task_id": 7}, "task_id"),
        ({"task_id": str(uuid.uuid4())}, "task_id"),
        ({"tag": ""}, "tag"),
        ({"tag": "a" * 101}, "tag"),
        ({"streak": 0}, "streak"),
        ({"streak": True}, "streak"),
        ({"late_after": 0}, "late_after"),
        ({"digest_seconds": -1}, "digest_seconds"),
        ({"digest_seconds": 86401}, "digest_seconds"),
        ({"quiet_hours": "22-7"}, "quiet_hours"),
        ({"quiet_hours": {"from": "22:00", "to": "07:00"}}, "quiet_hours.timezone"),
        ({"quiet_hours": {"to": "07:00", "timezone": "UTC"}}, "quiet_hours.from"),
        (
            {"quiet_hours": {"from": "25:00", "to": "07:00", "timezone": "UTC"}},
            "quiet_hours.from",
        ),
        (
            {"quiet_hours": {"from": "07:00", "to": "07:00", "timezone": "UTC"}},
            "quiet_hours.to",
        ),
        (
            {"quiet_hours": {"from": "22:00", "to": "07:00", "timezone": "Mars/X"}},
            "quiet_hours.timezone",
        ),
        (
            {"quiet_hours": {"from": "22:00", "until": "07:00", "timezone": "UTC"}},
            "quiet_hours.until",
        ),
        ({"event": ["run.failed"]}, "event"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_field(
    admin: APIClient, more: dict[str, Any], field: str
) -> None:
    body = {"channel_id": make_channel(admin)["id"], "events": ["run.failed"], **more}

    answer = admin.post("/rules/", body, format="json")

    assert answer.status_code == 400
    assert field in error(answer)
    assert not NotificationRule.objects.exists()


def test_a_rule_is_about_a_task_or_a_tag(admin: APIClient, make_task: MakeTask) -> None:
    channel, task = make_channel(admin), make_task()
    rule = make_rule(admin, channel, task_id=str(task.pk))
    path = f"/rules/{rule['id']}/"

    refused = admin.patch(path, {"tag": "billing"}, format="json")
    changed = admin.patch(path, {"task_id": None, "tag": "billing"}, format="json")

    assert refused.status_code == 400
    assert changed.json() == {**rule, "task_id": None, "tag": "billing"}
