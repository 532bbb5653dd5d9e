"""A task is paused with a reason and an end, and makes up for the pause on its resume."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services as accounts
from accounts.models import AuditEntry, User
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.schedules import Cron
from tasks_api.models import ScheduleChange, Task
from tasks_api.services import pausing, removal
from tasks_api.services.pausing import Hold
from tests.conftest import MakeTask
from tests.integration.support.task_pages import TASKS, text_of

pytestmark = pytest.mark.django_db

NIGHTLY = Cron("30 2 * * *", "Europe/Berlin")


def pause(user: User, task: Task, hold: Hold | None = None) -> None:
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now(), hold=hold)


def test_a_task_is_paused_until_a_moment_of_its_zone(
    member: Client, make_task: MakeTask
) -> None:
    task = make_task(schedule=NIGHTLY)
    path = f"{TASKS}{task.pk}/pause/"
    form = member.get(path).context["form"]
    values = {"timezone": form["timezone"].value(), "catch_up": "latest"}
    said = {"reason": "the database moves", "until": "2090-07-01T09:00"}

    answer = member.post(path, values | said, follow=True)

    page = answer.content.decode()
    assert "is paused." in page
    assert "the database moves" in page
    assert "2090-07-01 07:00:00 UTC" in page
    assert "makes up for the newest fire time" in page
    changed = Task.objects.get()
    assert changed.is_paused
    assert changed.catch_up == CatchUp.LATEST
    assert AuditEntry.objects.get(action="task.pause").via == "console"


def test_a_pause_is_changed(member: Client, user: User, make_task: MakeTask) -> None:
    task = make_task(schedule=NIGHTLY)
    pause(user, task, Hold("first", timezone.now() + timedelta(days=1), CatchUp.ALL))
    path = f"{TASKS}{task.pk}/pause/"
    form = member.get(path).context["form"]

    assert (form["reason"].value(), form["catch_up"].value()) == ("first", "all")
    member.post(path, {"reason": "second", "catch_up": "none"})

    changed = Task.objects.get()
    assert (changed.hold_reason, changed.resume_at) == ("second", None)
    assert f'href="{path.rstrip("/")}"' in text_of(member, f"{TASKS}{task.pk}/")


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"until": "2001-01-01T00:00"}, "until", "in the future"),
        ({"until": "soon"}, "until", "a date and a time"),
        ({"timezone": "Mars"}, "timezone", "is not known"),
        ({"reason": "x" * 1001}, "reason", "1000"),
        ({"catch_up": "some"}, "catch_up", "some"),
    ],
)
def test_a_wrong_field_is_named_beside_it(
    member: Client,
    make_task: MakeTask,
    wrong: dict[str, str],
    field: str,
    sentence: str,
) -> None:
    path = f"{TASKS}{make_task(schedule=NIGHTLY).pk}/pause/"

    form = member.post(path, {"catch_up": "none"} | wrong).context["form"]

    assert sentence in " ".join(form.errors[field])
    assert form.errors.keys() == {field}
    assert not Task.objects.get().is_paused


def test_a_resume_makes_up_for_the_pause(
    member: Client, user: User, make_task: MakeTask
) -> None:
    task = make_task(schedule=NIGHTLY)
    pause(user, task, Hold(catch_up=CatchUp.LATEST))
    path = f"{TASKS}{task.pk}/resume/"
    assert member.get(path).context["form"]["catch_up"].value() == "latest"
    # Fire times have passed meanwhile.
    changes = ScheduleChange.objects.filter(task=task)
    changes.update(at=timezone.now() - timedelta(days=3))

    page = member.post(path, {"catch_up": "all"}, follow=True).content.decode()

    assert "is resumed. Its runs follow within a second." in page
    change = ScheduleChange.objects.get(task=task, what="resumed")
    assert change.catch_up == CatchUp.ALL


def test_a_task_without_an_active_owner_stays_paused(
    admin: Client, user: User, make_task: MakeTask
) -> None:
    task = make_task(schedule=NIGHTLY)
    pause(user, task)
    accounts.change_user(user, is_active=False)

    page = admin.post(f"{TASKS}{task.pk}/resume/", {"catch_up": "none"})

    assert "The user of the task is deactivated" in page.content.decode()
    assert Task.objects.get().is_paused


@pytest.mark.parametrize("page", ["pause", "resume"])
def test_others_tasks_and_ended_ones_are_not_found(
    member: Client,
    user: User,
    colleague: User,
    stranger: User,
    make_task: MakeTask,
    page: str,
) -> None:
    ended = make_task(schedule=NIGHTLY)
    removal.remove_task(user, str(ended.pk), now=timezone.now())
    others = [make_task(each, schedule=NIGHTLY) for each in (colleague, stranger)]

    for task in (ended, *others):
        path = f"{TASKS}{task.pk}/{page}/"
        assert member.get(path).status_code == 404
        assert member.post(path, {"catch_up": "none"}).status_code == 404


def test_the_page_of_a_task_offers_what_it_can_do(
    member: Client, user: User, viewer: User, make_task: MakeTask
) -> None:
    task = make_task(schedule=NIGHTLY)
    path = f"{TASKS}{task.pk}"
    going = text_of(member, f"{path}/")
    pause(user, task)
    paused = text_of(member, f"{path}/")

    assert f'href="{path}/pause"' in going
    assert f'href="{path}/resume"' not in going
    assert f'href="{path}/resume"' in paused
    assert f'href="{path}/backfill"' in paused
