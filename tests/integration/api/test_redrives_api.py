"""Redrives over the API: what was not delivered is sent again, one run or many."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun, Credentials, build_request
from tasks_api.domain.specs import Overlap
from tasks_api.domain.states import RunState, Stage
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Run, Task
from tasks_api.services import manual_runs
from tasks_api.taking import leases, waiting_runs
from tasks_api.taking.room import Room
from tests.integration.support.stored_runs import MINUTE, hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)


def take_run(run_id: str | UUID) -> list[ClaimedRun]:
    """Take a run as a worker does, if it may be taken."""
    lease = leases.new_lease(leases.NO_PRESENCE)
    return waiting_runs.take_runs([Run.objects.get(pk=run_id).pk], Room(), lease).runs


@pytest.mark.parametrize(
    "state", [RunState.FAILED, RunState.MISSED, RunState.CANCELLED, RunState.SKIPPED]
)
def test_a_run_that_was_not_delivered_is_sent_again(
    api: APIClient, user: User, state: RunState
) -> None:
    run = store_run(hourly_task(user), state=state)

    answer = api.post(f"/runs/{run.pk}/redrive/")

    made = Run.objects.get(pk=answer.json()["run_id"])
    assert answer.status_code == 202
    assert (made.redrive_of, made.by_hand, made.task_id) == (run.pk, True, run.task_id)
    assert len(take_run(made.pk)) == 1
    run.refresh_from_db()
    assert run.state == state


@pytest.mark.parametrize("is_many", [False, True])
def test_a_redrive_stands_for_the_fire_time_of_what_it_sends_again(
    api: APIClient, user: User, *, is_many: bool
) -> None:
    def redriven(run: Run) -> Run:
        if not is_many:
            answer = api.post(f"/runs/{run.pk}/redrive/")
            return Run.objects.get(pk=answer.json()["run_id"])
        answer = api.post("/runs/redrive/", {"state": ["missed"]}, format="json")
        return Run.objects.get(pk=answer.json()["run_ids"][0])

    slot_run = store_run(hourly_task(user), state=RunState.MISSED, ago=7)
    written_slot = format_timestamp(slot_run.scheduled_for)
    first = redriven(slot_run)
    headers = headers_of(first)
    assert headers["X-Scheduled-For"] == written_slot
    assert headers["X-Scheduler-Redrive-Of"] == str(slot_run.pk)
    assert headers["webhook-id"] == str(first.pk)

    # Again, though the first one is forgotten.
    over = {"state": RunState.MISSED, "finished_at": timezone.now(), "wake_at": None}
    Run.objects.filter(pk=first.pk).update(lease=None, **over)
    Run.objects.filter(pk=slot_run.pk).delete()
    second = redriven(first)
    headers = headers_of(second)
    assert headers["X-Scheduled-For"] == written_slot
    assert headers["X-Scheduler-Redrive-Of"] == str(first.pk)

    shown = api.get(f"/runs/{second.pk}/").json()
    assert (shown["slot"], shown["redrive_of"]) == (written_slot, str(first.pk))
    assert shown["scheduled_for"] > written_slot


def headers_of(run: Run) -> dict[str, str]:
    """Those of the request for a run, which a worker takes."""
    [taken] = take_run(run.pk)
    request = build_request(taken, Credentials(), now=timezone.now(), timeout=5)
    return dict(request.headers)


def test_a_run_that_is_no_redrive_stands_for_its_own_fire_time(
    api: APIClient, user: User
) -> None:
    run = store_run(hourly_task(user))
    due = store_run(hourly_task(user), state=RunState.MISSED)
    Run.objects.filter(pk=due.pk).update(
        state=RunState.PENDING,
        stage=Stage.LIVE,
        finished_at=None,
        wake_at=timezone.now(),
    )

    shown = api.get(f"/runs/{run.pk}/").json()

    assert shown["slot"] == shown["scheduled_for"]
    headers = headers_of(due)
    assert headers["X-Scheduled-For"] == format_timestamp(due.scheduled_for)
    assert "X-Scheduler-Redrive-Of" not in headers


def test_a_run_that_was_delivered_or_is_under_way_is_not_sent_again(
    api: APIClient, user: User
) -> None:
    task = hourly_task(user)
    done = store_run(task, state=RunState.SUCCEEDED)
    failed = store_run(task, ago=2)
    api.post(f"/runs/{failed.pk}/redrive/")
    [waiting] = Run.objects.filter(redrive_of=failed.pk)

    for run in (done, failed, waiting):
        assert api.post(f"/runs/{run.pk}/redrive/").status_code == 409
    assert Run.objects.filter(by_hand=True).count() == 1


def test_a_redrive_that_failed_can_be_sent_again(api: APIClient, user: User) -> None:
    failed = store_run(hourly_task(user))
    first = api.post(f"/runs/{failed.pk}/redrive/").json()["run_id"]
    over = {"state": RunState.FAILED, "finished_at": timezone.now(), "wake_at": None}
    Run.objects.filter(pk=first).update(**over)

    assert api.post(f"/runs/{failed.pk}/redrive/").status_code == 202


def test_a_redrive_that_failed_is_over_once_a_later_one_was_delivered(
    api: APIClient, user: User
) -> None:
    failed = store_run(hourly_task(user), ago=9)
    task = failed.task
    store_run(task, ago=3, redrive_of=failed.pk, by_hand=True)
    delivered = {"redrive_of": failed.pk, "by_hand": True}
    store_run(task, ago=2, state=RunState.SUCCEEDED, **delivered)

    answer = api.post("/runs/redrive/", {"state": ["failed"]}, format="json")

    assert answer.json()["run_ids"] == []


def test_a_redrive_does_not_overlap_where_runs_must_not(
    api: APIClient, user: User
) -> None:
    task = hourly_task(user, overlap=Overlap.SKIP)
    failed = store_run(task)
    manual_runs.fire_task(task.pk, now=timezone.now())

    assert api.post(f"/runs/{failed.pk}/redrive/").status_code == 409
    answer = api.post("/runs/redrive/", {"state": ["failed"]}, format="json")
    assert answer.json() == {"count": 0, "run_ids": [], "more": False}


def test_a_redrive_waits_in_line_where_runs_do(api: APIClient, user: User) -> None:
    task = hourly_task(user, overlap=Overlap.QUEUE_ONE)
    runs = [store_run(task, ago=ago) for ago in (1, 2, 3)]

    first = api.post(f"/runs/{runs[0].pk}/redrive/").json()["run_id"]
    second = api.post(f"/runs/{runs[1].pk}/redrive/").json()["run_id"]
    third = api.post(f"/runs/{runs[2].pk}/redrive/")

    assert len(take_run(first)) == 1
    assert take_run(second) == []
    assert third.status_code == 409


def test_a_run_of_what_has_ended_or_is_paused_is_sent_again(
    api: APIClient, user: User
) -> None:
    ended, paused = hourly_task(user), hourly_task(user)
    Task.objects.filter(pk=ended.pk).update(
        ended_at=timezone.now(), end_reason="completed", next_fire_at=None
    )
    api.post(f"/tasks/{paused.pk}/pause/")

    for task in (ended, paused):
        answer = api.post(f"/runs/{store_run(task).pk}/redrive/")
        run_id = answer.json()["run_id"]
        Run.objects.filter(pk=run_id).update(wake_at=timezone.now())
        assert len(take_run(run_id)) == 1


def test_nothing_of_a_removed_task_is_sent_again(api: APIClient, user: User) -> None:
    task = hourly_task(user)
    run = store_run(task)
    waiting = api.post(f"/runs/{run.pk}/redrive/").json()["run_id"]
    api.delete(f"/tasks/id/{task.pk}")

    assert Run.objects.get(pk=waiting).state == RunState.CANCELLED
    assert api.post(f"/runs/{run.pk}/redrive/").status_code == 409
    answer = api.post("/runs/redrive/", {"state": ["failed"]}, format="json")
    assert answer.json()["count"] == 0


def test_many_are_sent_again_in_parts_and_each_once(
    api: APIClient,
    user: User,
    stranger: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    task, foreign = hourly_task(user), hourly_task(stranger)
    runs = [store_run(task, ago=ago) for ago in range(1, 8)]
    store_run(foreign)
    store_run(task, ago=9, state=RunState.SUCCEEDED)
    body = {"state": ["failed", "missed"], "limit": 4}

    with django_assert_max_num_queries(8):
        first = api.post("/runs/redrive/", body, format="json")
    rest = [api.post("/runs/redrive/", body, format="json").json() for _ in range(2)]

    assert first.status_code == 202
    assert (first.json()["count"], first.json()["more"]) == (4, True)
    assert [(part["count"], part["more"]) for part in rest] == [(3, False), (0, False)]
    again = Run.objects.exclude(redrive_of=None).order_by("redrive_of")
    assert list(again.values_list("redrive_of", flat=True)) == sorted(
        run.pk for run in runs
    )


def test_the_filter_of_a_redrive_counts(api: APIClient, user: User) -> None:
    task, other = hourly_task(user), hourly_task(user)
    wanted = store_run(task, ago=5)
    store_run(task, ago=9)
    store_run(task, ago=2)
    store_run(other, ago=5)
    now = timezone.now()
    body = {
        "state": ["failed"],
        "task_id": str(task.pk),
        "from": (now - 6 * MINUTE).isoformat(),
        "to": (now - 3 * MINUTE).isoformat(),
    }

    api.post("/runs/redrive/", body, format="json")

    again = Run.objects.exclude(redrive_of=None)
    assert [run.redrive_of for run in again] == [wanted.pk]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "state"),
        ([], "body"),
        ({"state": "failed"}, "state"),
        ({"state": []}, "state"),
        ({"state": ["succeeded"]}, "state"),
        ({"state": [["failed"]]}, "state"),
        ({"state": [None]}, "state"),
        ({"state": ["failed"], "limit": 0}, "limit"),
        ({"state": ["failed"], "limit": 1001}, "limit"),
        ({"state": ["failed"], "limit": True}, "limit"),
        ({"state": ["failed"], "limit": 1.5}, "limit"),
        ({"state": ["failed"], "task_id": 7}, "task_id"),
        ({"state": ["failed"], "task_id": "x"}, "task_id"),
        ({"state": ["failed"], "from": 7}, "from"),
        ({"state": ["failed"], "to": "tomorrow"}, "to"),
    ],
)
def test_a_bad_redrive_is_refused(
    api: APIClient, user: User, body: object, field: str
) -> None:
    store_run(hourly_task(user))

    answer = api.post("/runs/redrive/", body, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert not Run.objects.filter(by_hand=True).exists()
