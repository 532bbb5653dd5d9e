"""The overview says whether all is well, and each of its numbers is that of a list."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.schedules import Interval
from tasks_api.domain.states import RunState
from tasks_api.models import Task
from tasks_api.services import pausing, pull_queue, rollups
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def open_page(user: User, path: str = "/app/", **headers: str) -> str:
    browser = Client()
    browser.force_login(user)
    answer = browser.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def store_outcomes(owner: User) -> Task:
    task = hourly_task(owner)
    for number, state in enumerate(
        [
            *[RunState.SUCCEEDED] * 5,
            *[RunState.FAILED] * 2,
            RunState.MISSED,
            RunState.SKIPPED,
        ]
    ):
        reason = "HTTP 503; try later" if state == RunState.FAILED else ""
        store_run(task, ago=10 + 60 * number, state=state, reason=reason)
    return task


def test_all_is_well_while_everything_is_delivered(user: User) -> None:
    store_run(hourly_task(user), state=RunState.SUCCEEDED)

    assert "All is well." in open_page(user)


def test_a_failing_task_is_named_with_its_reason_and_its_run(user: User) -> None:
    task = hourly_task(user)
    run = store_run(task, ago=5, reason="HTTP 500")
    recovered = hourly_task(user)
    store_run(recovered, ago=20, reason="HTTP 500")
    store_run(recovered, ago=3, state=RunState.SUCCEEDED)

    page = open_page(user)

    assert "All is well." not in page
    assert "1 task fails</a>" in page
    assert page.count("still fails") == 1
    assert page.count("delivers again") == 1
    assert f'href="/app/runs/{run.pk}/"' in page
    assert f'href="/app/tasks/{task.pk}/"' in page


def test_a_task_that_the_service_paused_is_named(user: User) -> None:
    task = hourly_task(user)
    pausing.pause_tasks(user, [str(hourly_task(user).pk)], now=timezone.now())
    pausing.pause_failing_tasks({task.pk: (3, "HTTP 410")})

    page = open_page(user)

    assert "1 task is paused</a>" in page
    assert "3 runs in a row failed; the last one: HTTP 410" in page


def test_waiting_messages_are_counted_by_queue(user: User) -> None:
    assert user.tenant_id is not None
    now = timezone.now()
    pull_queue.enqueue_many(
        [
            pull_queue.NewMessage(
                user.tenant_id, queue, f"{number}", "null", 60, 0, run_at
            )
            for queue, count in (("mail", 3), ("maps", 1))
            for number in range(count)
            for run_at in [now + (60 if number == 2 else -5) * MINUTE]
        ]
    )

    page = open_page(user)

    counts = re.findall(
        r'<th scope="row">(\w+)</th>\s*<td><a href="/app/queues/">(\d+)', page
    )
    assert counts == [("mail", "2"), ("maps", "1")]


def test_each_number_of_runs_is_that_of_its_list(
    user: User, client_for: ClientFor
) -> None:
    store_outcomes(user)
    api = client_for(user)

    page = open_page(user)

    links = re.findall(r'href="/app/runs/\?([^"]+)"[^>]*><strong>(\d+)</strong>', page)
    assert len(links) >= 5
    for query, number in links:
        runs = api.get(f"/runs/?{unescape(query)}").json()["runs"]
        assert len(runs) == int(number), query


def test_a_reason_leads_to_the_runs_that_it_counts(user: User) -> None:
    store_outcomes(user)

    page = open_page(user)

    [(url, number)] = re.findall(
        r'HTTP 503</th>\s*<td data-label="Runs"><a href="([^"]+)">(\d+)', page
    )
    query = parse_qs(urlsplit(unescape(url)).query)
    assert number == "2"
    assert (query["state"], query["reason"]) == (["failed"], ["HTTP 503"])


def test_the_table_has_the_numbers_of_the_chart(user: User) -> None:
    store_outcomes(user)

    chart, table = open_page(user), open_page(user, "/app/?as=table")

    assert "<svg" in chart
    assert '<a class="bar failed"' in chart
    hours = re.search(r'<section class="panel" id="hours">(.*?)</section>', table, re.S)
    assert hours is not None
    assert "<svg" not in hours[1]
    linked = re.findall(r'state=succeeded[^"]*">(\d+)</a>', hours[1])
    assert sum(map(int, linked)) == 5


def test_the_account_of_closed_hours_is_an_equation(
    user: User, make_task: MakeTask
) -> None:
    now = timezone.now()
    begin = now.replace(minute=0, second=0, microsecond=0) - 5 * HOUR
    task = make_task(schedule=Interval(begin + 30 * MINUTE, HOUR))
    task.created_at, task.next_fire_at = begin, now + HOUR
    task.save()
    for number in range(4):
        at = begin + 30 * MINUTE + number * HOUR
        state = RunState.FAILED if number == 2 else RunState.SUCCEEDED
        store_run(task, at=at, state=state)
    # When the fourth of these hours has been over for longer than hours stay open.
    rollups.keep_rollups(now=begin + 4.5 * HOUR, pause=lambda _: None)

    account = open_page(user).split('id="account"')[1]

    assert "<strong>4</strong> planned</span>" in account
    assert "<span>=</span>" in account
    assert re.findall(r"<strong>(\d+)</strong></a> (\w+)", account) == [
        ("3", "delivered"),
        ("1", "failed"),
    ]


def test_what_a_member_sees_is_of_own_tasks(
    user: User, colleague: User, stranger: User
) -> None:
    for owner in (colleague, stranger):
        store_run(hourly_task(owner), reason="HTTP 500")
    own = open_page(user)
    boss = accounts.change_user(user, role=Role.ADMIN)

    assert "HTTP 500" not in own
    assert "1 task fails" in open_page(boss)


def test_a_poll_gets_304_until_something_happens(user: User) -> None:
    task = hourly_task(user)
    browser = Client()
    browser.force_login(user)
    poll = {"HX-Request": "true"}
    etag = browser.get("/app/", headers=poll)["ETag"]

    same = browser.get("/app/", headers={**poll, "If-None-Match": etag})
    store_run(task)
    other = browser.get("/app/", headers={**poll, "If-None-Match": etag})

    assert (same.status_code, same.content) == (304, b"")
    assert other.status_code == 200
    assert "1 task fails" in other.content.decode()


def test_the_coming_load_is_that_of_the_forecast(
    user: User, make_task: MakeTask, client_for: ClientFor
) -> None:
    now = timezone.now()
    make_task(schedule=Interval(now + MINUTE, 20 * MINUTE))
    start = now.replace(minute=0, second=0, microsecond=0)
    query = f"from={start:%Y-%m-%dT%H:00:00Z}"

    page = open_page(user)

    total = client_for(user).get(f"/forecast/?{query}").json()["total"]
    assert f"{total} fire times</a> to come" in page
    assert page.count('class="bar coming"') == 24


def test_a_viewer_has_no_button(user: User) -> None:
    store_run(hourly_task(user))
    viewer = accounts.change_user(user, role=Role.VIEWER)

    assert "<button" not in open_page(viewer).split("</header>")[1]
