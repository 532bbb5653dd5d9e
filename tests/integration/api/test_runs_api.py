"""Runs over the API: lists in pages, and one with its attempts."""

from __future__ import annotations

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Run
from tasks_api.services import manual_runs
from tests.integration.support.openapi_document import assert_fits, content_of
from tests.integration.support.stored_runs import (
    CRON,
    MINUTE,
    hourly_task,
    run_ids_of,
    store_run,
)
from tests.integration.support.tasks_surface import error

pytestmark = pytest.mark.django_db(transaction=True)


NOBODY = "01a1fc25-cc90-73cc-897d-06cb540be56b"


@pytest.mark.parametrize("slash", ["", "/"])
def test_runs_are_listed_newest_first(api: APIClient, user: User, slash: str) -> None:
    task, other = hourly_task(user), hourly_task(user)
    runs = [store_run(task, ago=3), store_run(other, ago=2), store_run(task, ago=1)]

    everything = api.get(f"/runs{slash}")
    of_task = api.get(f"/tasks/{task.pk}/runs{slash}")

    assert run_ids_of(everything) == [str(run.pk) for run in reversed(runs)]
    assert run_ids_of(of_task) == [str(runs[2].pk), str(runs[0].pk)]
    first = everything.json()["runs"][0]
    assert (first["state"], first["last_status"]) == ("failed", 500)
    assert "Link" not in everything


def test_pages_follow_each_other(api: APIClient, user: User) -> None:
    task = hourly_task(user)
    at = timezone.now() - MINUTE
    others = [hourly_task(user) for _ in range(3)]
    runs = [store_run(task, ago=ago) for ago in range(2, 6)]
    # Of the same moment, so that a page may end between them.
    runs += [store_run(each, at=at) for each in others]

    found, path = [], "/runs/?limit=2"
    while path:
        answer = api.get(path)
        found += run_ids_of(answer)
        path = answer.headers.get("Link", "").partition(">")[0].lstrip("<")
        assert (answer.json()["next_cursor"] is None) == (not path)

    assert len(found) == len(set(found)) == len(runs)
    assert set(found) == {str(run.pk) for run in runs}


