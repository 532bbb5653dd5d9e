"""People come in by a link, log in with all kinds of factors, and find their way."""

from __future__ import annotations

import re

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts import services
from accounts.models import Role, Token, User
from tests.browser.conftest import PASSWORD, NewPage, confirm_password, log_in
from tests.conftest import MakeTask
from tests.integration.support.logins import code_of

pytestmark = pytest.mark.django_db(transaction=True)


def invite(user: User, role: Role = Role.MEMBER) -> str:
    assert user.tenant is not None
    _, secret = services.create_invitation(
        user.tenant, role=role, now=timezone.now(), by="root"
    )
    return f"/invite/{secret}/"


@pytest.mark.parametrize("java_script", [True, False])
def test_an_invitation_leads_to_the_first_call(
    ann: User, new_page: NewPage, java_script: bool
) -> None:
    page = new_page(java_script=java_script)
    page.goto(invite(ann))
    page.get_by_label("Name").fill("cleo")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Choose the password").click()

    expect(page.get_by_role("heading", name="Alpha")).to_be_visible()
    page.get_by_role("button", name="Put a new token").click()
    expect(page.get_by_text("The token is shown only now")).to_be_visible()
    assert Token.objects.get().prefix in page.locator("#first-call").inner_text()
    page.get_by_role("button", name="Log out").click()
    log_in(page, "cleo@Alpha")
    expect(page.get_by_role("link", name="cleo@Alpha")).to_be_visible()


def test_the_overview_shows_the_first_task_without_a_click(
    ann: User, page: Page, make_task: MakeTask
) -> None:
    log_in(page)
    expect(page.get_by_text("There is no task yet")).to_be_visible()

    make_task()

    expect(page.get_by_text("1 task", exact=True)).to_be_visible()


def test_an_administrator_invites_and_the_person_is_listed(
    ann: User, new_page: NewPage
) -> None:
    page = new_page()
    log_in(page)
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Name", exact=True).fill("cleo")
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Make the invitation").click()
    link = page.get_by_label("The link of the invitation").input_value()

    guest = new_page()
    guest.goto(link)
    guest.get_by_label("Password").fill(PASSWORD)
    guest.get_by_role("button", name="Choose the password").click()
    expect(guest.get_by_text("You read what your tenant has")).to_be_visible()
    page.goto("/app/settings/members/")
    expect(page.get_by_label("Role of cleo")).to_have_value("viewer")


def test_too_many_wrong_passwords_are_said(
    ann: User, page: Page, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_FAILED_LOGINS = 3
    for _ in range(3):
        log_in(page, password="wrong")
        expect(page.get_by_role("alert")).to_contain_text("not correct")

    log_in(page)

    expect(page.get_by_role("alert")).to_contain_text("Too many attempts")


def test_the_code_of_an_app_is_the_second_factor(ann: User, page: Page) -> None:
    log_in(page)
    page.goto("/account/2fa/app/add")
    confirm_password(page)
    secret = page.get_by_label("Authenticator secret").input_value()
    expect(page.get_by_role("img", name=secret)).to_be_visible()
    page.get_by_label("Authenticator code").fill(code_of(secret))
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_text("Recovery", exact=False).first).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    cache.clear()

    log_in(page)
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Sign In").click()

    expect(page.get_by_role("heading", name="Alpha")).to_be_visible()


def test_a_passkey_replaces_name_and_password(ann: User, page: Page) -> None:
    add_authenticator(page)
    log_in(page)
    page.goto("/account/2fa/keys/add")
    confirm_password(page)
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(re.compile("/account/2fa/codes"))
    page.get_by_role("button", name="Log out").click()

    page.get_by_role("button", name="Log in with a passkey").click()

    expect(page.get_by_role("heading", name="Alpha")).to_be_visible()


def add_authenticator(page: Page) -> None:
    """Give the browser a security key that confirms everything."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_the_front_page_leads_to_the_login(
    page: Page, live_server: LiveServer, db: None
) -> None:
    page.goto("/")
    expect(page.get_by_role("img", name="You send a task")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Log in").click()

    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
