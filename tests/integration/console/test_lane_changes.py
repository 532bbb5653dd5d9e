"""Administrators make, change, pause, resume and remove lanes on their pages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, User, Via
from tasks_api.models import Lane
from tests.conftest import MakeTask
from tests.integration.support.lane_rows import make_lane, task_in_lane
from tests.integration.support.task_pages import text_of

pytestmark = pytest.mark.django_db

LANES = "/app/lanes/"
NEW = "/app/lanes/new/"
CRM = f"{LANES}crm/"
LIMITS = {
    "name": "crm",
    "host": "API.example.com",
    "rate_limit": "20",
    "rate_per": "minute",
    "burst": "4",
    "concurrency": "5",
    "breaker_after": "10",
    "breaker_for": "60",
}


def test_the_form_makes_a_lane(admin: Client, make_task: MakeTask) -> None:
    task = make_task(url="https://api.example.com/x")

    answer = admin.post(NEW, LIMITS)

    assert answer["Location"] == CRM[:-1]
    lane = Lane.objects.get()
    assert (lane.host, lane.rate_limit, lane.rate_per) == (
        "api.example.com",
        20,
        "minute",
    )
    assert (lane.burst, lane.concurrency) == (4, 5)
    assert (lane.breaker_after, lane.breaker_for) == (10, 60)
    task.refresh_from_db()
    assert task.lane == lane
    assert AuditEntry.objects.get(action="lane.create").via == Via.CONSOLE


def test_what_the_form_leaves_empty_is_no_limit(admin: Client) -> None:
    admin.post(NEW, {"name": "crm"})

    lane = Lane.objects.get()
    assert (lane.host, lane.rate_limit, lane.rate_per, lane.burst) == (
        "",
        None,
        "second",
        1,
    )
    assert (lane.concurrency, lane.breaker_after, lane.breaker_for) == (None, None, 30)


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"name": "a b"}, "name", "A-Z, a-z, 0-9"),
        ({"name": "new"}, "name", "Choose another name"),
        ({"name": "ghost"}, "name", "There is a lane with the name ghost already"),
        ({"host": "taken.example"}, "host", "There is a lane with the host"),
        ({"host": "https://x"}, "host", "should be a host as in URLs"),
        ({"burst": "21"}, "burst", "It is more than may start."),
        ({"rate_limit": "", "burst": "2"}, "burst", "It needs a rate."),
        ({"rate_limit": "0"}, "rate_limit", "greater than or equal to 1"),
        ({"rate_per": "day"}, "rate_per", "Select a valid choice"),
        ({"breaker_after": ""}, "breaker_after", "Say after how many failures."),
    ],
)
def test_a_wrong_field_is_named(
    admin: Client, tenant_admin: User, values: dict[str, str], field: str, words: str
) -> None:
    make_lane(tenant_admin, "ghost", host="taken.example")

    answer = admin.post(NEW, LIMITS | values)

    assert answer.status_code == 200
    assert words in str(answer.context["form"].errors[field])
    assert Lane.objects.count() == 1


def test_an_edit_begins_with_the_lane_and_changes_it(
    admin: Client, tenant_admin: User
) -> None:
    admin.post(NEW, LIMITS)
    form = admin.get(f"{CRM}edit/").context["form"]
    values = {field.name: field.value() for field in form}
    shown = {name: str(value) for name, value in values.items()}
    assert {**shown, "name": "crm"} == {**LIMITS, "host": "api.example.com"}

    admin.post(f"{CRM}edit/", {**values, "rate_limit": 7})

    lane = Lane.objects.get()
    assert (lane.rate_limit, lane.burst, lane.breaker_for) == (7, 4, 60)
    [entry] = AuditEntry.objects.filter(action="lane.change")
    assert (entry.changes or {}).keys() == {"rate_limit"}


def test_a_pause_has_a_reason_and_an_end(admin: Client, tenant_admin: User) -> None:
    make_lane(tenant_admin)
    until = timezone.now() + timedelta(hours=2)

    asked = text_of(admin, f"{CRM}pause/")
    admin.post(
        f"{CRM}pause/", {"reason": "Night", "until": f"{until:%Y-%m-%dT%H:%M:%S}"}
    )

    assert "None of its requests starts while it is paused" in asked
    lane = Lane.objects.get()
    assert (lane.hold_reason, lane.resume_at) == ("Night", until.replace(microsecond=0))
    assert lane.is_paused(timezone.now())
    assert ">Resume</button>" in text_of(admin, CRM)

    admin.post(f"{CRM}resume/")

    assert not Lane.objects.get().is_paused(timezone.now())
    actions = set(AuditEntry.objects.values_list("action", "via"))
    assert {("lane.pause", Via.CONSOLE), ("lane.resume", Via.CONSOLE)} <= actions


def test_a_pause_does_not_end_in_the_past(admin: Client, tenant_admin: User) -> None:
    make_lane(tenant_admin)

    answer = admin.post(f"{CRM}pause/", {"until": "2020-01-01T00:00"})

    assert "That has passed." in answer.content.decode()
    assert Lane.objects.get().paused_at is None


def test_a_removal_asks_first(admin: Client, tenant_admin: User) -> None:
    make_lane(tenant_admin, host="api.example.com")

    asked = admin.post(f"{CRM}remove/").content.decode()
    assert "Remove lane crm?" in asked
    assert "api.example.com" in asked
    assert Lane.objects.exists()
    done = admin.post(f"{CRM}remove/", {"confirmed": "yes"})

    assert done["Location"] == LANES[:-1]
    assert not Lane.objects.exists()


def test_a_lane_with_tasks_is_not_removed_and_says_how_they_leave(
    admin: Client, tenant_admin: User, user: User
) -> None:
    make_lane(tenant_admin, host="crm.example.com")
    task_in_lane(user, "")

    page = admin.post(f"{CRM}remove/", {"confirmed": "yes"}).content.decode()

    assert "Lane crm is in use" in page
    assert 'href="/app/tasks/?lane=crm">1 task</a>' in page
    assert f"{CRM}edit" in page
    assert Lane.objects.exists()
