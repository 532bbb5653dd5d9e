"""The settings in a browser: tokens that work and end, mail that arrives, who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from django.conf import LazySettings
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts import services
from accounts.models import Role, User
from tasks_api.domain.notices import ChannelKind
from tasks_api.domain.states import RunState
from tasks_api.worker.engine import Engine
from tests.browser.conftest import NewPage, enter, in_each_look
from tests.browser.test_looks import look
from tests.conftest import tenant_of
from tests.integration.support.notices import make_channel, make_rule
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.mail_server import MailServer

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = "/app/settings"
FOR_ADMINS = [f"{SETTINGS}/{page}/" for page in ("members", "signing-secrets", "audit")]
FOR_ALL = [
    f"{SETTINGS}/{page}/" for page in ("tokens", "notifications", "usage", "retention")
]
FORMS = [
    f"{SETTINGS}/tokens/new",
    f"{SETTINGS}/signing-secrets/rotate",
    f"{SETTINGS}/signing-secrets/check",
    f"{SETTINGS}/notifications/channels/new",
    f"{SETTINGS}/notifications/channels/new?kind=ntfy",
    f"{SETTINGS}/notifications/rules/new",
]


@pytest.fixture
def mail_server(settings: LazySettings) -> Iterator[MailServer]:
    started = MailServer()
    started.start()
    settings.EMAIL_URL = f"smtp://127.0.0.1:{started.port}"
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", started.port
    yield started
    started.stop()


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine(on_recorded=lambda _: None, on_beat=lambda _: None)
    started.start()
    yield started
    started.stop(grace=5)


def call(live_server: LiveServer, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(
        f"{live_server.url}/tasks/", headers=headers, timeout=30
    ).status_code


@pytest.mark.parametrize("java_script", [True, False])
def test_a_token_is_shown_once_works_and_is_revoked(
    ann: User, new_page: NewPage, live_server: LiveServer, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    enter(page)
    page.goto(f"{SETTINGS}/tokens/")
    page.get_by_role("link", name="New token").click()
    page.get_by_label("Name", exact=True).fill("deploy")
    page.get_by_role("button", name="Issue the token").click()
    token = page.locator("#token").inner_text()

    assert call(live_server, token) == 200
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_role("rowheader", name="deploy")).to_be_visible()
    assert token not in page.content()
    page.get_by_role("button", name="Revoke deploy").click()
    page.get_by_role("button", name="Revoke the token").click()
    expect(page.get_by_text("The token deploy is revoked.")).to_be_visible()
    assert call(live_server, token) == 401


def test_a_mail_channel_is_made_and_its_test_arrives(
    ann: User, page: Page, mail_server: MailServer, engine: Engine
) -> None:
    enter(page)
    page.goto(f"{SETTINGS}/notifications/")
    page.get_by_role("link", name="Make the first channel").click()
    page.get_by_role("link", name="E-mail").click()
    page.get_by_label("Name", exact=True).fill("mail to ops")
    page.get_by_label("Addresses").fill("ops@example.com")
    page.get_by_role("button", name="Make the channel").click()
    page.get_by_role("button", name="Send a test to mail to ops").click()
    engine.ring()

    [(recipients, mail)] = mail_server.wait_for(1)
    assert recipients == ["ops@example.com"]
    assert "Test message of the scheduler for Alpha" in str(mail["Subject"])
    expect(page.get_by_text("is on its way")).to_be_visible()
    # The list shows it without a click.
    expect(page.locator("#sent").get_by_text("delivered")).to_be_visible()


def test_a_rule_is_made_with_the_keyboard_alone(ann: User, page: Page) -> None:
    make_channel(ann, name="ops")
    enter(page)
    page.goto(f"{SETTINGS}/notifications/rules/new")
    page.get_by_label("Channel").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")

    expect(page.get_by_text("The rule is stored.")).to_be_visible()
    expect(page.get_by_role("rowheader", name="a run failed")).to_be_visible()


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_others_find_no_page_and_no_button_of_administrators(
    ann: User, page: Page, role: Role
) -> None:
    make_rule(ann, make_channel(ann, name="ops"), "run.failed")
    services.issue_token(ann, name="own")
    services.change_user(ann, role=role)
    enter(page)
    buttons = {}
    for path in FOR_ALL:
        page.goto(path)
        buttons[path] = page.get_by_role("main").get_by_role("button").count()

    expect(page.get_by_role("link", name="Audit log")).to_have_count(0)
    assert {path for path, count in buttons.items() if count} == (
        {f"{SETTINGS}/tokens/"} if role == Role.MEMBER else set()
    )
    # A refusal is no failure of the page, which the browser would report as one.
    for path in FOR_ADMINS:
        assert page.request.get(path).status == 403


def fill(owner: User) -> None:
    """What the settings of a tenant that works may have."""
    services.issue_token(owner, name="deploy")
    expires_at = timezone.now() + timedelta(days=90)
    services.issue_token(owner, name="reports", expires_at=expires_at)
    services.rotate_signing_secret(tenant_of(owner), now=timezone.now())
    channel = make_channel(owner, ChannelKind.SLACK, name="ops chat")
    make_rule(owner, channel, "run.failed", "task.recovered", tag="billing")
    services.change_user(services.add_user(tenant_of(owner), "zoe"), role=Role.VIEWER)
    task = hourly_task(owner)
    for hours in range(60):
        state = RunState.FAILED if hours % 7 == 0 else RunState.SUCCEEDED
        store_run(task, ago=60 * hours + 1, state=state)


@in_each_look
def test_the_settings_fit_and_keep_nobody_out(
    ann: User, new_page: NewPage, width: int, dark: bool
) -> None:
    fill(ann)
    page = new_page(width=width, dark=dark)
    enter(page)

    found = {path: look(page, path) for path in [*FOR_ADMINS, *FOR_ALL, *FORMS]}

    assert {path: what for path, what in found.items() if what} == {}
