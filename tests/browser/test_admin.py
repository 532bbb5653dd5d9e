"""The admin fits a window of 1400 pixels, and its buttons work under its policy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.models import Run
from tests.browser.conftest import PASSWORD, PATIENCE, log_in
from tests.conftest import MakeTask
from tests.integration.support.routes import store_failed_run

pytestmark = pytest.mark.django_db(transaction=True)

LISTS = [
    "tasks_api_task",
    "tasks_api_run",
    "tasks_api_message",
    "tasks_api_channel",
    "tasks_api_notificationrule",
    "tasks_api_rollupprogress",
    "django_celery_beat_periodictask",
    "accounts_tenant",
    "accounts_user",
    "accounts_auditentry",
]
# A page or a list is wider than its place.
SCROLLS = """
    [document.documentElement, ...document.querySelectorAll('.results')]
        .some(each => each.scrollWidth > each.clientWidth)
"""


def open_admin(browser: Browser, live_server: LiveServer, problems: list[str]) -> Page:
    User.objects.create_superuser("root", password=PASSWORD)
    context = browser.new_context(
        base_url=live_server.url, viewport={"width": 1400, "height": 900}
    )
    context.set_default_timeout(PATIENCE)
    context.on("console", lambda message: problems.append(message.text))
    context.on("weberror", lambda error: problems.append(str(error.error)))
    page = context.new_page()
    log_in(page, "root")
    expect(page.get_by_text("What is stuck or overdue")).to_be_visible()
    return page


def test_the_lists_fit_and_the_buttons_work(
    browser: Browser, live_server: LiveServer, make_task: MakeTask
) -> None:
    make_task(
        name="warehouse/stock of the second department",
        url="https://stock-and-prices.internal.example.org:8443/hooks",
        schedule=Cron("0/5 9-17 LW * *", "Europe/Berlin", seconds="15"),
    )
    task = make_task(
        schedule=Interval(timezone.now() + timedelta(hours=1), timedelta(1))
    )
    failed = store_failed_run(task)
    problems: list[str] = []
    page = open_admin(browser, live_server, problems)

    wide = []
    for name in LISTS:
        page.goto(reverse(f"admin:{name}_changelist"))
        if page.evaluate(SCROLLS):
            wide.append(name)
    assert wide == []

    page.goto(reverse("admin:tasks_api_run_change", args=[failed.pk]))
    page.get_by_role("button", name="Redrive").click()
    expect(page.get_by_text("1 will be sent again")).to_be_visible()
    page.goto(reverse("admin:tasks_api_task_change", args=[task.pk]))
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("1 will run now")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Yes, remove them").click()
    expect(page.get_by_text("1 removed")).to_be_visible()

    assert Run.objects.filter(task=task).count() == 3
    assert problems == []
    page.context.close()
