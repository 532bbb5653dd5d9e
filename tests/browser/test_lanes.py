"""People look at lanes, pause them and choose them: with and without a mouse or JavaScript."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from tasks_api.domain.schedules import Cron
from tasks_api.domain.states import RunState
from tasks_api.models import Lane, Run, Task
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import problems
from tests.integration.support.lane_rows import make_lane, run_in_lane, task_in_lane
from tests.integration.support.stored_runs import store_run

pytestmark = pytest.mark.django_db(transaction=True)

LANES = "/app/lanes/"
CRM = f"{LANES}crm/"


@pytest.fixture
def waiting(ann: User) -> Run:
    """A run that waits in lane crm, which has an hour that does not fit, beside others."""
    make_lane(ann, host="crm.example.com", concurrency=5, breaker_after=10)
    make_lane(ann, "mail-provider-of-the-customers", rate_limit=20, burst=4)
    crowded = Cron(f"0 {(timezone.now() + timedelta(hours=5)).hour} * * *")
    for number in range(130):
        name = f"contacts: sync region {number}" if number else "contacts: sync"
        task = task_in_lane(ann, name=name, schedule=crowded)
    for number in range(6):
        every = Cron(f"{7 * number} * * * *", "Europe/Berlin")
        task_in_lane(ann, name=f"deals: push {number}", schedule=every)
    Lane.objects.filter(name="crm").update(rate_limit=100, rate_per="hour")
    Lane.objects.exclude(name="crm").update(paused_at=timezone.now(), hold_reason="Too many complaints")  # fmt: skip
    for number in range(1, 5):
        store_run(task, ago=60 * number, state=RunState.SUCCEEDED, lane_id=task.lane_id)
    return run_in_lane(task, ago=3)


@in_each_look
def test_the_pages_of_lanes_fit_and_keep_nobody_out(
    waiting: Run, new_page: NewPage, width: int, dark: bool
) -> None:
    page = new_page(width=width, dark=dark)
    enter(page)
    found = {}
    for path in (
        LANES,
        CRM,
        f"{LANES}mail-provider-of-the-customers/",
        f"{LANES}new/",
        f"{CRM}edit/",
        f"{CRM}pause/",
        f"/app/runs/{waiting.pk}/",
        f"/app/tasks/{waiting.task_id}/",
    ):
        page.goto(path)
        found[path] = problems(page)

    assert {path: what for path, what in found.items() if what} == {}


def test_an_empty_list_fits(ann: User, new_page: NewPage) -> None:
    page = new_page(width=390)
    enter(page)
    page.goto(LANES)

    expect(page.get_by_role("heading", name="There is no lane yet")).to_be_visible()
    assert problems(page) == []


@pytest.mark.parametrize("java_script", [True, False])
def test_a_lane_is_made_paused_resumed_and_removed(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto(LANES)
    page.get_by_role("link", name="New lane").click()
    page.get_by_label("Name", exact=True).fill("crm")
    page.get_by_label("Requests that may start").fill("20")
    page.get_by_role("button", name="Make the lane").click()
    expect(page.get_by_text("20 requests may start a second.")).to_be_visible()

    page.get_by_role("link", name="Pause…").click()
    page.get_by_label("Why").fill("Night shift")
    page.get_by_role("button", name="Pause the lane").click()
    expect(page.get_by_text("Night shift")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("Lane crm is resumed.")

    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("button", name="Remove the lane").click()
    expect(page.get_by_text("There is no lane yet")).to_be_visible()


def test_a_lane_is_paused_by_keyboard_alone(waiting: Run, page: Page) -> None:
    enter(page)
    page.goto(CRM)
    press_until(page, "pause")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pause")
    press_until(page, "id_reason")
    page.keyboard.type("By hand")
    page.keyboard.press("Enter")
    expect(page.get_by_text("By hand")).to_be_visible()

    assert Lane.objects.get(name="crm").hold_reason == "By hand"


def press_until(page: Page, element_id: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element_id:
            return
    raise AssertionError(f"Tab does not reach {element_id}")


def test_the_page_of_a_lane_follows_what_happens(waiting: Run, page: Page) -> None:
    enter(page)
    page.goto(CRM)
    expect(page.get_by_label("What is in the lane")).to_contain_text("1 waiting")

    Lane.objects.filter(name="crm").update(paused_at=timezone.now())

    expect(page.get_by_role("button", name="Resume")).to_be_visible()


@pytest.mark.parametrize("java_script", [True, False])
def test_a_task_that_does_not_fit_gets_the_spread_that_does(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    make_lane(ann)
    for _ in range(61):
        task_in_lane(ann)
    Lane.objects.update(rate_limit=1)
    page = new_page(java_script=java_script)
    enter(page)
    page.goto("/app/tasks/new/?cron=0+*+*+*+*&url=https://crm.example.com/&name=late")
    page.get_by_label("Lane", exact=True).select_option("crm")
    if not java_script:
        page.get_by_role("button", name="Create the task").click()
    fill = page.get_by_role("button", name=re.compile(r"Spread it over \d+ seconds"))
    expect(page.get_by_label("Store it anyway")).to_be_visible()
    seconds = re.sub(r"\D", "", fill.inner_text())
    fill.click()
    expect(page.get_by_label("Seconds to spread")).to_have_value(seconds)
    expect(page.get_by_text("It fits lane crm")).to_be_visible()
    page.get_by_role("button", name="Create the task").click()
    page.wait_for_url(re.compile("/app/tasks/[0-9a-f-]{36}/$"))

    assert Task.objects.get(name="late").spread == int(seconds)
