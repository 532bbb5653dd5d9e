"""People keep calendars of days, let tasks follow them, and backfill what was missed."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from tasks_api.domain.backfills import Pace
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.schedules import Cron
from tasks_api.models import Calendar, Task
from tasks_api.services import pausing
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import look, problems
from tests.browser.test_task_forms import NEW, TASK_PAGE, press_until
from tests.integration.support.backfills import (
    backfilled,
    hourly_task,
    live_backfills,
    settle,
)
from tests.integration.support.calendars import make_calendar, task_on

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/app/calendars/"
ICS = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20901224\n"
    "END:VEVENT\nEND:VCALENDAR\n"
)


def day_in(days: int) -> str:
    return (timezone.now() + timedelta(days=days)).date().isoformat()


@pytest.fixture
def nightly(ann: User) -> Task:
    """A task that follows a calendar with days of every kind."""
    spans = [
        {"from": f"{day_in(9)}T18:00:00Z", "to": f"{day_in(11)}T06:00:00Z"},
        {"from": day_in(20), "to": day_in(30)},
    ]
    make_calendar(
        ann,
        "closed",
        "Europe/Berlin",
        dates=[day_in(3)],
        ranges=spans,
        weekdays=["sun"],
        holidays={"country": "DE", "subdivision": "BY"},
    )
    choice = CalendarChoice(exclude=("closed",))
    return task_on(ann, Cron("30 2 * * *", "Europe/Berlin"), choice, name="nightly")


@pytest.mark.parametrize("java_script", [True, False])
def test_a_calendar_is_made_named_in_a_task_and_changed(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto(LIST)
    page.get_by_role("link", name="Make the first calendar").click()
    page.get_by_label("Name").fill("closed")
    page.get_by_label("Public holidays of").select_option("DE")
    page.get_by_label("Saturday").check()
    page.get_by_role("button", name="Make the calendar").click()
    expect(page.get_by_role("heading", name="closed", exact=True)).to_be_visible()
    expect(
        page.get_by_text("public holidays of Germany, every Saturday")
    ).to_be_visible()

    page.goto(f"{NEW}?cron=0+12+*+*+*&url=https://example.com/")
    page.get_by_text("Holidays, business days").click()
    page.get_by_role("group", name="Does not fire on the days of").get_by_label(
        "closed"
    ).check()
    page.get_by_label("A fire time on another day").select_option("next_business_day")
    page.get_by_role("button", name="Create the task").click()
    page.wait_for_url(TASK_PAGE)
    expect(
        page.get_by_text("except on calendar closed, or else on the next")
    ).to_be_visible()

    page.goto(f"{LIST}closed/edit/")
    page.get_by_label("Single days").fill(day_in(3))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status", name="What this changes")).to_contain_text(
        "Nothing is stored yet."
    )
    page.get_by_role("button", name="Save the change").click()
    expect(page.get_by_text("closed has its version 2.")).to_be_visible()
    expect(page.get_by_text(f"added day {day_in(3)}")).to_be_visible()


def test_a_file_is_read_into_the_form(ann: User, nightly: Task, page: Page) -> None:
    enter(page)
    page.goto(f"{LIST}closed/")
    page.get_by_role("link", name="Import a file").click()
    file = {"name": "days.ics", "mimeType": "text/calendar", "buffer": ICS.encode()}
    page.get_by_label("ICS file").set_input_files(file)  # type: ignore[arg-type]  # a dict is a payload
    page.get_by_role("button", name="Read the file").click()
    expect(page.get_by_text("The file has 1 day and 0 ranges.")).to_be_visible()
    expect(page.get_by_label("Single days")).to_have_value("2090-12-24")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Save the change").click()

    expect(page.get_by_text("closed has its version 2.")).to_be_visible()


def test_a_calendar_that_tasks_follow_stays(
    ann: User, nightly: Task, page: Page
) -> None:
    enter(page)
    page.goto(f"{LIST}closed/")
    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("button", name="Remove the calendar").click()

    expect(
        page.get_by_text("closed stays: 1 task follows this calendar")
    ).to_be_visible()
    assert Calendar.objects.get().removed_at is None


def test_a_calendar_is_made_with_the_keyboard_alone(ann: User, page: Page) -> None:
    enter(page)
    page.goto("/app/new-calendar/")
    press_until(page, "id_name")
    page.keyboard.type("weekend")
    press_until(page, "id_weekdays_5")
    page.keyboard.press("Space")
    press_until(page, "id_zone")
    page.keyboard.press("Enter")

    expect(page.get_by_text("weekend is there.")).to_be_visible()
    expect(page.get_by_text("every Saturday", exact=True)).to_be_visible()


@pytest.mark.parametrize("java_script", [True, False])
def test_several_schedules_are_made_from_rows(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto(f"{NEW}?url=https://example.com/")
    page.get_by_label("By several schedules").check()
    first, second, third = (
        page.get_by_role("group", name=f"Schedule {number}") for number in (1, 2, 3)
    )
    first.get_by_label("When").fill("0 9 * * MON-FRI")
    page.get_by_role("button", name="Add a schedule").click()
    third.get_by_label("Kind").select_option("every")
    third.get_by_label("When").fill("90 minutes")
    second.get_by_role("button", name="Remove schedule 2").click()
    expect(page.get_by_role("group", name="Schedule 3")).to_have_count(0)
    expect(second.get_by_label("When")).to_have_value("90 minutes")
    page.get_by_role("button", name="Create the task").click()
    page.wait_for_url(TASK_PAGE)

    expect(page.get_by_text("Every 1 hour 30 minutes")).to_be_visible()


@pytest.mark.parametrize("java_script", [True, False])
def test_a_backfill_is_planned_made_and_cancelled(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    task = hourly_task(ann, age=timedelta(hours=10))
    settle(task)
    page = new_page(java_script=java_script)
    enter(page)
    page.goto(f"/app/tasks/{task.pk}/")
    page.get_by_role("link", name="Backfill…").click()
    page.get_by_label("Pace").fill("1/hour")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_text("Nothing has happened yet.")).to_be_visible()
    assert live_backfills(task) == []
    page.get_by_role("button", name="Send 9 runs").click()
    page.wait_for_url(re.compile(f"/app/tasks/{task.pk}/backfill/[0-9a-f-]+"))
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("button", name="Cancel the 9 that wait…").click()
    page.get_by_role("button", name="Cancel 9 runs").click()

    expect(page.get_by_text("All 9 runs are over.")).to_be_visible()


def test_a_task_is_paused_until_a_moment_and_makes_up_for_it(
    ann: User, nightly: Task, page: Page
) -> None:
    enter(page)
    page.goto(f"/app/tasks/{nightly.pk}/")
    page.get_by_role("link", name="Pause until…").click()
    page.get_by_label("Reason").fill("the database moves")
    page.get_by_label("Until").fill("2090-07-01T09:00:00")
    page.get_by_label("The newest one fires").check()
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("2090-07-01 07:00:00 UTC")).to_be_visible()
    page.get_by_role("link", name="Resume and make up…").click()
    expect(page.get_by_label("The newest one fires")).to_be_checked()
    page.get_by_role("button", name="Resume", exact=True).click()

    expect(page.get_by_text("nightly is resumed.")).to_be_visible()


@in_each_look
def test_the_pages_of_calendars_fit_and_keep_nobody_out(
    ann: User, nightly: Task, new_page: NewPage, width: int, dark: bool
) -> None:
    page = new_page(width=width, dark=dark)
    enter(page)
    paths = [LIST, f"{LIST}closed/", f"{LIST}closed/import/"]

    found = {path: look(page, path) for path in paths}

    assert {path: what for path, what in found.items() if what} == {}


@in_each_look
def test_backfills_and_pauses_fit_and_keep_nobody_out(
    ann: User, new_page: NewPage, width: int, dark: bool
) -> None:
    task = hourly_task(ann)
    settle(task)
    made = backfilled(ann, task, pace=Pace(1, "hour"))
    pausing.pause_tasks(ann, [str(task.pk)], now=timezone.now())
    page = new_page(width=width, dark=dark)
    enter(page)
    paths = ["", "backfill/", f"backfill/{made.backfill_id}/", "pause/", "resume/"]

    found = {path: look(page, f"/app/tasks/{task.pk}/{path}") for path in paths}

    assert {path: what for path, what in found.items() if what} == {}


@in_each_look
def test_the_forms_fit_and_keep_nobody_out(
    ann: User, nightly: Task, new_page: NewPage, width: int, dark: bool
) -> None:
    page = new_page(width=width, dark=dark)
    enter(page)

    found = look_at_forms(page, nightly)

    assert {path: what for path, what in found.items() if what} == {}


def look_at_forms(page: Page, task: Task) -> dict[str, list[str]]:
    found = {}
    page.goto(f"{LIST}closed/edit/")
    page.get_by_label("Single days").fill(f"{day_in(4)}\nsoon")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Line 2: soon is no day")).to_be_visible()
    found["wrong days"] = problems(page)
    page.get_by_label("Single days").fill(day_in(4))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Nothing is stored yet.")).to_be_visible()
    found["effect"] = problems(page)
    page.goto(f"/app/tasks/{task.pk}/edit/")
    page.get_by_label("By several schedules").check()
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
    found["task form"] = problems(page)
    return found
