"""People find, pause and remove their tasks: with the mouse, the keyboard, and without JavaScript."""

from __future__ import annotations

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.domain.states import RunState
from tasks_api.models import Task
from tasks_api.services import pausing
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import problems
from tests.conftest import MakeTask
from tests.integration.support.stored_runs import MINUTE, store_run

pytestmark = pytest.mark.django_db(transaction=True)


def open_list(page: Page, query: str = "") -> None:
    enter(page)
    page.goto(f"/app/tasks/{query}")


@pytest.fixture
def tasks(ann: User, make_task: MakeTask) -> list[Task]:
    """A daily one with runs and a one-time one, which is paused."""
    daily = make_task(
        name="close-the-books-of-the-month",
        tags=("billing", "monthly"),
        schedule=Cron("30 2 * * *", "Europe/Berlin"),
        url="https://billing.example.com/close",
    )
    for ago, state in enumerate(RunState.values[4:], start=1):
        reason = "HTTP 500" if state == RunState.FAILED else ""
        store_run(daily, ago=ago, state=RunState(state), reason=reason)
    other = make_task(name="other")
    pausing.pause_tasks(ann, [str(other.pk)], now=timezone.now())
    return [daily, other]


@in_each_look
def test_the_pages_of_tasks_fit_and_keep_nobody_out(
    tasks: list[Task], new_page: NewPage, width: int, dark: bool
) -> None:
    page = new_page(width=width, dark=dark)
    open_list(page)
    found = {}
    for path in ("", "?selected=all", "?q=nothing", *(f"{each.pk}/" for each in tasks)):
        page.goto(f"/app/tasks/{path}")
        found[path] = problems(page)

    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize("java_script", [True, False])
def test_a_search_finds_and_a_page_leads_to_the_failed_run(
    tasks: list[Task], new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    open_list(page)
    page.get_by_label("Search").fill("BILLING.EXAMPLE")
    page.get_by_role("button", name="Filter").click()

    expect(page.get_by_role("link", name="other")).to_be_hidden()
    expect(page.get_by_text("At 02:30, in Europe/Berlin")).to_be_visible()
    page.get_by_role("link", name="close-the-books").click()
    expect(page.get_by_role("heading", name="close-the-books")).to_be_visible()
    run = page.get_by_role("row").filter(has_text="HTTP 500").get_by_role("link").first
    expect(run).to_have_attribute("href", f"/app/runs/{failed_run(tasks[0])}/")


def failed_run(task: Task) -> str:
    return str(task.runs.get(state=RunState.FAILED).pk)


def test_a_task_is_paused_and_resumed_by_the_keyboard_alone(
    tasks: list[Task], page: Page
) -> None:
    open_list(page)
    page.get_by_role("button", name="Pause close-the-books").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("close-the-books-of-the-month is paused.")).to_be_visible()

    page.get_by_label("Select close-the-books").focus()
    page.keyboard.press("Space")
    tab_to(page, "bulk-resume", backwards=True)
    page.keyboard.press("Enter")

    expect(page.get_by_text("close-the-books-of-the-month is resumed.")).to_be_visible()


def tab_to(page: Page, element_id: str, *, backwards: bool = False) -> None:
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == element_id:
            return
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    raise AssertionError(f"{element_id} cannot be reached by the keyboard.")


def test_without_javascript_tasks_are_listed_paused_and_run(
    tasks: list[Task], new_page: NewPage
) -> None:
    page = new_page(java_script=False)
    open_list(page)
    page.get_by_role("button", name="Pause close-the-books").click()
    expect(page.get_by_text("close-the-books-of-the-month is paused.")).to_be_visible()
    page.get_by_role("link", name="Select all 2").click()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_text("2 tasks are resumed.")).to_be_visible()
    page.get_by_role("link", name="other", exact=True).click()
    page.get_by_role("button", name="Run now").click()

    expect(page.get_by_text("other is running now.")).to_be_visible()
    expect(page.get_by_text("by hand")).to_be_visible()


def test_a_removal_of_several_asks_first(tasks: list[Task], page: Page) -> None:
    open_list(page)
    for name in ("close-the-books-of-the-month", "other"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("button", name="Remove…").click()

    expect(page.get_by_role("heading", name="Remove 2 tasks?")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    assert Task.objects.filter(ended_at=None).count() == 2
    for name in ("close-the-books-of-the-month", "other"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("2 tasks are removed.")).to_be_visible()
    expect(page.get_by_text("There is no task yet")).to_be_visible()


def test_a_change_shows_up_by_itself_and_keeps_the_selection(
    ann: User, tasks: list[Task], page: Page, make_task: MakeTask
) -> None:
    open_list(page)
    page.get_by_label("Select other").check()
    page.get_by_label("Select other").focus()

    make_task(name="newcomer", schedule=Interval(timezone.now(), MINUTE))
    pausing.pause_tasks(ann, [str(tasks[0].pk)], now=timezone.now())

    expect(page.get_by_role("link", name="newcomer")).to_be_visible()
    expect(page.get_by_role("button", name="Resume close-the-books")).to_be_visible()
    expect(page.get_by_label("Select other")).to_be_checked()
    expect(page.get_by_label("Select other")).to_be_focused()
    expect(page.get_by_label("Select newcomer")).not_to_be_checked()


def test_what_another_tenant_has_is_not_found(
    ann: User, stranger: User, new_page: NewPage, make_task: MakeTask
) -> None:
    foreign = make_task(stranger, name="foreign")
    page = new_page()
    open_list(page)
    expect(page.get_by_text("There is no task yet")).to_be_visible()

    answer = page.request.get(f"/app/tasks/{foreign.pk}/")

    assert answer.status == 404
    assert "foreign" not in answer.text()
