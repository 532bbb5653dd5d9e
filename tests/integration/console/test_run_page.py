"""The page of a run: its story, its request without secrets, and its redrive."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import encryption
from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.delivery.request import Credentials, build_request
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import FurtherAttempt, Run, Task
from tasks_api.services.masked_requests import MASKED
from tasks_api.services.run_stories import read_story
from tasks_api.taking import leases, waiting_runs
from tasks_api.taking.room import Room
from tests.integration.support.believable_runs import (
    ANSWER,
    named_task,
    store_believable_runs,
    store_live_run,
    store_retried_run,
)
from tests.integration.support.logins import browser_of
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)


def read(browser: Client, run: Run) -> str:
    answer = browser.get(f"/app/runs/{run.pk}/")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_failed_run_tells_its_story(user: User) -> None:
    run = store_retried_run(named_task(user, "send invoices"), ago=5)

    page = read(browser_of(user), run)

    for text in ("send invoices", "Attempt 1", "Attempt 2", "timed out after 10 s"):
        assert text in page
    assert "HTTP 503; that was attempt 3, the last one" in page
    assert "the invoice service is away" in page
    assert page.count("Wait for the next attempt") == 2
    assert page.count("<rect ") == 6
    assert "hx-get" not in page


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "</textarea><b>", "'; rm -rf / #"]
)
def test_hostile_texts_are_shown_as_text(user: User, text: str) -> None:
    task = named_task(user, text)
    Task.objects.filter(pk=task.pk).update(body=json.dumps({"a": text}))
    run = store_run(task, reason=text)
    Run.objects.filter(pk=run.pk).update(first_answer=text, first_error=text)

    page = read(browser_of(user), run)

    assert "<script>alert" not in page
    assert "</textarea><b>" not in page


def test_secrets_are_masked(user: User) -> None:
    task = named_task(user, "a")
    url = encryption.seal_url("https://ann:hunter2@example.com/hook")
    Task.objects.filter(pk=task.pk).update(url=url)

    page = read(browser_of(user), store_run(task))

    assert "https://***@example.com/hook" in page
    assert "X-Api-Key: …" in page
    assert "hunter2" not in page
    assert "sealed" not in page


@pytest.mark.parametrize("redriven", [False, True])
@pytest.mark.parametrize("surface", [Surface.TASKS, Surface.TIMERS])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_shown_headers_are_those_of_the_request(
    user: User, redriven: bool, surface: Surface, method: str
) -> None:
    task = named_task(user, "a")
    options = {
        "header_names": ["User-agent", "X-Api-Key"],
        "sealed_values": "x",
        "form": None,
        "deadline": 60,
        "content_type": "text/plain",
    }
    request = json.dumps(options)
    Task.objects.filter(pk=task.pk).update(
        surface=surface, method=method, request=request
    )
    run = store_live_run(task, RunState.PENDING)
    Run.objects.filter(pk=run.pk).update(
        redrive_of=uuid4() if redriven else None, by_hand=True, wake_at=timezone.now()
    )
    story = read_story(with_reach(user), run.pk)
    shown = story.request

    lease = leases.new_lease(leases.NO_PRESENCE)
    [claimed] = waiting_runs.take_runs([run.pk], Room(), lease).runs
    sent = build_request(
        claimed,
        Credentials(["whsec_" + "a" * 32]),
        now=timezone.now(),
        timeout=30,
        unseal=lambda _: ["x", "y"],
    )

    assert [name for name, _ in story.headers] == [name for name, _ in sent.headers]
    known = dict(sent.headers)
    assert all(each.value in (MASKED, known[each.name]) for each in story.headers)
    assert (shown.method, shown.body.encode()) == (sent.method, sent.body)


def with_reach(user: User) -> User:
    user.reaches_tenant = False
    return user


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (RunState.PENDING, "Wait for a worker"),
        (RunState.RUNNING, "An attempt is under way"),
        (RunState.RETRYING, "Wait for attempt 1"),
        (RunState.OPEN, "The target is at work"),
    ],
)
def test_a_live_run_says_what_it_waits_for_and_refreshes(
    user: User, state: RunState, text: str
) -> None:
    run = store_live_run(hourly_task(user), state)
    browser = browser_of(user)

    page = browser.get(f"/app/runs/{run.pk}")
    headers = {"HX-Request": "true", "If-None-Match": page["ETag"]}
    poll = browser.get(f"/app/runs/{run.pk}", headers=headers)
    over = {"state": RunState.FAILED, "finished_at": timezone.now(), "wake_at": None}
    Run.objects.filter(pk=run.pk).update(lease=None, **over)
    end = browser.get(f"/app/runs/{run.pk}", headers=headers).content.decode()

    assert text in page.content.decode()
    assert 'hx-trigger="every 2s"' in page.content.decode()
    assert poll.status_code == 304
    assert end.lstrip().startswith('<div id="story">')


@pytest.mark.parametrize(
    "state", [RunState.MISSED, RunState.SKIPPED, RunState.CANCELLED, RunState.SUCCEEDED]
)
def test_a_run_that_is_over_says_why(user: User, state: RunState) -> None:
    run = store_run(hourly_task(user), state=state, reason="because of the rain")

    page = read(browser_of(user), run)

    assert page.count("because of the rain") == 2
    assert ("Redrive" in page) == (state != RunState.SUCCEEDED)


def test_a_run_may_go_to_a_queue_or_a_channel(user: User) -> None:
    to_queue, notice = hourly_task(user), hourly_task(user)
    Task.objects.filter(pk=to_queue.pk).update(queue="my mail", url="")
    Task.objects.filter(pk=notice.pk).update(
        surface=Surface.NOTICES, url="https://hooks.example.com/secret"
    )
    browser = browser_of(user)

    assert "?queue=my%20mail" in read(browser, store_run(to_queue))
    told = read(browser, store_run(notice))
    assert "notification channels" in told
    assert "hooks.example.com/secret" not in told


def test_thousands_of_attempts_are_not_all_read(user: User) -> None:
    run = store_run(hourly_task(user))
    FurtherAttempt.objects.bulk_create(
        FurtherAttempt(
            run_id=run.pk,
            number=number,
            started_at=timezone.now(),
            duration_ms=1,
            status_code=429,
            answer=f"answer {number};",
        )
        for number in range(2, 101)
    )
    Run.objects.filter(pk=run.pk).update(attempt_count=100)

    page = read(browser_of(user), run)

    assert page.count("<strong>Attempt ") == 30
    assert "70 more attempts, which are not shown" in page
    assert "answer 100;" in page
    assert "answer 50;" not in page


def test_a_page_takes_few_statements(user: User) -> None:
    run = store_retried_run(hourly_task(user), ago=5)
    browser = browser_of(user)

    with CaptureQueriesContext(connection) as seen:
        read(browser, run)

    assert len(seen) <= 15


# Redrives.


def test_one_click_redrives_a_run(user: User) -> None:
    run = store_believable_runs(user).failed
    browser = browser_of(user)

    answer = browser.post(f"/app/runs/{run.pk}/redrive")

    made = Run.objects.get(redrive_of=run.pk)
    assert answer["Location"] == f"/app/runs/{made.pk}"
    page = read(browser, made)
    assert "This run sends it again." in page
    assert f'href="/app/runs/{run.pk}"' in page
    assert f'href="/app/runs/{made.pk}"' in read(browser, run)


def test_a_redrive_that_is_refused_says_why(user: User) -> None:
    run = store_believable_runs(user).delivered
    browser = browser_of(user)

    answer = browser.post(f"/app/runs/{run.pk}/redrive", follow=True)

    assert "The run was delivered." in answer.content.decode()


@pytest.mark.parametrize(
    ("state", "end", "told"),
    [
        (RunState.RETRYING, RunState.CANCELLED, "The run is cancelled."),
        (RunState.RUNNING, RunState.RUNNING, "The run is marked as cancelled."),
    ],
)
def test_one_click_cancels_a_run(
    user: User, state: RunState, end: RunState, told: str
) -> None:
    run, browser = store_live_run(hourly_task(user), state), browser_of(user)
    url = f"/app/runs/{run.pk}/cancel"
    assert url in read(browser, run)

    page = browser.post(url, follow=True).content.decode()

    assert told in page
    is_marked = f"{user.username} has cancelled it." in page
    assert is_marked == (end == RunState.RUNNING)
    assert url not in page
    assert Run.objects.get(pk=run.pk).state == end


def test_a_run_that_is_over_is_not_cancelled(user: User) -> None:
    run, browser = store_believable_runs(user).delivered, browser_of(user)
    assert f"/app/runs/{run.pk}/cancel" not in read(browser, run)

    page = browser.post(f"/app/runs/{run.pk}/cancel", follow=True)

    assert "The run is over: it was delivered." in page.content.decode()


@pytest.mark.parametrize("path", ["", "/redrive", "/cancel"])
def test_the_run_of_somebody_else_is_not_found(
    user: User, colleague: User, stranger: User, path: str
) -> None:
    browser = browser_of(user)
    theirs = [store_run(hourly_task(each)) for each in (colleague, stranger)]
    paths = [f"/app/runs/{run.pk}{path}" for run in theirs]
    paths += [f"/app/runs/{uuid4()}{path}", f"/app/runs/{'-' * 36}{path}"]
    paths += [] if path else [f"/app/runs?task={run.task_id}" for run in theirs]

    for each in paths:
        method = browser.post if path else browser.get
        assert method(each).status_code == 404
    assert Run.objects.count() == 2


def test_an_administrator_and_a_viewer_see_the_runs_of_all(
    user: User, tenant_admin: User, viewer: User
) -> None:
    run = store_retried_run(hourly_task(user), ago=5)

    assert "Redrive" in read(browser_of(tenant_admin), run)
    seen = read(browser_of(viewer), run)
    assert "Redrive" not in seen
    assert ANSWER.partition('"')[0] in seen
    accounts.change_user(viewer, role=Role.MEMBER)
    assert browser_of(viewer).get(f"/app/runs/{run.pk}").status_code == 404
