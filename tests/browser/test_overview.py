"""The overview and the calendar in a browser: live, by keyboard, and without JavaScript."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.domain.states import RunState
from tests.browser import demo_data
from tests.browser.conftest import PASSWORD, NewPage, in_each_look, log_in
from tests.browser.test_looks import look
from tests.conftest import MakeTask
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = [
    "/app/",
    "/app/?as=table",
    "/app/calendar/",
    "/app/calendar/?view=day&zone=Europe/Berlin",
    "/app/calendar/?by=tag",
    "/app/calendar/?by=host&of=shop.example.com",
]


@in_each_look
def test_pages_that_are_full_fit_and_keep_nobody_out(
    db: None, new_page: NewPage, width: int, dark: bool
) -> None:
    admin = demo_data.store(size=60).admin
    admin.set_password(PASSWORD)
    admin.save()
    soon = timezone.now() + timedelta(hours=2)
    paths = [*PATHS, f"/app/calendar/tasks/?from={soon:%Y-%m-%dT%H:00:00Z}"]
    page = new_page(width=width, dark=dark)
    log_in(page)
    expect(page.get_by_role("heading", name="Alpha")).to_be_visible()

    found = {path: look(page, path) for path in paths}

    assert {path: what for path, what in found.items() if what} == {}


def test_a_failure_shows_up_without_a_click(ann: User, page: Page) -> None:
    task = hourly_task(ann)
    store_run(task, ago=3, state=RunState.SUCCEEDED)
    log_in(page)
    expect(page.get_by_text("All is well.")).to_be_visible()

    run = store_run(task, reason="HTTP 500")

    expect(page.get_by_role("link", name="1 task fails")).to_be_visible()
    # A poll that finds nothing new leaves the part as it is.
    part = page.locator("#live")
    with page.expect_response(lambda answer: answer.status == 304) as unchanged:
        pass
    sent = unchanged.value.request.all_headers()["if-none-match"]
    assert json.loads(part.get_attribute("hx-headers") or "{}") == {
        "If-None-Match": sent
    }
    last = page.get_by_role("link", name="last failure")
    expect(last).to_have_attribute("href", f"/app/runs/{run.pk}/")


@pytest.mark.parametrize("java_script", [True, False])
def test_the_calendar_leads_to_a_task(
    ann: User, new_page: NewPage, make_task: MakeTask, java_script: bool
) -> None:
    at = (timezone.now() + timedelta(days=1)).replace(hour=9, minute=41)
    make_task(schedule=Once(at), name="wake up")
    page = new_page(java_script=java_script)
    log_in(page)
    page.get_by_role("link", name="Calendar", exact=True).first.click()
    page.get_by_label("Day", exact=True).fill(f"{at:%Y-%m-%d}")
    page.get_by_role("button", name="Show").click()

    page.get_by_role("link", name=f"{at:%a %d %b}").click()
    page.get_by_title("09:30: 1 to come").click()

    expect(page.get_by_role("link", name="wake up")).to_be_visible()


def test_the_keyboard_leads_from_a_bar_to_its_runs(ann: User, page: Page) -> None:
    store_run(hourly_task(ann))
    log_in(page)
    bar = page.locator("#hours a.bar.failed")
    bar.focus()
    href = bar.get_attribute("href")

    assert href is not None
    assert href.startswith("/app/runs/?state=failed&")
    with page.expect_request(lambda request: "/app/runs/" in request.url):
        page.keyboard.press("Enter")
