"""Changing some fields of a task, running it now, and not overwriting each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, PeriodicTask
from rest_framework.test import APIClient

from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Overlap
from tasks_api.models import Run, Task
from tasks_api.services import admin_edits
from tasks_api.taking import leases
from tests.conftest import MakeTask
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created, error

HOUR = timedelta(hours=1)
CRON = {"task_type": "periodic", "cron": "30 4 * * *", "url": "http://a.example/"}
QUEUED = {
    "task_type": "one_time",
    "run_datetime": "2090-12-05 08:00:00",
    "queue": "mail",
}


def patch_task(
    api: APIClient, task_id: object, changes: dict[str, Any], **more: Any
) -> Any:
    return api.patch(f"/tasks/id/{task_id}", changes, format="json", **more)


@pytest.mark.parametrize(
    ("body", "changes", "shown"),
    [
        (PERIODIC, {"url": "http://b.example/"}, {"url": "http://b.example/"}),
        (PERIODIC, {"post_data": {"only": "this"}}, {"post_data": {"only": "this"}}),
        (PERIODIC, {"post_data": None}, {"post_data": {}}),
        (PERIODIC, {"name": "n", "tags": ["t"]}, {"name": "n", "tags": ["t"]}),
        (PERIODIC, {"frequency": 7200}, {"frequency": 7200}),
        (
            PERIODIC,
            {"start_datetime": "2090-12-06 08:00:00"},
            {
                "start_datetime": "2090-12-06 08:00:00",
                "next_run_datetime": "2090-12-06 08:00:00",
            },
        ),
        (
            PERIODIC,
            {"stop_datetime": "2099-01-01T00:00:00Z"},
            {"end_datetime": "2099-01-01 00:00:00"},
        ),
        (
            PERIODIC,
            {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
            {
                "frequency": None,
                "cron": "0 9 * * *",
                "timezone": "Europe/Berlin",
                "next_run_datetime": "2090-12-05 08:00:00",
            },
        ),
        (CRON, {"timezone": "Europe/Berlin"}, {"timezone": "Europe/Berlin"}),
        (
            CRON,
            {"cron": "CRON_TZ=Asia/Tokyo 0 9 * * *"},
            {"cron": "0 9 * * *", "timezone": "Asia/Tokyo"},
        ),
        (
            ONE_TIME,
            {"run_datetime": "2091-01-01 00:00:00.25Z"},
            {
                "run_datetime": "2091-01-01 00:00:00",
                "next_run_datetime": "2091-01-01 00:00:00",
            },
        ),
        (ONE_TIME, {"queue": "mail", "url": None}, {"url": None, "queue": "mail"}),
        (ONE_TIME, {"queue": "mail"}, {"url": None, "queue": "mail"}),
        (ONE_TIME, {"queue": None}, {}),
        (QUEUED, {"post_data": {"a": 1}}, {"post_data": {"a": 1}, "queue": "mail"}),
        (PERIODIC, {}, {}),
    ],
)
def test_what_is_given_is_changed_and_nothing_else(
    api: APIClient, body: dict[str, Any], changes: dict[str, Any], shown: dict[str, Any]
) -> None:
    task = created(api, body)

    answer = patch_task(api, task["id"], changes)

    gone = {"cron", "timezone"} if shown.get("frequency") else set()
    assert answer.status_code == 200, answer.json()
    expected = {k: v for k, v in {**task, **shown}.items() if k not in gone}
    assert answer.json() | {"next_run_datetime": None} == expected | {
        "next_run_datetime": None
    }
    assert answer.json()["next_run_datetime"] == expected["next_run_datetime"] or (
        changes.keys() & {"cron", "timezone"}
    )
    assert api.get(f"/tasks/{task['id']}").json() == answer.json()


@pytest.mark.parametrize(
    ("body", "changes", "shown", "gone"),
    [
        (
            PERIODIC,
            {"task_type": "one_time", "run_datetime": "2091-01-01 00:00:00"},
            {"task_type": "one_time", "run_datetime": "2091-01-01 00:00:00"},
            {"frequency", "start_datetime", "end_datetime"},
        ),
        (
            ONE_TIME,
            {name: PERIODIC[name] for name in PERIODIC if "_data" not in name},
            {"task_type": "periodic", "frequency": 3601},
            {"run_datetime"},
        ),
    ],
)
def test_a_task_becomes_one_of_the_other_type(
    api: APIClient,
    body: dict[str, Any],
    changes: dict[str, Any],
    shown: dict[str, Any],
    gone: set[str],
) -> None:
    task = created(api, body)

    answer = patch_task(api, task["id"], changes).json()

    assert answer.items() >= shown.items()
    assert not answer.keys() & gone
    clocked = PeriodicTask.objects.filter(http_task=task["id"], clocked__isnull=False)
    assert ClockedSchedule.objects.count() == clocked.count()


@pytest.mark.parametrize(
    ("body", "changes", "field"),
    [
        (PERIODIC, {"url": None}, "url"),
        (PERIODIC, {"url": "ftp://a.example/"}, "url"),
        (PERIODIC, {"url": "http://a.example/", "queue": "mail"}, "queue"),
        (QUEUED, {"queue": None}, "url"),
        (PERIODIC, {"frequency": 1}, "frequency"),
        (PERIODIC, {"frequency": True}, "frequency"),
        (PERIODIC, {"frequency": None}, "frequency"),
        (PERIODIC, {"start_datetime": "2015-01-01 00:00:00"}, "start_datetime"),
        (PERIODIC, {"end_datetime": "2015-01-01 00:00:00"}, "end_datetime"),
        (PERIODIC, {"timezone": "Europe/Berlin"}, "timezone"),
        (PERIODIC, {"frequency": 3601, "cron": "0 9 * * *"}, "frequency"),
        (PERIODIC, {"post_data": []}, "post_data"),
        (PERIODIC, {"name": "x" * 256}, "name"),
        (PERIODIC, {"task_type": "one_time"}, "run_datetime"),
        (ONE_TIME, {"run_datetime": "2015-01-01 00:00:00"}, "run_datetime"),
    ],
)
def test_what_cannot_be_is_refused_and_the_task_is_as_it_was(
    api: APIClient, body: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    task = created(api, body)

    answer = patch_task(api, task["id"], changes)

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert api.get(f"/tasks/{task['id']}").json() == task


def test_the_place_in_the_grid_is_kept_while_the_schedule_is(
    api: APIClient, make_task: MakeTask
) -> None:
    start = timezone.now() - timedelta(minutes=90)
    task = make_task(schedule=Interval(start, HOUR, start + 9 * HOUR))
    Task.objects.filter(pk=task.pk).update(next_fire_at=start + HOUR)

    patch_task(api, task.pk, {"url": "http://b.example/", "frequency": 3600})

    assert Task.objects.get().next_fire_at == start + HOUR


def test_another_schedule_begins_at_the_start_that_is_kept(
    api: APIClient, make_task: MakeTask
) -> None:
    start = timezone.now() - timedelta(minutes=90)
    task = make_task(schedule=Interval(start, HOUR, start + 9 * HOUR))

    patch_task(api, task.pk, {"frequency": 7200})

    assert Task.objects.get().next_fire_at == start + 2 * HOUR


@pytest.mark.django_db(transaction=True)
def test_a_run_that_a_worker_gave_back_unsent_is_taken_back_by_another_schedule(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task(schedule=Once(timezone.now()))
    [taken] = take_due()
    leases.undo_take(taken.lease)

    moved = patch_task(api, task.pk, {"run_datetime": "2090-01-01T00:00:00Z"})

    assert moved.json()["next_run_datetime"] == "2090-01-01 00:00:00"
    assert not Run.objects.exists()


def test_a_one_time_task_cannot_be_moved_while_it_is_sent(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task(schedule=Once(timezone.now() - HOUR))
    assert len(take_due()) == 1

    moved = patch_task(api, task.pk, {"run_datetime": "2090-01-01T00:00:00Z"})
    changed = patch_task(api, task.pk, {"tags": ["late"]})

    assert (moved.status_code, changed.status_code) == (409, 200)


def test_a_change_needs_a_task_of_the_surface(api: APIClient) -> None:
    assert patch_task(api, "5das76nbv950nghg8j8", {}).status_code == 404


# Not overwriting each other.


def test_an_etag_changes_with_the_task_and_not_with_its_runs(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task(schedule=Interval(timezone.now() - HOUR, 2 * HOUR))
    Task.objects.update(next_fire_at=timezone.now() - HOUR)
    at = f"/tasks/{task.pk}"
    etags = [api.get(at)["ETag"]]

    assert len(take_due()) == 1
    etags.append(api.get(at)["ETag"])
    patch_task(api, task.pk, {})
    etags.append(api.get(at)["ETag"])
    assert len(set(etags)) == 1

    etags.append(patch_task(api, task.pk, {"tags": ["t"]})["ETag"])
    for verb in ("pause", "pause", "resume", "resume"):
        api.post(f"{at}/{verb}/")
        etags.append(api.get(at)["ETag"])

    _, _, old, changed, paused, again, resumed, still = etags
    assert len({old, changed, paused, resumed}) == 4
    assert (paused, resumed) == (again, still)


def test_an_edit_in_the_admin_changes_the_etag(api: APIClient) -> None:
    task = created(api, PERIODIC)
    before = api.get(f"/tasks/{task['id']}")["ETag"]
    PeriodicTask.objects.filter(http_task=task["id"]).update(expires=None)

    admin_edits.sync_admin_edits([Task.objects.get().pk])

    assert api.get(f"/tasks/{task['id']}")["ETag"] != before


def test_a_created_task_comes_with_its_etag(api: APIClient) -> None:
    answer = api.post("/tasks/", PERIODIC, format="json")

    assert api.get(answer["Location"])["ETag"] == answer["ETag"]


@pytest.mark.parametrize(
    ("if_match", "is_taken"),
    [
        ("{etag}", True),
        ("*", True),
        ('"other", {etag}', True),
        ('"other"', False),
        ("W/{etag}", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("method", ["patch", "put", "delete"])
def test_only_the_task_that_was_seen_is_changed(
    api: APIClient, method: str, if_match: str, is_taken: bool
) -> None:
    new = api.put("/tasks/by-name/a", PERIODIC, format="json")
    at = new["Location"] if method == "patch" else "/tasks/by-name/a"
    body = {**PERIODIC, "frequency": 7200}

    answer = getattr(api, method)(
        at, body, format="json", HTTP_IF_MATCH=if_match.format(etag=new["ETag"])
    )

    assert answer.status_code == (200 if is_taken else 412)
    left = api.get(new["Location"])
    assert (left.status_code == 200 and left["ETag"] == new["ETag"]) != is_taken


def test_a_put_can_be_kept_from_creating_and_from_replacing(api: APIClient) -> None:
    def put(**headers: Any) -> int:
        answer = api.put("/tasks/by-name/a", PERIODIC, format="json", **headers)
        return int(answer.status_code)

    assert put(HTTP_IF_MATCH="*") == 412
    assert put(HTTP_IF_NONE_MATCH="*") == 201
    assert put(HTTP_IF_NONE_MATCH="*") == 412


# Now.


@pytest.mark.django_db(transaction=True)
def test_a_task_runs_now_and_its_grid_stays(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task(schedule=Interval(timezone.now() + HOUR, HOUR))
    before = api.get(f"/tasks/{task.pk}")

    answer = api.post(f"/tasks/{task.pk}/run/")

    run = Run.objects.get()
    assert answer.status_code == 202
    assert answer.json() == {"run_id": str(run.pk), "message": "Task will run now"}
    assert [taken.run_id for taken in take_waiting()] == [run.pk]
    after = api.get(f"/tasks/{task.pk}")
    assert (after.json(), after["ETag"]) == (before.json(), before["ETag"])


@pytest.mark.django_db(transaction=True)
def test_a_paused_task_runs_now(api: APIClient, make_task: MakeTask) -> None:
    task = make_task(schedule=Interval(timezone.now() + HOUR, HOUR))
    api.post(f"/tasks/{task.pk}/pause/")

    api.post(f"/tasks/{task.pk}/run/")

    run = Run.objects.get()
    assert [taken.run_id for taken in take_waiting()] == [run.pk]


@pytest.mark.django_db(transaction=True)
def test_a_one_time_task_that_ran_now_runs_at_its_moment_too(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task()

    api.post(f"/tasks/{task.pk}/run/")

    assert [taken.run_id for taken in take_waiting()] == [Run.objects.get().pk]
    assert api.get(f"/tasks/{task.pk}").json()["next_run_datetime"] is not None


def test_a_run_that_would_overlap_is_refused(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task()
    Task.objects.update(overlap=Overlap.SKIP)

    first, second = (api.post(f"/tasks/{task.pk}/run/") for _ in range(2))

    message = "The task may not overlap, and the run before is not over"
    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json() == error(message)
    assert Run.objects.count() == 1
