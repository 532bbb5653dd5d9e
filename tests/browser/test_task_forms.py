"""People make and change tasks by the form, with and without a mouse or JavaScript."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from tasks_api.domain.schedules import Cron
from tasks_api.domain.specs import Backoff, Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import tasks
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import problems

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "/app/tasks/new/"
TASK_PAGE = re.compile("/app/tasks/[0-9a-f-]{36}/$")


def make_nightly_task(user: User) -> Task:
    spec = TaskSpec(
        Surface.TASKS,
        "https://reports.example.com/daily",
        Cron("30 2 * * *", "Europe/Berlin"),
        '{"report": "sales"}',
        name="reports/daily",
        tags=("reports",),
        retry=Backoff(5),
    )
    return tasks.create_task(user, spec, now=timezone.now())


def test_a_task_is_made_by_keyboard_alone(ann: User, page: Page) -> None:
    enter(page)
    page.goto(NEW)
    press_until(page, "id_url")
    page.keyboard.type("https://example.com/hook")
    press_until(page, "id_schedule_1")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Every", exact=True)).to_be_visible()
    press_until(page, "id_every")
    page.keyboard.type("2")
    press_until(page, "id_name")
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    page.wait_for_url(TASK_PAGE)

    task = Task.objects.get()
    assert (task.name, task.interval_every) == ("by hand", 7200)


def press_until(page: Page, element_id: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element_id:
            return
    raise AssertionError(f"Tab does not reach {element_id}")


def test_a_task_is_previewed_and_made_without_java_script(
    ann: User, new_page: NewPage
) -> None:
    page = new_page(java_script=False)
    enter(page)
    page.goto(f"{NEW}?cron=30+2+*+*+*&timezone=Europe/Berlin")
    page.get_by_label("URL").fill("https://example.com/hook")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("complementary", name="Preview")
    expect(preview).to_contain_text("At 02:30, in Europe/Berlin")
    preview.get_by_text("curl", exact=True).click()
    expect(preview).to_contain_text('"cron": "30 2 * * *"')
    page.get_by_role("button", name="Create the task").click()
    page.wait_for_url(TASK_PAGE)

    assert Task.objects.get().cron_zone == "Europe/Berlin"


def test_the_fire_times_follow_what_one_types(ann: User, page: Page) -> None:
    enter(page)
    page.goto(NEW)
    preview = page.get_by_role("complementary", name="Preview")
    expect(preview).to_contain_text("Say when")

    page.get_by_role("textbox", name="Cron expression").fill("0 9 * * MON")
    expect(preview).to_contain_text("At 09:00, only on Monday, in UTC")
    page.get_by_role("textbox", name="Cron expression").fill("0 99 * * MON")
    expect(preview).to_contain_text("Its hour field is not valid.")
    page.get_by_label("Once").check()
    at = datetime.now(UTC) + timedelta(days=2)
    page.get_by_label("At", exact=True).fill(f"{at:%Y-%m-%dT12:00:00}")

    expect(preview).to_contain_text(f"Once, at {at:%Y-%m-%d} 12:00:00 UTC")


def test_wrong_fields_are_named_and_keep_what_was_typed(ann: User, page: Page) -> None:
    enter(page)
    page.goto(NEW)
    page.get_by_label("URL").fill("ftp://example.com")
    page.get_by_role("textbox", name="Cron expression").fill("61 * * * *")
    page.get_by_text("Retries, overlaps").click()
    page.get_by_label("Attempts").fill("1000")
    page.get_by_role("button", name="Create the task").click()

    for label, sentence in (
        ("URL", "absolute, http or https"),
        ("Cron expression", "Its minute field is not valid."),
        ("Attempts", "from 1 to 185"),
    ):
        field = page.locator(".field", has=page.get_by_label(label, exact=True))
        expect(field.get_by_role("alert")).to_contain_text(sentence)
    expect(page.get_by_label("Attempts")).to_have_value("1000")
    assert not Task.objects.exists()


def test_an_edit_begins_with_the_task(ann: User, page: Page) -> None:
    task = make_nightly_task(ann)
    enter(page)
    page.goto(f"/app/tasks/{task.pk}/edit/")
    expect(page.get_by_label("Attempts")).to_have_value("5")
    page.get_by_role("textbox", name="Cron expression").fill("30 4 * * *")
    page.get_by_role("button", name="Save the changes").click()
    page.wait_for_url(TASK_PAGE)

    task.refresh_from_db()
    assert task.cron_hour == "4"


def test_a_cron_expression_is_explained_while_one_types(page: Page) -> None:
    page.goto("/cron/")
    page.get_by_role("textbox", name="Expression").fill("0 0 1 * MON")
    expect(page.get_by_text("on day 1 of the month or on Monday")).to_be_visible()
    assert "expression=0+0+1" in page.url.replace("%20", "+")
    page.get_by_role("textbox", name="Expression").fill("0 0 1 * FUNDAY")
    expect(page.get_by_role("alert")).to_contain_text("Its weekday field")
    page.get_by_role("link", name="30 2 * * *").click()

    expect(page.get_by_text("At 02:30, in Europe/Berlin")).to_be_visible()


@in_each_look
def test_the_forms_fit_and_keep_nobody_out(
    ann: User, new_page: NewPage, width: int, dark: bool
) -> None:
    task = make_nightly_task(ann)
    page = new_page(width=width, dark=dark)
    enter(page)
    page.goto(f"/app/tasks/{task.pk}/edit/")
    expect(page.get_by_text("At 02:30, in Europe/Berlin")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
    edit = problems(page)
    page.goto(NEW)
    page.get_by_role("button", name="Create the task").click()
    expect(page.get_by_role("alert").first).to_be_visible()

    assert (edit, problems(page)) == ([], [])
