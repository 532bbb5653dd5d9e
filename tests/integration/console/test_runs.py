"""The list of runs: its filters, its numbers, its pages, and redrives from it."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, Tenant, User, Via
from tasks_api.domain.states import RunState
from tasks_api.models import Run
from tests.integration.support.believable_runs import (
    named_task,
    store_believable_runs,
    store_live_run,
)
from tests.integration.support.logins import browser_of
from tests.integration.support.statements import captured_statements
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

NUMBER = re.compile(r'href="(\?[^"]*)"[^>]*>\s*<strong>([\d,]+)</strong>')
ROW = re.compile(r'class="fired"><a href="/app/runs/([0-9a-f-]{36})')
NEXT = re.compile(r'href="([^"]*)" rel="next"')
VERSION = re.compile(r'"If-None-Match": "\\"([0-9a-f]+)\\""')


def read(browser: Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return str(answer.content.decode())


def listed(browser: Client, query: str = "") -> list[str]:
    return ROW.findall(read(browser, f"/app/runs/{query}"))


def test_each_number_is_the_length_of_the_list_that_it_links_to(
    user: User, colleague: User
) -> None:
    store_believable_runs(user)
    store_run(hourly_task(colleague))
    browser = browser_of(user)

    numbers = NUMBER.findall(read(browser, "/app/runs/"))

    assert len(numbers) == 12
    assert {query: len(listed(browser, unescape(query))) for query, _ in numbers} == {
        query: int(number) for query, number in numbers
    }
    assert sum(int(number) for _, number in numbers[:5]) == len(listed(browser))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?q=INVOICE", {"failed", "refused"}),
        ("?state=waiting", {"waiting"}),
        ("?state=missed", {"missed"}),
        ("?state=failed&q=invoices&code=503", {"failed"}),
        ("?reason=Connection+refused", {"refused"}),
        ("?code=503&last=hour", {"failed"}),
        ("?state=failed,missed&q=report", {"missed"}),
        ("?state=delivered&q=report&last=all", {"delivered"}),
        ("?code=418", set()),
    ],
)
def test_filters_are_in_the_url(user: User, query: str, names: set[str]) -> None:
    made = store_believable_runs(user)

    found = listed(browser_of(user), query)

    assert set(found) == {str(getattr(made, name).pk) for name in names}


def test_a_time_range_is_widened_to_whole_hours(user: User) -> None:
    task = hourly_task(user)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    hour -= timedelta(hours=5)
    inside = [store_run(task, at=hour + timedelta(minutes=m)) for m in (0, 59, 60, 119)]
    for minutes in (-1, 120):
        store_run(task, at=hour + timedelta(minutes=minutes))
    since = (hour + timedelta(minutes=20)).isoformat().replace("+00:00", "Z")
    until = f"{hour + timedelta(minutes=70):%Y-%m-%dT%H:%M}"

    page = read(browser_of(user), f"/app/runs/?from={since}&to={until}")

    assert set(ROW.findall(page)) == {str(run.pk) for run in inside}
    assert "<strong>4</strong>" in page
    # What the browser sends again with the next filter.
    assert f'value="{hour + timedelta(minutes=20):%Y-%m-%dT%H:%M:%S}"' in page
    assert "hx-get" not in page


@pytest.mark.parametrize("span", ["hour", "day", "week", "month", "all"])
def test_a_time_range_begins_where_history_does(
    user: User, alpha: Tenant, span: str
) -> None:
    run = store_run(hourly_task(user))
    Tenant.objects.filter(pk=alpha.pk).update(retention_days=1)

    assert listed(browser_of(user), f"?last={span}") == [str(run.pk)]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("?state=lost", "There is no state lost."),
        ("?code=7", "greater than or equal to 100"),
        ("?from=yesterday", "Enter a valid date/time."),
        ("?from=0001-01-01T00:00", "Choose a later or an earlier year."),
        ("?from=1980-01-01T00:00", "older runs are not kept"),
        ("?task=x", "Runs"),
        ("?last=year", "Select a valid choice"),
        ("?q=%00", "Null characters are not allowed."),
        ("?reason=%00", "Null characters are not allowed."),
    ],
)
def test_a_bad_filter_is_explained(user: User, query: str, complaint: str) -> None:
    run = store_run(hourly_task(user))

    page = read(browser_of(user), f"/app/runs/{query}")

    assert complaint in page
    assert str(run.pk) not in page


def test_a_bad_page_is_the_first_one(user: User) -> None:
    run = store_run(hourly_task(user))

    assert listed(browser_of(user), "?after=%FF") == [str(run.pk)]


def test_pages_follow_each_other_with_their_filters(user: User) -> None:
    task = named_task(user, "often")
    runs = [store_run(task, ago=ago) for ago in range(1, 120)]
    store_run(named_task(user, "seldom"), ago=3)
    browser = browser_of(user)

    found, path = [], "/app/runs/?q=often"
    while path:
        page = read(browser, path)
        found += ROW.findall(page)
        [path] = NEXT.findall(page) or [""]
        path = path and f"/app/runs/{unescape(path)}"

    assert found == [str(run.pk) for run in runs]


def test_a_page_takes_as_many_statements_for_many_runs_as_for_one(user: User) -> None:
    browser = browser_of(user)

    def count() -> int:
        with captured_statements() as seen:
            listed(browser)
        return len(seen)

    store_run(hourly_task(user))
    store_live_run(hourly_task(user), RunState.RUNNING)
    for_few = count()
    store_believable_runs(user)

    # One more now and then reads the clock.
    assert count() <= for_few + 1 <= 25


def test_a_poll_is_answered_only_when_something_has_changed(user: User) -> None:
    task = hourly_task(user)
    run = store_live_run(task, RunState.RUNNING)
    browser = browser_of(user)
    [seen] = VERSION.findall(read(browser, "/app/runs/"))
    headers = {"HX-Request": "true", "If-None-Match": f'"{seen}"'}

    with captured_statements() as statements:
        same = browser.get("/app/runs/", headers=headers)
    Run.objects.filter(pk=run.pk).update(state=RunState.OPEN, lease=None)
    changed = browser.get("/app/runs/", headers=headers)

    assert (same.status_code, same.content) == (304, b"")
    assert len(statements) <= 10
    assert changed.status_code == 200
    assert changed.content.decode().lstrip().startswith('<section id="runs"')
    [version] = VERSION.findall(changed.content.decode())
    assert changed["ETag"] == f'"{version}"' != f'"{seen}"'


def test_an_empty_list_teaches(user: User) -> None:
    browser = browser_of(user)

    assert "Each fire time of a task becomes a run here" in read(browser, "/app/runs/")
    assert "No run is like that." in read(browser, "/app/runs/?q=x")


# Redrives.


def test_chosen_runs_are_redriven_after_a_question(user: User, stranger: User) -> None:
    made = store_believable_runs(user)
    foreign = store_run(hourly_task(stranger))
    browser = browser_of(user)
    chosen = [
        str(run.pk) for run in (made.failed, made.missed, made.delivered, foreign)
    ]
    form = {"what": "chosen", "run": chosen}

    question = browser.post("/app/runs/redrive?state=undelivered", form)
    asked = question.content.decode()
    assert "Redrive 2 runs?" in asked
    assert "<li>send invoices: POST billing.example.com: 1</li>" in asked
    assert not Run.objects.filter(redrive_of__isnull=False).exists()
    done = browser.post(
        "/app/runs/redrive?state=undelivered", {**form, "confirmed": "yes"}
    )

    assert done["Location"] == "/app/runs?state=undelivered"
    redriven = set(Run.objects.values_list("redrive_of", flat=True)) - {None}
    assert redriven == {made.failed.pk, made.missed.pk}
    assert "2 runs are sent again." in read(browser, "/app/runs/")
    entry = AuditEntry.objects.get(action="run.redrive")
    assert (entry.actor, entry.via, entry.count) == (user.username, Via.CONSOLE, 2)


def test_all_that_a_filter_finds_is_redriven(user: User) -> None:
    made = store_believable_runs(user)
    browser = browser_of(user)
    path = "/app/runs/redrive?q=invoices&code=503"

    assert "Redrive 1 run?" in browser.post(path, {"what": "all"}).content.decode()
    browser.post(path, {"what": "all", "confirmed": "yes"})
    again = browser.post(path, {"what": "all"}, follow=True)

    [redrive] = Run.objects.filter(redrive_of__isnull=False)
    assert redrive.redrive_of == made.failed.pk
    assert "None of these runs can be redriven" in again.content.decode()


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"what": "chosen"}, 200),
        ({"what": "all", "run": "x"}, 404),
        ({"what": "chosen", "run": "x"}, 404),
        ({"what": "none"}, 404),
        ({}, 404),
    ],
)
def test_a_bad_choice_redrives_nothing(
    user: User, form: dict[str, str], status: int
) -> None:
    store_run(hourly_task(user))

    answer = browser_of(user).post(
        "/app/runs/redrive", {**form, "confirmed": "yes"}, follow=True
    )

    assert answer.status_code == status
    assert Run.objects.count() == 1


def test_of_many_runs_the_oldest_are_redriven(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.runs.many.MAX_RUNS", 2)
    task = hourly_task(user)
    runs = [store_run(task, ago=ago) for ago in (3, 2, 1)]
    browser = browser_of(user)

    question = browser.post("/app/runs/redrive", {"what": "all"}).content.decode()
    form = {"what": "all", "confirmed": "yes"}
    done = browser.post("/app/runs/redrive", form, follow=True).content.decode()

    assert "More than 2 are found: these are the oldest." in question
    assert "2 runs are sent again. More are left: redrive again." in done
    redriven = set(Run.objects.values_list("redrive_of", flat=True)) - {None}
    assert redriven == {run.pk for run in runs[:2]}


# Cancellations.


def store_waiting(user: User, count: int) -> list[Run]:
    """Runs that wait for a worker, with a task each."""
    return [
        store_live_run(named_task(user, f"job {number}"), RunState.PENDING)
        for number in range(count)
    ]


def test_chosen_runs_are_cancelled_after_a_question(user: User, stranger: User) -> None:
    waiting = store_waiting(user, 3)
    foreign = store_waiting(stranger, 1)
    over = store_run(hourly_task(user))
    browser = browser_of(user)
    chosen = [str(run.pk) for run in (*waiting[:2], *foreign, over)]
    form = {"what": "chosen", "run": chosen}

    asked = browser.post("/app/runs/cancel?state=waiting", form).content.decode()
    assert "Cancel 2 runs?" in asked
    assert "<li>job 0: " in asked
    assert not Run.objects.filter(state=RunState.CANCELLED).exists()
    done = browser.post("/app/runs/cancel?state=waiting", {**form, "confirmed": "yes"})

    assert done["Location"] == "/app/runs?state=waiting"
    cancelled = Run.objects.filter(state=RunState.CANCELLED)
    assert {run.pk for run in cancelled} == {run.pk for run in waiting[:2]}
    assert "2 runs are cancelled." in read(browser, "/app/runs/")
    entry = AuditEntry.objects.get(action="run.cancel")
    assert (entry.actor, entry.via, entry.count) == (user.username, Via.CONSOLE, 2)


def test_all_that_a_filter_finds_and_is_not_over_is_cancelled(user: User) -> None:
    store_believable_runs(user)
    store_waiting(user, 2)
    before = Run.objects.filter(state=RunState.FAILED).count()
    browser = browser_of(user)
    path = "/app/runs/cancel?q=job"

    assert "Cancel 2 runs?" in browser.post(path, {"what": "all"}).content.decode()
    browser.post(path, {"what": "all", "confirmed": "yes"})
    again = browser.post(path, {"what": "all"}, follow=True)

    assert "None of these runs can be cancelled" in again.content.decode()
    assert Run.objects.filter(state=RunState.FAILED).count() == before
    assert Run.objects.filter(reason__startswith="Cancelled by").count() == 2


def test_the_list_offers_to_cancel_where_something_is_not_over(user: User) -> None:
    store_run(hourly_task(user))
    browser = browser_of(user)

    assert "Cancel" not in read(browser, "/app/runs/")
    store_waiting(user, 1)
    page = read(browser, "/app/runs/")
    assert "Cancel all that are not over" in page
    assert page.count('type="checkbox"') == 2
    assert "Cancel" not in read(browser, "/app/runs/?state=failed")
    assert "Cancel the chosen" in read(browser, "/app/runs/?state=waiting")


def test_a_viewer_chooses_nothing(viewer: User, user: User) -> None:
    store_believable_runs(user)

    page = read(browser_of(viewer), "/app/runs/")

    assert len(ROW.findall(page)) > 10
    assert "Redrive" not in page
    assert "Cancel" not in page
    assert "checkbox" not in page
