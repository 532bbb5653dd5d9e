"""From a failure to its reason, its answer and its redrive; and what a pull queue holds."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Message, Run
from tasks_api.services import pull_queue
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import look
from tests.conftest import tenant_of
from tests.integration.support.believable_runs import (
    ANSWER,
    BelievableRuns,
    store_believable_runs,
    store_live_run,
)
from tests.integration.support.pull_messages import (
    LONG_AGO,
    new_message,
    store_messages,
)
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def made(ann: User) -> BelievableRuns:
    return store_believable_runs(ann)


@pytest.mark.parametrize("java_script", [True, False])
def test_two_clicks_lead_from_the_list_to_the_answer_and_one_more_redrives(
    made: BelievableRuns, new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto("/app/runs/")

    page.get_by_role("link", name="1 failed: HTTP 503").click()
    page.get_by_role("cell", name=re.compile("Fire time|ago")).get_by_role(
        "link"
    ).click()
    expect(page.get_by_label("The body of the answer")).to_have_text(ANSWER)
    expect(page.get_by_text("Attempt 3", exact=True)).to_be_visible()
    page.get_by_role("button", name="Redrive").click()

    expect(page.get_by_text("This run sends it again.")).to_be_visible()
    redrive = Run.objects.get(redrive_of=made.failed.pk)
    assert page.url.rstrip("/").endswith(str(redrive.pk))
    page.get_by_role("link", name=re.compile("^the run of")).click()
    expect(page.get_by_text("Redriven", exact=True)).to_be_visible()


def test_a_run_is_redriven_by_keyboard_alone(made: BelievableRuns, page: Page) -> None:
    enter(page)
    page.goto("/app/runs/?state=failed&q=invoices")

    choose = page.get_by_role("checkbox").first
    reach(page, f"#{choose.get_attribute('id')}")
    page.keyboard.press("Space")
    expect(choose).to_be_checked()
    reach(page, "button[value=chosen]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Redrive 1 run?")).to_be_visible()
    reach(page, "button.danger")
    page.keyboard.press("Enter")

    expect(page.get_by_text("1 run is sent again.")).to_be_visible()
    assert Run.objects.filter(redrive_of=made.failed.pk).exists()


def reach(page: Page, selector: str) -> None:
    """Press the tabulator until an element has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"The keyboard does not reach {selector}.")


def test_a_list_refreshes_by_itself_and_keeps_what_is_chosen(
    ann: User, made: BelievableRuns, page: Page
) -> None:
    enter(page)
    page.goto("/app/runs/?state=failed")
    rows = page.locator("table.runs tbody tr")
    expect(rows).to_have_count(4)
    chosen = page.locator(f"#run-{made.failed.pk}")
    chosen.check()

    store_run(hourly_task(ann), ago=0)

    expect(rows).to_have_count(5)
    expect(page.get_by_label("Runs by state")).to_contain_text("5 ✕ failed")
    expect(chosen).to_be_checked()


def test_a_run_that_is_under_way_refreshes_until_it_is_over(
    ann: User, page: Page
) -> None:
    run = store_live_run(hourly_task(ann), RunState.RUNNING)
    enter(page)
    page.goto(f"/app/runs/{run.pk}/")
    expect(page.get_by_text("An attempt is under way")).to_be_visible()

    Run.objects.filter(pk=run.pk).update(
        state=RunState.SUCCEEDED,
        stage=Stage.LIVE,
        lease=None,
        wake_at=None,
        finished_at=timezone.now(),
        attempt_count=1,
        first_started_at=run.scheduled_for,
        first_duration_ms=80,
        first_status_code=200,
        first_answer="thank you",
    )

    expect(page.get_by_text("thank you")).to_be_visible()
    expect(page.locator("#story")).not_to_have_attribute("hx-get", re.compile("."))


def test_hostile_bodies_are_shown_as_text(ann: User, page: Page) -> None:
    run = store_run(hourly_task(ann), reason=HOSTILE)
    Run.objects.filter(pk=run.pk).update(first_answer=HOSTILE)
    payload = f'"{HOSTILE}"'.replace('"alert(1)"', "'alert(1)'")
    pull_queue.enqueue(
        new_message(tenant_of(ann), HOSTILE, queue=HOSTILE, payload=payload)
    )
    enter(page)
    page.goto(f"/app/runs/{run.pk}/")
    expect(page.get_by_label("The body of the answer")).to_have_text(HOSTILE)
    page.goto("/app/queues/")

    page.get_by_role("link", name=HOSTILE).first.click()

    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    expect(page.get_by_role("rowheader")).to_have_text(HOSTILE)
    expect(page.locator("main img")).to_have_count(0)


@pytest.mark.parametrize("java_script", [True, False])
def test_messages_are_requeued_and_deleted(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    store_messages(tenant_of(ann), 2, leased_until=LONG_AGO)
    page = new_page(java_script=java_script)
    enter(page)
    page.goto("/app/")
    page.get_by_role("link", name="Queues").click()
    page.get_by_role("link", name="mail").click()
    page.get_by_role("button", name="Requeue what is exhausted").click()
    expect(page.get_by_text("2 messages wait again")).to_be_visible()

    page.get_by_role("button", name="Delete n1").click()
    page.get_by_role("link", name="Cancel").click()
    assert Message.objects.count() == 2
    page.get_by_role("button", name="Delete n1").click()
    page.get_by_role("button", name="Delete the message").click()
    expect(page.get_by_text("The message n1 is deleted.")).to_be_visible()
    page.get_by_role("button", name="Delete all messages").click()
    page.get_by_role("button", name="Delete all messages").click()

    expect(page.get_by_text("1 message is deleted.")).to_be_visible()
    assert not Message.objects.exists()


@in_each_look
def test_the_pages_fit_and_keep_nobody_out(
    ann: User, made: BelievableRuns, new_page: NewPage, width: int, dark: bool
) -> None:
    tenant = tenant_of(ann)
    long_word = "m" * 255
    store_messages(tenant, 3, leased_until=LONG_AGO)
    later = timezone.now() + timedelta(hours=1)
    pull_queue.enqueue(new_message(tenant, long_word, queue=long_word, run_at=later))
    Run.objects.filter(pk=made.refused.pk).update(
        reason=long_word, first_answer=long_word
    )
    page = new_page(width=width, dark=dark)
    enter(page)

    found = {
        path: look(page, path)
        for path in (
            "/app/runs/",
            "/app/runs/?code=418&from=2026-01-01T00:00",
            "/app/runs/?state=lost",
            *(f"/app/runs/{run.pk}/" for run in made),
            "/app/queues/",
            "/app/queues/messages/?queue=mail&state=exhausted",
            f"/app/queues/messages/?queue={long_word}&state=later",
        )
    }

    assert {path: what for path, what in found.items() if what} == {}
