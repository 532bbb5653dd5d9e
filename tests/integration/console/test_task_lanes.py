"""The form of a task chooses a lane, and says whether the task fits it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tasks_api.models import Lane, Task
from tests.integration.support.lane_rows import make_lane, task_in_lane
from tests.integration.support.task_forms import values_of
from tests.integration.support.task_pages import HTMX, statements

pytestmark = pytest.mark.django_db

NEW = "/app/tasks/new/"
HOURLY = {
    "schedule": "cron",
    "cron": "0 * * * *",
    "timezone": "UTC",
    "method": "POST",
    "url": "https://crm.example.com/sync",
    "lane": "crm",
}
ANYWAY = 'name="admit"'
FILL = re.compile(r'name="action" value="(spread \d+)"')


@pytest.fixture
def full_lane(tenant_admin: User, user: User) -> Lane:
    """Lane crm, which starts one a second, and has as many hourly tasks as it bears."""
    lane = make_lane(tenant_admin)
    for _ in range(61):
        task_in_lane(user)
    Lane.objects.update(rate_limit=1)
    return lane


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def new_task() -> Task:
    return Task.objects.latest("created_at")


def test_the_form_offers_the_lanes_of_the_tenant(
    member: Client, tenant_admin: User, stranger: User
) -> None:
    make_lane(tenant_admin, rate_limit=20, concurrency=5)
    make_lane(stranger, "erp-of-beta")

    page = text_of(member.get(NEW))

    assert '<option value="crm">crm: 20 a second, 5 at once</option>' in page
    assert '<option value="" selected>' in page
    assert "erp-of-beta" not in page


def test_a_task_is_stored_in_its_lane_and_edited_there(
    member: Client, tenant_admin: User
) -> None:
    make_lane(tenant_admin)
    member.post(NEW, HOURLY)
    task = Task.objects.get()
    path = f"/app/tasks/{task.pk}/edit/"
    values = values_of(member, path)
    assert task.lane is not None
    assert values["lane"] == "crm"

    member.post(path, {**values, "lane": ""})

    changed = Task.objects.get()
    assert (changed.lane, changed.lane_name) == (None, "")


@pytest.mark.parametrize("lane", ["no-such", "a b"])
def test_a_lane_that_is_not_there_is_refused_beside_the_field(
    member: Client, lane: str
) -> None:
    answer = member.post(NEW, HOURLY | {"lane": lane})

    assert answer.status_code == 200
    assert answer.context["form"].errors.keys() == {"lane"}
    assert "there is no such lane" in text_of(answer)
    assert not Task.objects.exists()


def test_a_task_that_does_not_fit_is_refused_with_what_would(
    member: Client, full_lane: Lane
) -> None:
    untouched = text_of(member.get(NEW))
    answer = member.post(NEW, HOURLY)

    page, form = text_of(answer), answer.context["form"]
    assert Task.objects.count() == 61
    assert form.errors["spread"][0].startswith("Lane crm lets runs start")
    assert "It does not fit" in page
    assert ANYWAY in page
    assert ANYWAY not in untouched
    [action] = FILL.findall(page)
    filled = member.post(NEW, {**HOURLY, "action": action})
    shown = filled.context["form"]["spread"].value()
    assert action == f"spread {shown}"
    assert "It fits" in text_of(filled)
    assert Task.objects.count() == 61
    member.post(NEW, {**HOURLY, "spread": shown})
    assert new_task().spread == int(shown)


def test_a_task_is_stored_anyway_and_says_so_when_it_is_edited(
    member: Client, full_lane: Lane
) -> None:
    answer = member.post(NEW, {**HOURLY, "admit": "on"})

    task = new_task()
    path = f"/app/tasks/{task.pk}/edit/"
    assert answer["Location"] == f"/app/tasks/{task.pk}/"
    assert task.admit == "anyway"
    page = text_of(member.get(path))
    assert re.search(r'name="admit"[^>]* checked', page)
    values = values_of(member, path)
    member.post(path, {**values, "admit": ""})
    task.refresh_from_db()
    assert task.admit == ""


def test_an_edit_into_a_full_lane_is_refused_with_what_would_fit(
    member: Client, full_lane: Lane, user: User
) -> None:
    task = task_in_lane(user, "")
    path = f"/app/tasks/{task.pk}/edit/"
    values = values_of(member, path)

    refused = member.post(path, {**values, "lane": "crm"})

    assert refused.context["form"].errors["spread"][0].startswith("Lane crm lets")
    [action] = FILL.findall(text_of(refused))
    spread = action.removeprefix("spread ")
    member.post(path, {**values, "lane": "crm", "spread": spread})
    task.refresh_from_db()
    assert (task.lane, task.spread) == (full_lane, int(spread))


def test_the_preview_tells_the_form_what_the_lane_says(
    member: Client, full_lane: Lane
) -> None:
    preview = {**HOURLY, "action": "preview"}
    refused = text_of(member.post(NEW, preview, headers=HTMX))
    fits = text_of(member.post(NEW, preview | {"spread": "600"}, headers=HTMX))
    other = text_of(member.post(NEW, preview | {"lane": ""}, headers=HTMX))

    for part in (refused, fits, other):
        assert '<div id="admission" aria-live="polite" hx-swap-oob="true">' in part
    assert FILL.search(refused)
    assert "It fits" in fits
    assert ANYWAY not in fits
    assert "fit" not in other.partition("When it fires")[0]


def test_a_spread_that_the_service_chooses_is_shown_before(
    member: Client, full_lane: Lane
) -> None:
    preview = {**HOURLY, "spread": "auto", "action": "preview"}

    page = text_of(member.post(NEW, preview, headers=HTMX))

    assert re.search(r"The service chose \d+ s after it", page)


def test_a_load_that_no_spread_would_make_fit_is_said_beside_the_lane(
    member: Client, full_lane: Lane
) -> None:
    Lane.objects.update(rate_per="hour")

    answer = member.post(NEW, HOURLY | {"cron": "*/30 * * * *"})

    assert "times as many" in answer.context["form"].errors["lane"][0]
    assert not FILL.search(text_of(answer))
    assert ANYWAY in text_of(answer)


def test_the_form_takes_a_constant_number_of_statements(
    member: Client, tenant_admin: User
) -> None:
    make_lane(tenant_admin)
    few = statements(member, NEW)
    for number in range(40):
        make_lane(tenant_admin, f"lane-{number}")

    assert statements(member, NEW) == few
