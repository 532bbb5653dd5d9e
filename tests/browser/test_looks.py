"""Each page fits narrow and wide windows, in light and dark, and keeps nobody out."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page

from accounts import services
from accounts.models import Role, User
from tests.browser.conftest import NewPage, in_each_look, log_in

pytestmark = pytest.mark.django_db(transaction=True)

SERIOUS = {"serious", "critical"}
PUBLIC = [
    "/",
    "/login/",
    "/password/reset/",
    "/cron/?expression=30+2+*+*+*&zone=Europe/Berlin",
    "/cron/?expression=61+*+*+*+*",
    "/invite/",
]
OWN = [
    "/app/",
    "/app/calendar/",
    "/app/runs/",
    "/app/queues/",
    "/app/lanes/",
    "/app/settings/members/",
    "/account/",
    "/account/sessions",
    "/account/email",
    "/account/2fa",
    "/account/password/change",
    "/account/confirm?next=/account",
]


def problems(page: Page) -> list[str]:
    """What axe finds serious, and whether the page is wider than the window."""
    found = [
        f"{each['id']}: {each['nodes'][0]['html']}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in SERIOUS
    ]
    scrolls = page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return [*found, *(["It scrolls sideways."] if scrolls else [])]


@in_each_look
def test_the_pages_fit_and_keep_nobody_out(
    ann: User, new_page: NewPage, width: int, dark: bool
) -> None:
    page = new_page(width=width, dark=dark)
    paths = [*PUBLIC[:-1], invitation_of(ann)]
    found = {path: look(page, path) for path in paths}
    log_in(page)
    found |= {path: look(page, path) for path in OWN}

    assert {path: what for path, what in found.items() if what} == {}


def look(page: Page, path: str) -> list[str]:
    page.goto(path)
    return problems(page)


def invitation_of(user: User) -> str:
    assert user.tenant is not None
    _, secret = services.create_invitation(
        user.tenant, role=Role.MEMBER, now=timezone.now(), by="root"
    )
    return f"/invite/{secret}"
