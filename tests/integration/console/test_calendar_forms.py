"""The form of a task names calendars, and its preview says what they do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.day_sets import WEEKDAYS
from tasks_api.models import Task
from tests.conftest import ClientFor
from tests.integration.support.calendars import change_calendar, make_calendar
from tests.integration.support.task_forms import NEW, edit_path, values_of

pytestmark = pytest.mark.django_db

DAILY: dict[str, Any] = {
    "schedule": "cron",
    "cron": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "url": "https://example.com/report",
}
ON_CALENDARS = DAILY | {
    "exclude": ["weekend", "holidays"],
    "on_excluded": "next_business_day",
    "hold": ["freeze"],
    "pace": "20/minute",
}
SHOWN = {
    "exclude": ["holidays", "weekend"],
    "on_excluded": "next_business_day",
    "hold": ["freeze"],
    "pace": "20/minute",
}


@pytest.fixture(autouse=True)
def _calendars(user: User, stranger: User) -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    make_calendar(user, "weekend", weekdays=["sat", "sun"])
    make_calendar(user, "holidays")
    change_calendar(user, "holidays", dates=[tomorrow.date().isoformat()])
    make_calendar(user, "freeze", ranges=[{"from": "2090-01-01", "to": "2090-01-31"}])
    make_calendar(user, "always", weekdays=list(WEEKDAYS))
    make_calendar(stranger, "of-beta")


def shown(client_for: ClientFor, user: User) -> Any:
    return client_for(user).get(f"/tasks/id/{Task.objects.get().pk}").json()


def test_the_form_offers_the_calendars_of_the_tenant(member: Client) -> None:
    page = member.get(NEW).content.decode()

    for name in ("always", "freeze", "holidays", "weekend"):
        assert page.count(f'value="{name}"') == 3
    assert "of-beta" not in page


def test_calendars_reach_the_task_and_an_edit_keeps_them(
    member: Client, user: User, client_for: ClientFor
) -> None:
    answer = member.post(NEW, ON_CALENDARS)
    assert answer.status_code == 302, answer.content.decode()
    path = edit_path(Task.objects.get().pk)
    before = shown(client_for, user)
    member.post(path, values_of(member, path))
    version = Task.objects.get().version
    member.post(path, values_of(member, path) | {"tags": "new"})

    assert (before["calendars"], version) == (SHOWN, 1)
    assert shown(client_for, user) == before | {"tags": ["new"]}


def test_an_edit_takes_calendars_from_a_task(
    member: Client, user: User, client_for: ClientFor
) -> None:
    member.post(NEW, ON_CALENDARS)
    path = edit_path(Task.objects.get().pk)
    form = values_of(member, path)
    for name in ("exclude", "hold", "on_excluded", "pace"):
        del form[name]

    answer = member.post(path, form)

    assert answer.status_code == 302, answer.content.decode()
    assert "calendars" not in shown(client_for, user)


def test_a_preview_shows_what_a_calendar_leaves_out_and_moves(member: Client) -> None:
    preview = {"action": "preview", "timezone": "UTC"}
    live = {"HX-Request": "true"}
    skips = DAILY | {"exclude": ["holidays"]} | preview
    moves = skips | {"on_excluded": "next_business_day"}

    left_out = member.post(NEW, skips, headers=live).content.decode()
    moved = member.post(NEW, moves, headers=live).content.decode()

    assert "Left out by calendar holidays, version 2." in left_out
    assert "/app/calendars/holidays" in left_out
    assert "except on calendar holidays" in left_out
    assert "not at all" in left_out
    assert "or else on the next business day" in moved


def test_a_preview_ends_with_the_runs_of_the_task(member: Client) -> None:
    form = DAILY | {"max_runs": "2", "action": "preview"}

    answer = member.post(NEW, form, headers={"HX-Request": "true"})

    assert len(answer.context["preview"].fire_times) == 2


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"exclude": ["of-beta"]}, "exclude", "There is no calendar of-beta"),
        ({"exclude": ["always"]}, "exclude", "It never fires again"),
        ({"hold": ["freeze"], "pace": "fast"}, "pace", "such as 20/minute"),
        (
            {"on_excluded": "next_business_day", "hold": ["freeze"]},
            "on_excluded",
            "goes with",
        ),
        ({"hold": ["freeze"], "overlap": "queue_one"}, "hold", "allow or skip"),
    ],
)
def test_a_wrong_calendar_is_named_beside_it(
    member: Client, wrong: dict[str, Any], field: str, sentence: str
) -> None:
    answer = member.post(NEW, DAILY | wrong)

    form = answer.context["form"]
    assert sentence in str(form.errors[field])
    assert form.errors.keys() == {field}
    assert not Task.objects.exists()


def test_an_edit_says_that_a_calendar_leaves_it_no_fire_time(member: Client) -> None:
    member.post(NEW, DAILY)
    path = edit_path(Task.objects.get().pk)

    answer = member.post(path, values_of(member, path) | {"exclude": ["always"]})

    assert "It never fires again" in str(answer.context["form"].errors["exclude"])
    assert Task.objects.get().version == 1
