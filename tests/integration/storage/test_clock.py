"""A process goes by the database's clock, an hour ahead of its machine's or behind it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, SigningSecret, Tenant, Token, User, digest
from scheduler_service.db import clock
from tasks_api import tasks
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import IdempotencyKey, Run, Task
from tasks_api.services import tasks as task_services
from tasks_api.storage import retention
from tests.conftest import ClientFor
from tests.integration.support.clocks import CLOCK_TOLERANCE, HOUR, true_now

pytestmark = pytest.mark.django_db


HALF = timedelta(minutes=30)


URL = "http://example.com/hook"


FREQUENT = {"task_type": "periodic", "frequency": 600, "url": URL}


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def wrong_clock(request: pytest.FixtureRequest) -> Iterator[timedelta]:
    with time_machine.travel(datetime.now(UTC) + request.param, tick=True):
        yield request.param


@pytest.fixture
def api(
    wrong_clock: timedelta, user: User, client_for: ClientFor, settings: LazySettings
) -> APIClient:
    settings.SCHEDULER_MIN_FREQUENCY = 4
    return client_for(user)


def written(moment: datetime) -> str:
    return moment.isoformat()


def post_json(api: APIClient, path: str, body: Any = None, **headers: Any) -> Any:
    return api.post(path, body, format="json", **headers)


def task_ending_in(owner: User, span: timedelta, **more: Any) -> Task:
    """A periodic task that began hours ago and ends after a span, or has ended before."""
    now = true_now()
    schedule = Interval(now - 4 * HOUR, timedelta(minutes=10), now + span)
    surface = more.pop("surface", Surface.TASKS)
    spec = TaskSpec(surface, URL, schedule, "{}", **more)
    return task_services.create_task(owner, spec, now=now - 4 * HOUR)


# The clock itself.


def test_the_clock_is_the_databases_and_never_ahead_of_it(
    wrong_clock: timedelta,
) -> None:
    before = true_now()
    seen = clock.now()
    after = true_now()

    assert before - timedelta(seconds=clock.READING_LIFETIME) <= seen <= after


def test_ids_are_in_order_and_of_the_databases_moment(wrong_clock: timedelta) -> None:
    made = [clock.new_id() for _ in range(5000)]

    assert made == sorted(set(made))
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    at = datetime.fromtimestamp((made[0].int >> 80) / 1000, tz=UTC)
    assert abs(at - true_now()) < CLOCK_TOLERANCE


# Tasks.


def test_a_living_task_is_changed_by_its_name_and_not_made_anew(
    api: APIClient, user: User
) -> None:
    living = task_ending_in(user, HALF, name="backup")
    end = written(true_now() + HALF)
    body = {
        **FREQUENT,
        "start_datetime": written(true_now() + timedelta(minutes=5)),
        "end_datetime": end,
    }

    answer = api.put("/tasks/by-name/backup", body, format="json")

    assert (answer.status_code, answer.json()["id"]) == (200, str(living.pk))


def test_a_name_is_free_once_its_task_is_past_its_end(
    api: APIClient, user: User
) -> None:
    over = task_ending_in(user, -HALF, name="backup")
    body = {
        "task_type": "one_time",
        "run_datetime": written(true_now() + HALF),
        "url": URL,
        "name": "backup",
    }

    answer = post_json(api, "/tasks/", body)

    assert answer.status_code == 201
    assert Task.objects.get(pk=over.pk).ended_at is not None


@pytest.mark.parametrize(("span", "count"), [(HALF, 1), (-HALF, 0)])
def test_what_is_alive_is_listed_counted_and_shown(
    api: APIClient, user: User, span: timedelta, count: int
) -> None:
    task = task_ending_in(user, span, name="backup")

    listed = api.get("/tasks/").json()
    by_cursor = api.get("/tasks/?cursor=").json()

    assert (listed["count"], len(listed["tasks"])) == (count, count)
    assert (by_cursor["count"], len(by_cursor["tasks"])) == (count, count)
    expected = 200 if count else 404
    assert api.get(f"/tasks/id/{task.pk}").status_code == expected
    assert api.get("/tasks/by-name/backup").status_code == expected
    assert api.get(f"/tasks/{task.pk}/next/").status_code == expected
    assert post_json(api, f"/tasks/{task.pk}/pause/").status_code == expected


def test_a_task_is_found_by_when_it_was_made(api: APIClient) -> None:
    body = {
        "task_type": "one_time",
        "run_datetime": written(true_now() + HALF),
        "url": URL,
    }
    task_id = post_json(api, "/tasks/", body).json()["id"]
    around = {
        "created_after": written(true_now() - CLOCK_TOLERANCE),
        "created_before": written(true_now() + CLOCK_TOLERANCE),
    }

    found = api.get("/tasks/", around).json()["tasks"]

    assert [task["id"] for task in found] == [task_id]


@pytest.mark.parametrize(("starts_in", "status"), [(HALF, 201), (-HALF, 400)])
def test_the_future_is_what_the_database_has_not_seen(
    api: APIClient, starts_in: timedelta, status: int
) -> None:
    at = true_now() + starts_in
    once = {"task_type": "one_time", "run_datetime": written(at), "url": URL}
    often = {
        **FREQUENT,
        "start_datetime": written(at),
        "end_datetime": written(at + 4 * HOUR),
    }

    assert post_json(api, "/tasks/", once).status_code == status
    assert post_json(api, "/tasks/", often).status_code == status
    assert post_json(api, "/tasks/bulk/", {"tasks": [once]}).status_code == status
    assert post_json(api, "/tasks/preview/", often).status_code in {200, status}


def test_no_task_fires_for_times_before_it_was_made(api: APIClient) -> None:
    body = {
        "task_type": "periodic",
        "cron": "* * * * * *",
        "url": URL,
        "misfire": "all",
    }
    before = true_now()

    task = Task.objects.get(pk=post_json(api, "/tasks/", body).json()["id"])

    assert (
        before - timedelta(seconds=clock.READING_LIFETIME)
        <= task.created_at
        <= true_now()
    )
    assert task.next_fire_at
    assert task.next_fire_at > task.created_at


def test_a_start_of_now_is_the_databases_now(api: APIClient) -> None:
    job = {
        "task": {
            "method": "POST",
            "uri": URL,
            "body": {},
            "expected_range": "200-299",
        },
        "schedule": "now",
    }
    before = true_now() - timedelta(seconds=clock.READING_LIFETIME)

    link = post_json(api, "/api/v1/jobs", job).json()["id"]

    at = Task.objects.get(pk=link).next_fire_at
    assert at
    assert before <= at <= true_now()


def test_a_run_by_hand_is_due_at_once(api: APIClient, user: User) -> None:
    task = task_ending_in(user, HALF)

    answer = post_json(api, f"/tasks/{task.pk}/run/")

    run = Run.objects.get(pk=answer.json()["run_id"])
    assert timedelta() <= true_now() - run.scheduled_for < CLOCK_TOLERANCE


def test_cron_jobs_and_sets_of_timers_keep_what_lives(
    api: APIClient, user: User, alpha: Tenant
) -> None:
    job = task_ending_in(user, HALF, name="job", surface=Surface.CRON_JOBS)
    body = {"id": "job", "endpoint": URL, "cron": "0 * * * *", "payload": {}}

    assert post_json(api, "/", body).status_code == 202

    [kept] = Task.objects.filter(surface=Surface.CRON_JOBS)
    assert (kept.pk, kept.ended_at) == (job.pk, None)
    assert kept.next_fire_at
    assert timedelta() < kept.next_fire_at - true_now() <= HOUR


def test_a_declared_task_that_lives_is_changed(api: APIClient, user: User) -> None:
    task = task_ending_in(user, HALF, name="backup", tags=("web",))
    wanted = {
        **FREQUENT,
        "name": "backup",
        "start_datetime": written(true_now() + timedelta(minutes=5)),
        "end_datetime": written(true_now() + HALF),
    }

    answer = post_json(api, "/tasks/apply/", {"tag": "web", "tasks": [wanted]})

    assert [step["action"] for step in answer.json()["tasks"]] == ["change"]
    assert Task.objects.get(pk=task.pk).ended_at is None


# Credentials, and what is kept for a time.


@pytest.mark.parametrize(("span", "status"), [(HALF, 200), (-HALF, 401)])
def test_a_token_expires_when_it_says(
    wrong_clock: timedelta, user: User, span: timedelta, status: int
) -> None:
    token = accounts.issue_token(user, expires_at=true_now() + span)

    answer = APIClient().get("/tasks/", HTTP_AUTHORIZATION=f"Bearer {token}")

    assert answer.status_code == status


def test_a_token_lives_as_long_as_was_asked_for(
    wrong_clock: timedelta, user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("issue_token", "--tenant", "Alpha", "--user", "ann", "--expires", "1d")

    token = Token.objects.get(digest=digest(capsys.readouterr().out.strip()))

    assert abs(token.created_at - true_now()) < CLOCK_TOLERANCE
    assert token.expires_at
    assert (
        abs(token.expires_at - token.created_at - timedelta(days=1)) < CLOCK_TOLERANCE
    )


def test_a_rotated_secret_is_the_newest_and_its_overlap_as_asked(
    user: User, alpha: Tenant, wrong_clock: timedelta, api: APIClient
) -> None:
    accounts.change_user(user, role=Role.ADMIN)

    answer = post_json(api, "/signing-secrets/rotate/", {"overlap_seconds": 600})

    assert answer.status_code in {200, 201}, answer.json()
    old, new = SigningSecret.objects.filter(tenant=alpha).order_by("created_at")
    assert new.secret == answer.json()["secret"]
    assert abs(new.created_at - true_now()) < CLOCK_TOLERANCE
    assert old.expires_at
    assert old.expires_at > true_now()


def test_the_audit_log_is_in_the_order_of_what_was_done(
    api: APIClient, user: User
) -> None:
    task = task_ending_in(user, HALF)
    post_json(api, f"/tasks/{task.pk}/pause/")
    post_json(api, f"/tasks/{task.pk}/resume/")

    entries = AuditEntry.objects.order_by("-id")

    assert [each.action for each in entries][:2] == ["task.resume", "task.pause"]
    newest = entries[0]
    made = datetime.fromtimestamp((newest.pk.int >> 80) / 1000, tz=UTC)
    assert (newest.pk.version, newest.pk.variant) == (7, uuid.RFC_4122)
    assert abs(made - true_now()) < CLOCK_TOLERANCE
    assert abs(newest.at - true_now()) < CLOCK_TOLERANCE


@pytest.mark.parametrize(
    ("age", "is_kept"), [(timedelta(hours=23.5), True), (timedelta(hours=24.5), False)]
)
@pytest.mark.django_db(transaction=True)
def test_an_idempotency_key_is_kept_for_a_day(
    api: APIClient, age: timedelta, is_kept: bool
) -> None:
    body = {
        "task_type": "one_time",
        "run_datetime": written(true_now() + HALF),
        "url": URL,
    }
    first = post_json(api, "/tasks/", body, HTTP_IDEMPOTENCY_KEY="k")
    IdempotencyKey.objects.update(created_at=true_now() - age)

    again = post_json(api, "/tasks/", body, HTTP_IDEMPOTENCY_KEY="k")

    assert (again.json() == first.json()) is is_kept
    IdempotencyKey.objects.update(created_at=true_now() - age)
    tasks.prune()
    assert IdempotencyKey.objects.exists() is is_kept


def test_the_lag_of_retention_is_nothing_where_nothing_is_late(
    wrong_clock: timedelta, user: User
) -> None:
    assert retention.lag(now=clock.now()) == 0


# The admin.


@pytest.mark.parametrize(("span", "state"), [(HALF, "active"), (-HALF, "ended")])
def test_the_admin_shows_what_is_alive(
    wrong_clock: timedelta, client: Client, user: User, span: timedelta, state: str
) -> None:
    task = task_ending_in(user, span)
    client.force_login(User.objects.create_superuser("root", password="x"))
    page = reverse("admin:tasks_api_task_changelist")

    for each in ("active", "ended"):
        shown = str(task.pk) in client.get(page, {"state": each}).content.decode()
        assert shown is (each == state)
    assert f'field-state">{state}' in client.get(page).content.decode()


def test_the_admin_pauses_what_lives(
    wrong_clock: timedelta, client: Client, user: User
) -> None:
    task = task_ending_in(user, HALF)
    client.force_login(User.objects.create_superuser("root", password="x"))

    client.post(
        reverse("admin:tasks_api_task_changelist"),
        {"action": "pause", "_selected_action": [str(task.pk)]},
    )

    task.periodic_task.refresh_from_db()
    assert task.periodic_task.enabled is False
