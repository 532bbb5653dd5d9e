"""People ask why, change all tasks of a filter, and see what quotas and bounds allow."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts import services
from accounts.models import Plan, Tenant, Token, User
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.schedules import Cron
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import pausing
from tasks_api.services.pausing import Hold
from tasks_api.storage import day_counts
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import problems
from tests.browser.test_tasks import tab_to
from tests.conftest import MakeTask
from tests.integration.support.stored_runs import store_run

pytestmark = pytest.mark.django_db(transaction=True)

WEEK = 7 * 86_400


@pytest.fixture
def tasks(ann: User, make_task: MakeTask) -> list[Task]:
    """Two with a tag, of which one failed, and a paused one."""
    close = make_task(
        name="close-the-books-of-the-month",
        tags=("billing", "monthly"),
        schedule=Cron("30 2 * * *", "Europe/Berlin"),
        url="https://billing.example.com/close",
    )
    store_run(close, state=RunState.FAILED, reason="HTTP 500")
    remind = make_task(name="remind", tags=("billing",))
    other = make_task(name="other")
    hold = Hold("the database of the warehouse moves to another machine")
    pausing.pause_tasks(ann, [str(other.pk)], now=timezone.now(), hold=hold)
    return [close, remind, other]


@pytest.fixture
def token(ann: User) -> Token:
    """A token with bounds; most of the tenant's quotas are used."""
    assert ann.tenant is not None
    plan = Plan.objects.create(name="starter", max_payload_bytes=65_536)
    Tenant.objects.filter(pk=ann.tenant.pk).update(
        plan=plan, max_tasks=4, max_runs_per_day=1000, max_requests_per_minute=600
    )
    day_counts.add_runs({ann.tenant.pk: 1000})
    bounds = Bounds(
        hosts=("api.example.com", "hooks.example.org:8443"),
        paths=("/hooks/",),
        methods=("POST",),
        tags=("agent",),
        runs_per_day=100,
        tasks=10,
        requests_per_minute=60,
        renew_within=WEEK,
    )
    made, _ = services.create_token(ann, name="agent of the warehouse", bounds=bounds)
    return made


@in_each_look
def test_the_pages_fit_and_keep_nobody_out(
    tasks: list[Task], token: Token, new_page: NewPage, width: int, dark: bool
) -> None:
    page = new_page(width=width, dark=dark)
    enter(page)
    run = Run.objects.get()
    paths = [
        *(f"tasks/{task.pk}/why/" for task in tasks),
        f"tasks/{tasks[0].pk}/why/?at={run.scheduled_for:%Y-%m-%dT%H:%M:%S.%fZ}",
        f"tasks/{tasks[0].pk}/why/?at=2030-03-31T02:30",
        f"tasks/{tasks[0].pk}/why/?at=never",
        f"tasks/{tasks[0].pk}/",
        f"runs/{run.pk}/",
        "tasks/?tag=billing",
        "tasks/all/pause?tag=billing",
        "tasks/all/resume?state=paused",
        "tasks/all/change?tag=billing",
        "settings/usage/",
        "settings/tokens/",
        f"settings/tokens/{token.uuid}/",
    ]
    found = {}
    for path in paths:
        page.goto(f"/app/{path}")
        found[path] = problems(page)
    page.goto("/app/settings/tokens/new")
    page.get_by_text("Bounds: what it can do at most").click()
    found["bounds"] = problems(page)
    page.goto("/app/tasks/all/change?tag=billing")
    page.get_by_label("Host", exact=True).fill("new.example.com")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("button", name="Change 2 tasks")).to_be_visible()
    found["plan"] = problems(page)

    assert {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize("java_script", [True, False])
def test_from_a_failed_run_to_why_and_to_another_moment(
    tasks: list[Task], new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto(f"/app/tasks/{tasks[0].pk}/")
    page.get_by_role("link", name=re.compile("^why at")).click()

    expect(page.get_by_role("heading", name="It failed")).to_be_visible()
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Berlin")
    page.get_by_label("Moment", exact=True).fill(f"{_coming_wednesday()}T02:30:00")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", name="It will fire")).to_be_visible()
    page.get_by_role("link", name="Now", exact=True).click()
    expect(page.get_by_role("heading", name="Why not now?")).to_be_visible()


def _coming_wednesday() -> date:
    """A day on which no clock changes, after tomorrow."""
    soon = timezone.now().date() + timedelta(days=2)
    return soon + timedelta(days=(2 - soon.weekday()) % 7)


@pytest.mark.parametrize("java_script", [True, False])
def test_all_that_match_a_filter_are_paused_after_a_plan(
    tasks: list[Task], new_page: NewPage, make_task: MakeTask, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto("/app/tasks/?tag=billing")
    page.locator("#all-pause").click()
    page.get_by_label("Reason").fill("a migration")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("heading", name="2 tasks would be paused")).to_be_visible()
    make_task(name="newcomer", tags=("billing",))
    page.get_by_role("button", name="Pause 2 tasks").click()
    expect(page.get_by_text("nothing was done")).to_be_visible()
    page.get_by_role("button", name="Pause 3 tasks").click()

    expect(page.get_by_text("3 tasks are paused.")).to_be_visible()
    assert Task.objects.filter(hold_reason="a migration").count() == 3


def test_all_that_match_a_filter_are_changed_by_the_keyboard_alone(
    tasks: list[Task], page: Page
) -> None:
    enter(page)
    page.goto("/app/tasks/?tag=billing")
    tab_to(page, "all-change")
    page.keyboard.press("Enter")
    page.wait_for_url("**/all/change?tag=billing")
    tab_to(page, "id_add_tags")
    page.keyboard.type("2027")
    # It makes the plan, and no more.
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="2 tasks would be changed")).to_be_visible()
    assert not Task.objects.filter(tags__contains=["2027"]).exists()
    tab_to(page, "apply")
    page.keyboard.press("Enter")

    expect(page.get_by_text("2 tasks are changed.")).to_be_visible()
    assert Task.objects.filter(tags__contains=["2027"]).count() == 2


@pytest.mark.parametrize("java_script", [True, False])
def test_a_token_with_bounds_is_issued_and_renewed(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto("/app/settings/tokens/new")
    page.get_by_label("Name", exact=True).fill("agent")
    page.get_by_text("Bounds: what it can do at most").click()
    page.get_by_label("Hosts").fill("api.example.com")
    page.get_by_label("What it makes ends after").select_option("7 days")
    page.get_by_role("button", name="Issue the token").click()
    expect(page.get_by_text("Its tasks call only api.example.com.")).to_be_visible()
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("link", name="agent", exact=True).click()
    page.get_by_role("button", name="Renew").click()

    expect(page.get_by_text("What the token made goes on until")).to_be_visible()


def test_usage_warns_of_what_is_spent(
    tasks: list[Task], token: Token, page: Page
) -> None:
    enter(page)
    page.goto("/app/settings/usage/")

    expect(page.get_by_text("Runs a day: 1,000 of 1,000 are used")).to_be_visible()
    expect(page.get_by_label("Living tasks: 3 of 4")).to_be_visible()
    page.get_by_role("link", name="agent of the warehouse").click()
    expect(page.get_by_role("heading", name="Bounds")).to_be_visible()
