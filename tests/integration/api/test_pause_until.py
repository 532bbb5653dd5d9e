"""Pauses with a reason, and with an end at which tasks resume by themselves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, User, Via
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.scheduler import poll
from tasks_api.services import pausing
from tests.integration.support.stored_runs import hourly_task

pytestmark = pytest.mark.django_db(transaction=True)

SOON = timedelta(hours=1)
REASON = "the billing database moves"


def pause(api: APIClient, task: Task, **body: Any) -> Any:
    return api.post(f"/tasks/{task.pk}/pause/", body, format="json")


def show(api: APIClient, task: Task) -> dict[str, Any]:
    shown: dict[str, Any] = api.get(f"/tasks/{task.pk}").json()
    return shown


def end_pauses() -> int:
    """Let all pauses be over, as if time had passed, and a beat look."""
    Task.objects.filter(resume_at__isnull=False).update(
        resume_at=timezone.now() - timedelta(seconds=1)
    )
    assert poll.find_work().has_pauses_that_are_over
    return pausing.resume_due(limit=100)


def in_utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def test_a_pause_has_a_reason_and_an_end(api: APIClient, user: User) -> None:
    task, until = hourly_task(user), timezone.now() + SOON

    answer = pause(api, task, reason=f" {REASON} ", until=format_timestamp(until))

    shown = show(api, task)
    assert answer.json() == {"message": "Task paused successfully"}
    assert shown["paused"] is True
    assert shown["pause_reason"] == REASON
    assert shown["resume_at"] == in_utc(until)
    assert not poll.find_work().has_pauses_that_are_over
    assert pausing.resume_due(limit=100) == 0


def test_a_task_resumes_by_itself(api: APIClient, user: User) -> None:
    task = hourly_task(user)
    before = show(api, task)
    pause(api, task, reason=REASON, until=format_timestamp(timezone.now() + SOON))

    assert end_pauses() == 1

    assert show(api, task) == before
    assert not poll.find_work().has_pauses_that_are_over
    entry = AuditEntry.objects.filter(action="task.resume").get()
    assert (entry.via, entry.object_id) == (Via.SERVICE, str(task.pk))


def test_many_tasks_are_paused_until_a_moment(api: APIClient, user: User) -> None:
    tasks = [hourly_task(user) for _ in range(3)]
    body = {
        "ids": [str(task.pk) for task in tasks],
        "reason": REASON,
        "until": format_timestamp(timezone.now() + SOON),
    }

    assert api.post("/tasks/pause/", body, format="json").status_code == 200

    assert {show(api, task)["pause_reason"] for task in tasks} == {REASON}
    assert end_pauses() == 3
    assert not any("paused" in show(api, task) for task in tasks)


def test_a_second_pause_replaces_the_first_and_a_bare_one_keeps_it(
    api: APIClient, user: User
) -> None:
    task, until = hourly_task(user), timezone.now() + SOON
    pause(api, task, reason=REASON, until=format_timestamp(until))

    pause(api, task)
    assert show(api, task)["resume_at"] == in_utc(until)
    pause(api, task, reason="for good")

    shown = show(api, task)
    assert shown["pause_reason"] == "for good"
    assert "resume_at" not in shown


@pytest.mark.parametrize("way", ["resume", "patch"])
def test_a_resumed_task_forgets_why_and_until_when(
    api: APIClient, user: User, way: str
) -> None:
    task = hourly_task(user)
    pause(api, task, reason=REASON, until=format_timestamp(timezone.now() + SOON))

    if way == "resume":
        api.post(f"/tasks/{task.pk}/resume/")
    else:
        answer = api.patch(f"/tasks/{task.pk}", {"paused": False}, format="json")
        assert answer.status_code == 200, answer.content

    task.refresh_from_db()
    assert task.resume_at is None
    shown = show(api, task)
    assert not {"paused", "pause_reason", "resume_at"} & shown.keys()


def test_the_task_of_a_deactivated_user_resumes_with_the_user(
    api: APIClient, user: User
) -> None:
    task = hourly_task(user)
    pause(api, task, until=format_timestamp(timezone.now() + SOON))
    accounts.change_user(user, is_active=False)

    assert end_pauses() == 1
    task.refresh_from_db()
    assert (task.is_paused, task.resume_at, task.suspended) == (True, None, True)

    accounts.change_user(user, is_active=True)
    assert "paused" not in show(api, task)


def test_a_removed_task_does_not_resume(api: APIClient, user: User) -> None:
    task = hourly_task(user)
    pause(api, task, until=format_timestamp(timezone.now() + SOON))
    api.delete(f"/tasks/{task.pk}/")
    Task.objects.update(resume_at=timezone.now())

    assert not poll.find_work().has_pauses_that_are_over
    assert pausing.resume_due(limit=100) == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"until": "yesterday"}, "until"),
        ({"until": "2020-01-01T00:00:00Z"}, "until should be in the future"),
        ({"until": 7}, "until"),
        ({"reason": 7}, "Invalid value of reason"),
        ({"reason": "x" * 1001}, "at most 1000"),
        ({"untill": "2099-01-01T00:00:00Z"}, "Did you mean until?"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_paused(
    api: APIClient, user: User, body: dict[str, Any], message: str
) -> None:
    task = hourly_task(user)

    one = pause(api, task, **body)
    many = api.post("/tasks/pause/", {"ids": [str(task.pk)], **body}, format="json")

    for answer in (one, many):
        assert answer.status_code == 400
        assert message in answer.content.decode()
    assert "paused" not in show(api, task)


def test_a_pause_without_a_reason_has_none_of_an_earlier_pause(
    api: APIClient, user: User
) -> None:
    task = hourly_task(user)
    pause(api, task, reason=REASON, until=format_timestamp(timezone.now() + SOON))
    # As the admin does it.
    task.periodic_task.enabled = True
    task.periodic_task.save()

    pause(api, task)

    assert not {"pause_reason", "resume_at"} & show(api, task).keys()