@pytest.mark.parametrize("few", [0, 500])
def test_filters_narrow_the_list(
    api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("tasks_api.services.runs.MAX_TASKS_LOOKED_UP", few)
    task, other = hourly_task(user), hourly_task(user)
    failed = store_run(task, ago=9)
    done = store_run(task, ago=6, state=RunState.SUCCEEDED)
    missed = store_run(other, ago=3, state=RunState.MISSED)
    manual_runs.fire_task(task.pk, now=timezone.now())
    waiting = Run.objects.get(state=RunState.PENDING)
    between = (timezone.now() - 5 * MINUTE).isoformat().replace("+00:00", "Z")

    def found(query: str) -> list[str]:
        return run_ids_of(api.get(f"/runs/?{query}"))

    assert found("state=failed") == [str(failed.pk)]
    assert found("state=missed,succeeded") == [str(missed.pk), str(done.pk)]
    assert found("state=pending") == [str(waiting.pk)]
    assert found(f"task={other.pk}") == [str(missed.pk)]
    assert found(f"from={between}") == [str(waiting.pk), str(missed.pk)]
    assert found(f"to={between}") == [str(done.pk), str(failed.pk)]
    assert found(f"to={between}&state=failed&task={task.pk}") == [str(failed.pk)]


def test_runs_are_found_by_their_reason_and_by_the_code_of_the_answer(
    api: APIClient, user: User, stranger: User
) -> None:
    task, other = hourly_task(user), hourly_task(user)
    last = store_run(task, ago=9, reason="HTTP 503; that was attempt 6, the last one")
    gone = store_run(task, ago=8, reason="HTTP 503")
    store_run(task, ago=7, reason="HTTP 500")
    refused = store_run(other, ago=6, reason="refused; a retry would be later than 9 s")
    missed = store_run(other, ago=5, state=RunState.MISSED, reason="refused")
    store_run(other, ago=4, state=RunState.SUCCEEDED)
    store_run(hourly_task(stranger), ago=3, reason="HTTP 503")

    def found(query: str) -> list[str]:
        return run_ids_of(api.get(f"/runs/?{query}"))

    assert found("code=503") == [str(gone.pk), str(last.pk)]
    assert found("reason=HTTP+503") == [str(gone.pk), str(last.pk)]
    assert found("reason=refused") == [str(missed.pk), str(refused.pk)]
    assert found("reason=refused&state=failed") == [str(refused.pk)]
    assert found(f"code=503&task={other.pk}") == []
    assert found("code=500&state=missed") == []
    redriven = {"state": ["failed"], "code": 503, "reason": "HTTP 503"}
    assert api.post("/runs/redrive/", redriven, format="json").json()["count"] == 2


def test_a_search_examines_a_part_and_goes_on(
    api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.runs.MAX_RUNS_EXAMINED", 2)
    task = hourly_task(user)
    wanted = [store_run(task, ago=ago, reason="HTTP 503") for ago in (1, 4, 6, 7, 8)]
    for ago in (2, 3, 5):
        store_run(task, ago=ago, reason="HTTP 500")

    found, cursor, sizes = [], "", []
    while cursor is not None:
        answer = api.get(f"/runs/?code=503{cursor and f'&cursor={cursor}'}").json()
        found += [run["id"] for run in answer["runs"]]
        sizes.append(len(answer["runs"]))
        cursor = answer["next_cursor"]

    assert found == [str(run.pk) for run in wanted]
    assert sizes == [1, 1, 1, 2, 0]


def test_a_run_that_an_older_release_made_ahead_is_not_listed(
    api: APIClient, user: User
) -> None:
    run = store_run(hourly_task(user), ago=-1)
    Run.objects.update(
        state=RunState.PENDING,
        stage=Stage.LIVE,
        finished_at=None,
        wake_at=run.scheduled_for,
    )

    assert run_ids_of(api.get("/runs/")) == []
    assert api.get(f"/runs/{run.pk}").status_code == 404


def test_the_runs_of_what_has_gone_remain(api: APIClient, user: User) -> None:
    task = hourly_task(user)
    run = store_run(task)

    api.delete(f"/tasks/id/{task.pk}")

    assert run_ids_of(api.get(f"/tasks/{task.pk}/runs/")) == [str(run.pk)]
    assert api.get(f"/tasks/{task.pk}/account/").status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_run_is_shown_with_its_attempts(
    api: APIClient, user: User, slash: str
) -> None:
    run = store_run(hourly_task(user))

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
        ("reason=", "reason"),
        ("reason=a%00", "reason"),
        ("code=x", "code"),
        ("code=99", "code"),
        ("code=%D9%A1%D9%A1%D9%A1", "code"),
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


def test_an_administrator_reaches_the_runs_of_the_tenant(
    user: User, colleague: User, stranger: User
) -> None:
    run, foreign = store_run(hourly_task(user)), store_run(hourly_task(stranger))
    User.objects.filter(pk=colleague.pk).update(role=Role.ADMIN)
    boss = APIClient()
    boss.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_token(colleague)}")

    assert run_ids_of(boss.get("/runs/")) == [str(run.pk)]
    assert boss.get(f"/tasks/{run.task_id}/account/").status_code == 200
    assert boss.get(f"/tasks/{run.task_id}/next/").status_code == 200
    assert boss.get(f"/runs/{foreign.pk}").status_code == 404
    assert boss.get(f"/tasks/{foreign.task_id}/account/").status_code == 404
    answer = boss.post("/runs/redrive/", {"state": ["failed"]}, format="json")
    assert answer.json()["count"] == 1
    entry = AuditEntry.objects.get(action="run.redrive")
    assert (entry.tenant_id, entry.object_id) == (run.tenant_id, str(run.pk))


def test_real_answers_fit_the_schema(api: APIClient, user: User) -> None:
    paths = APIClient().get("/openapi.json").json()["paths"]
    task = hourly_task(user)
    run = store_run(task)
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
        assert_fits(answer.json(), content_of(described)["schema"])
