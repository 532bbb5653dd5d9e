"""Runs over the API: lists in pages, one with its attempts, redrives, and the account."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.delivery.request import Credentials, build_request
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Overlap, Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.domain.timestamps import written
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import dispatch, rescue
from tasks_api.services import tasks
from tasks_api.worker import leases
from tests.integration.tasks_surface import PERIODIC, error
from tests.integration.test_dispatch import TARGET
from tests.integration.test_openapi import check, content_of

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
NOBODY = "01a1fc25-cc90-73cc-897d-06cb540be56b"


def hourly(owner: User, *, overlap: Overlap = Overlap.ALLOW) -> Task:
    schedule = Interval(timezone.now() + 30 * MINUTE, 60 * MINUTE, None)
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", overlap=overlap)
    return tasks.create_task(owner, spec, now=timezone.now())


def run_of(
    task: Task, *, ago: int = 1, state: RunState = RunState.FAILED, **more: Any
) -> Run:
    """A run of some minutes ago, with an attempt if it was sent."""
    at = timezone.now() - ago * MINUTE
    was_sent = state in {RunState.FAILED, RunState.SUCCEEDED}
    run = Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        state=state,
        finished_at=at,
        attempt_count=int(was_sent),
        **more,
    )
    if was_sent:
        code = 500 if state == RunState.FAILED else 200
        Attempt.objects.create(
            run=run,
            number=1,
            started_at=at,
            duration_ms=7,
            status_code=code,
            answer="ok",
        )
    return run


def ids(answer: Any) -> list[str]:
    return [run["id"] for run in answer.json()["runs"]]


@pytest.mark.parametrize("slash", ["", "/"])
def test_runs_are_listed_newest_first(api: APIClient, user: User, slash: str) -> None:
    task, other = hourly(user), hourly(user)
    runs = [run_of(task, ago=3), run_of(other, ago=2), run_of(task, ago=1)]

    everything = api.get(f"/runs{slash}")
    of_task = api.get(f"/tasks/{task.pk}/runs{slash}")

    assert ids(everything) == [str(run.pk) for run in reversed(runs)]
    assert ids(of_task) == [str(runs[2].pk), str(runs[0].pk)]
    first = everything.json()["runs"][0]
    assert (first["state"], first["last_status"]) == ("failed", 500)
    assert "Link" not in everything


def test_pages_follow_each_other(api: APIClient, user: User) -> None:
    task = hourly(user)
    at = timezone.now() - MINUTE
    others = [hourly(user) for _ in range(3)]
    runs = [run_of(task, ago=ago) for ago in range(2, 6)]
    # Of the same moment, so that a page may end between them.
    for each in others:
        run = run_of(each)
        Run.objects.filter(pk=run.pk).update(scheduled_for=at)
        runs.append(run)

    found, path = [], "/runs/?limit=2"
    while path:
        answer = api.get(path)
        found += ids(answer)
        path = answer.headers.get("Link", "").partition(">")[0].lstrip("<")
        assert (answer.json()["next_cursor"] is None) == (not path)

    assert len(found) == len(set(found)) == len(runs)
    assert set(found) == {str(run.pk) for run in runs}


@pytest.mark.parametrize("few", [0, 500])
def test_filters_narrow_the_list(
    api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("tasks_api.services.runs.FEW_TASKS", few)
    task, other = hourly(user), hourly(user)
    failed = run_of(task, ago=9)
    done = run_of(task, ago=6, state=RunState.SUCCEEDED)
    missed = run_of(other, ago=3, state=RunState.MISSED)
    tasks.fire_task(task.pk, now=timezone.now())
    waiting = Run.objects.get(state=RunState.PENDING)
    between = (timezone.now() - 5 * MINUTE).isoformat().replace("+00:00", "Z")

    def found(query: str) -> list[str]:
        return ids(api.get(f"/runs/?{query}"))

    assert found("state=failed") == [str(failed.pk)]
    assert found("state=missed,succeeded") == [str(missed.pk), str(done.pk)]
    assert found("state=pending") == [str(waiting.pk)]
    assert found(f"task={other.pk}") == [str(missed.pk)]
    assert found(f"from={between}") == [str(waiting.pk), str(missed.pk)]
    assert found(f"to={between}") == [str(done.pk), str(failed.pk)]
    assert found(f"to={between}&state=failed&task={task.pk}") == [str(failed.pk)]


def test_what_is_only_dispatched_ahead_is_no_history(
    api: APIClient, user: User
) -> None:
    spec = TaskSpec(Surface.TASKS, TARGET, Once(timezone.now() + MINUTE / 100), "{}")
    tasks.create_task(user, spec, now=timezone.now())
    [run_id] = dispatch.dispatch_due().run_ids
    Run.objects.update(scheduled_for=timezone.now() + MINUTE)

    assert ids(api.get("/runs/")) == []
    assert api.get(f"/runs/{run_id}").status_code == 404


def test_the_runs_of_what_has_gone_remain(api: APIClient, user: User) -> None:
    task = hourly(user)
    run = run_of(task)

    api.delete(f"/tasks/id/{task.pk}")

    assert ids(api.get(f"/tasks/{task.pk}/runs/")) == [str(run.pk)]
    assert api.get(f"/tasks/{task.pk}/account/").status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_run_is_shown_with_its_attempts(
    api: APIClient, user: User, slash: str
) -> None:
    run = run_of(hourly(user))

    shown = api.get(f"/runs/{run.pk}{slash}").json()

    [attempt] = shown["attempts"]
    assert (attempt["number"], attempt["status_code"], attempt["answer"]) == (1, 500, "ok")  # fmt: skip
    assert "last_status" not in shown


@pytest.mark.parametrize("path", [f"/runs/{NOBODY}", "/runs/x", "/runs/%00"])
def test_an_unknown_run_is_not_found(api: APIClient, path: str) -> None:
    assert api.get(path).json() == error("Run not found")
    assert api.post(f"{path}/redrive/").json() == error("Run not found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("notice=1", "notice"),
        ("notice=", "notice"),
        ("limit=%D9%A1", "limit"),
        ("state=", "state"),
        ("state=failed,nonsense", "state"),
        ("state=a%00", "state"),
        ("task=x", "task"),
        ("from=x", "from"),
        ("to=2026", "to"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%C3%A4", "cursor"),
        ("cursor=" + "A" * 32, "cursor"),
        ("cursor=fw" + "_" * 30, "cursor"),
        ("cursor=" + "A" * 4000, "cursor"),
        ("from=%FF", "query"),
    ],
)
def test_a_bad_parameter_is_named(
    api: APIClient, user: User, query: str, field: str
) -> None:
    answer = api.get(f"/runs/?{query}")

    # A cursor of the year 1970 is one, and nothing is older.
    assert answer.status_code == 400 or query == "cursor=" + "A" * 32
    if answer.status_code == 400:
        assert field in answer.json()["error"]["message"]


# Redrives.


def claim(run_id: str) -> list[Any]:
    return leases.claim([Run.objects.get(pk=run_id).pk])


@pytest.mark.parametrize(
    "state", [RunState.FAILED, RunState.MISSED, RunState.CANCELLED, RunState.SKIPPED]
)
def test_what_was_not_delivered_is_sent_again(
    api: APIClient, user: User, state: RunState
) -> None:
    run = run_of(hourly(user), state=state)

    answer = api.post(f"/runs/{run.pk}/redrive/")

    made = Run.objects.get(pk=answer.json()["run_id"])
    assert answer.status_code == 202
    assert (made.redrive_of, made.by_hand, made.task_id) == (run.pk, True, run.task_id)
    assert len(claim(made.pk)) == 1
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

    slot_run = run_of(hourly(user), state=RunState.MISSED, ago=7)
    written_slot = written(slot_run.scheduled_for)
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
    [claimed] = leases.claim([run.pk])
    request = build_request(claimed, Credentials(), now=timezone.now(), timeout=5)
    return dict(request.headers)


def test_a_run_that_is_no_redrive_stands_for_its_own_fire_time(
    api: APIClient, user: User
) -> None:
    run = run_of(hourly(user))
    due = run_of(hourly(user), state=RunState.MISSED)
    Run.objects.filter(pk=due.pk).update(
        state=RunState.PENDING, finished_at=None, wake_at=timezone.now()
    )

    shown = api.get(f"/runs/{run.pk}/").json()

    assert shown["slot"] == shown["scheduled_for"]
    headers = headers_of(due)
    assert headers["X-Scheduled-For"] == written(due.scheduled_for)
    assert "X-Scheduler-Redrive-Of" not in headers


def test_what_was_delivered_or_is_under_way_is_not_sent_again(
    api: APIClient, user: User
) -> None:
    task = hourly(user)
    done = run_of(task, state=RunState.SUCCEEDED)
    failed = run_of(task, ago=2)
    api.post(f"/runs/{failed.pk}/redrive/")
    [waiting] = Run.objects.filter(redrive_of=failed.pk)

    for run in (done, failed, waiting):
        assert api.post(f"/runs/{run.pk}/redrive/").status_code == 409
    assert Run.objects.filter(by_hand=True).count() == 1


def test_a_redrive_that_failed_can_be_sent_again(api: APIClient, user: User) -> None:
    failed = run_of(hourly(user))
    first = api.post(f"/runs/{failed.pk}/redrive/").json()["run_id"]
    over = {"state": RunState.FAILED, "finished_at": timezone.now(), "wake_at": None}
    Run.objects.filter(pk=first).update(**over)

    assert api.post(f"/runs/{failed.pk}/redrive/").status_code == 202


def test_a_redrive_that_failed_is_over_once_a_later_one_was_delivered(
    api: APIClient, user: User
) -> None:
    failed = run_of(hourly(user), ago=9)
    task = failed.task
    run_of(task, ago=3, redrive_of=failed.pk, by_hand=True)
    delivered = {"redrive_of": failed.pk, "by_hand": True}
    run_of(task, ago=2, state=RunState.SUCCEEDED, **delivered)

    answer = api.post("/runs/redrive/", {"state": ["failed"]}, format="json")

    assert answer.json()["run_ids"] == []


def test_a_redrive_does_not_overlap_where_runs_must_not(
    api: APIClient, user: User
) -> None:
    task = hourly(user, overlap=Overlap.SKIP)
    failed = run_of(task)
    tasks.fire_task(task.pk, now=timezone.now())

    assert api.post(f"/runs/{failed.pk}/redrive/").status_code == 409
    answer = api.post("/runs/redrive/", {"state": ["failed"]}, format="json")
    assert answer.json() == {"count": 0, "run_ids": [], "more": False}


def test_a_redrive_waits_in_line_where_runs_do(api: APIClient, user: User) -> None:
    task = hourly(user, overlap=Overlap.QUEUE_ONE)
    runs = [run_of(task, ago=ago) for ago in (1, 2, 3)]

    first = api.post(f"/runs/{runs[0].pk}/redrive/").json()["run_id"]
    second = api.post(f"/runs/{runs[1].pk}/redrive/").json()["run_id"]
    third = api.post(f"/runs/{runs[2].pk}/redrive/")

    assert len(claim(first)) == 1
    assert claim(second) == []
    assert third.status_code == 409


def test_a_run_of_what_has_ended_or_is_paused_is_sent_again(
    api: APIClient, user: User
) -> None:
    ended, paused = hourly(user), hourly(user)
    Task.objects.filter(pk=ended.pk).update(
        ended_at=timezone.now(), end_reason="completed", next_fire_at=None
    )
    api.post(f"/tasks/{paused.pk}/pause/")

    for task in (ended, paused):
        answer = api.post(f"/runs/{run_of(task).pk}/redrive/")
        run_id = answer.json()["run_id"]
        Run.objects.filter(pk=run_id).update(wake_at=timezone.now())
        assert str(rescue.wake_due().run_ids[0]) == run_id
        assert len(claim(run_id)) == 1


def test_nothing_of_a_removed_task_is_sent_again(api: APIClient, user: User) -> None:
    task = hourly(user)
    run = run_of(task)
    waiting = api.post(f"/runs/{run.pk}/redrive/").json()["run_id"]
    api.delete(f"/tasks/id/{task.pk}")

    assert Run.objects.get(pk=waiting).state == RunState.CANCELLED
    assert api.post(f"/runs/{run.pk}/redrive/").status_code == 409
    answer = api.post("/runs/redrive/", {"state": ["failed"]}, format="json")
    assert answer.json()["count"] == 0


def test_many_are_sent_again_in_parts_and_each_once(
    api: APIClient, user: User, stranger: User, django_assert_max_num_queries
) -> None:
    task, foreign = hourly(user), hourly(stranger)
    runs = [run_of(task, ago=ago) for ago in range(1, 8)]
    run_of(foreign)
    run_of(task, ago=9, state=RunState.SUCCEEDED)
    body = {"state": ["failed", "missed"], "limit": 4}

    with django_assert_max_num_queries(8):
        first = api.post("/runs/redrive/", body, format="json")
    rest = [api.post("/runs/redrive/", body, format="json").json() for _ in range(2)]

    assert first.status_code == 202
    assert (first.json()["count"], first.json()["more"]) == (4, True)
    assert [(part["count"], part["more"]) for part in rest] == [(3, False), (0, False)]
    again = Run.objects.exclude(redrive_of=None).values_list("redrive_of", flat=True)
    assert sorted(again) == sorted(run.pk for run in runs)


def test_the_filter_of_a_redrive_counts(api: APIClient, user: User) -> None:
    task, other = hourly(user), hourly(user)
    wanted = run_of(task, ago=5)
    run_of(task, ago=9)
    run_of(task, ago=2)
    run_of(other, ago=5)
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
    run_of(hourly(user))

    answer = api.post("/runs/redrive/", body, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert not Run.objects.filter(by_hand=True).exists()


def test_an_administrator_reaches_the_runs_of_the_tenant(
    user: User, colleague: User, stranger: User
) -> None:
    run, foreign = run_of(hourly(user)), run_of(hourly(stranger))
    User.objects.filter(pk=colleague.pk).update(role=Role.ADMIN)
    boss = APIClient()
    boss.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_token(colleague)}")

    assert ids(boss.get("/runs/")) == [str(run.pk)]
    assert boss.get(f"/tasks/{run.task_id}/account/").status_code == 200
    assert boss.get(f"/tasks/{run.task_id}/next/").status_code == 200
    assert boss.get(f"/runs/{foreign.pk}").status_code == 404
    assert boss.get(f"/tasks/{foreign.task_id}/account/").status_code == 404
    answer = boss.post("/runs/redrive/", {"state": ["failed"]}, format="json")
    assert answer.json()["count"] == 1
    entry = AuditEntry.objects.get(action="run.redrive")
    assert (entry.tenant_id, entry.object_id) == (run.tenant_id, str(run.pk))


# The account and what is to come.


def test_the_account_is_shown(api: APIClient, user: User) -> None:
    task = hourly(user)

    shown = api.get(f"/tasks/{task.pk}/account/").json()

    assert (shown["planned"], shown["balance"], shown["differences"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=x", "from"),
        ("to=", "to"),
        ("from=0001-01-01T00:00:00Z", "from"),
        ("to=0001-01-01T00:00:00Z", "to"),
        ("from=9999-12-31T23:59:59Z&to=9999-12-31T23:59:58Z", "to"),
    ],
)
def test_a_bad_range_of_the_account_is_refused(
    api: APIClient, user: User, query: str, field: str
) -> None:
    answer = api.get(f"/tasks/{hourly(user).pk}/account/?{query}")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_coming_fire_times_of_a_task(api: APIClient, user: User) -> None:
    task = hourly(user)

    shown = api.get(f"/tasks/{task.pk}/next/?n=3").json()
    api.post(f"/tasks/{task.pk}/pause/")
    paused = api.get(f"/tasks/{task.pk}/next").json()

    assert len(shown["fire_times"]) == 3
    assert shown["fire_times"][0]["at"].endswith("Z")
    assert (shown["timezone"], shown["paused"], paused["paused"]) == ("UTC", False, True)  # fmt: skip
    assert len(paused["fire_times"]) == 20


def test_a_one_time_task_comes_until_it_has_run(api: APIClient, user: User) -> None:
    spec = TaskSpec(Surface.TASKS, TARGET, Once(timezone.now() - MINUTE), "{}")
    task = tasks.create_task(user, spec, now=timezone.now())
    path = f"/tasks/{task.pk}/next/"

    late = api.get(path).json()["fire_times"]
    dispatch.dispatch_due()

    assert len(late) == 1
    assert api.get(path).json()["fire_times"] == []


CRON = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "task_type": "periodic", "url": "http://example.com/"}  # fmt: skip


def test_a_preview_marks_what_a_change_of_the_clock_moves(api: APIClient) -> None:
    body = {**CRON, "n": 2, "from": "2027-03-27T12:00:00Z"}

    answer = api.post("/tasks/preview/", body, format="json")

    assert answer.status_code == 200
    assert answer.json()["fire_times"] == [
        {
            "at": "2027-03-28T01:00:00Z",
            "local": "2027-03-28T03:00:00+02:00",
            "dst": "moved",
            "wall": "2027-03-28T02:30:00",
        },
        {
            "at": "2027-03-29T00:30:00Z",
            "local": "2027-03-29T02:30:00+02:00",
            "dst": None,
        },
    ]
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": 1001}, "n"),
        ({"n": True}, "n"),
        ({"n": "20"}, "n"),
        ({"n": None}, "n"),
        ({"from": "x"}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"cron": "x"}, "cron"),
        ({"url": "ftp://x"}, "url"),
    ],
)
def test_a_bad_preview_is_refused(
    api: APIClient, changes: Mapping[str, object], field: str
) -> None:
    answer = api.post("/tasks/preview/", {**CRON, **changes}, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [CRON, PERIODIC, {"task_type": "one_time", "run_datetime": "9999-12-31T23:59:59.999999Z", "url": "http://example.com/"}])  # fmt: skip
def test_a_preview_at_the_end_of_the_calendar(
    api: APIClient, body: dict[str, Any]
) -> None:
    late = {**body, "n": 1000, "from": "9999-12-31T23:00:00Z"}

    assert api.post("/tasks/preview/", late, format="json").status_code == 200


def test_real_answers_fit_the_schema(api: APIClient, user: User) -> None:
    paths = APIClient().get("/openapi.json").json()["paths"]
    task = hourly(user)
    run = run_of(task)
    answers = {
        ("/runs/", "get"): api.get("/runs/"),
        ("/runs/{run_id}/", "get"): api.get(f"/runs/{run.pk}"),
        ("/tasks/{task_id}/runs/", "get"): api.get(f"/tasks/{task.pk}/runs"),
        ("/tasks/{task_id}/account/", "get"): api.get(f"/tasks/{task.pk}/account"),
        ("/tasks/{task_id}/next/", "get"): api.get(f"/tasks/{task.pk}/next?n=2"),
        ("/tasks/preview/", "post"): api.post("/tasks/preview/", CRON, format="json"),
        ("/runs/{run_id}/redrive/", "post"): api.post(f"/runs/{run.pk}/redrive"),
        ("/runs/redrive/", "post"): api.post("/runs/redrive/", {"state": ["failed"]}, format="json"),
    }  # fmt: skip

    for (path, method), answer in answers.items():
        described = paths[path][method]["responses"][str(answer.status_code)]
        assert answer.status_code < 300
        check(answer.json(), content_of(described)["schema"])
