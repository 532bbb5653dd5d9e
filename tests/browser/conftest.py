"""A browser, pages that watch themselves, and people who have accounts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)
from pytest_django.live_server_helper import LiveServer

from accounts import services as accounts
from accounts.models import Role, User

PASSWORD = "a quiet river bends"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
# Milliseconds; many tests share a few cores.
PATIENCE = 45_000
LOOPBACK = {"localhost", "127.0.0.1"}
# Whether a page fits depends on the width, and its contrast on the colours. So both pairs
# that are not slow see each width and each scheme once.
in_each_look = pytest.mark.parametrize(
    ("width", "dark"),
    [
        (390, True),
        (1400, False),
        pytest.param(390, False, marks=pytest.mark.slow),
        pytest.param(1400, True, marks=pytest.mark.slow),
    ],
)

NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("There is no chromium here: `apt-get install chromium` brings it.")
    expect.set_options(timeout=PATIENCE)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's event loop runs in the thread of the tests, which use the ORM.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        # Whoever is root has no sandbox.
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield started
        started.close()


class Watch:
    """What a page should not do: fail, call another host, or run without its policy."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def follow(self, context: BrowserContext) -> None:
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._on_error(error.error))
        context.on("request", self._on_request)
        context.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.problems.append(f"script: {error}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and parts.hostname not in LOOPBACK:
            self.problems.append(f"request: {request.url}")

    def _on_response(self, response: Response) -> None:
        is_page = response.request.resource_type == "document"
        if not is_page or 300 <= response.status < 400:
            return
        policy = response.headers.get("content-security-policy", "")
        if "default-src 'self'" not in policy or "unsafe-inline" in policy:
            self.problems.append(f"policy of {response.url}: {policy!r}")


@pytest.fixture
def new_page(browser: Browser, live_server: LiveServer) -> Iterator[NewPage]:
    """Open pages of new visitors; afterwards none of them has had a problem."""
    cache.clear()
    watch = Watch()
    contexts: list[BrowserContext] = []

    def make(
        *, width: int = 1400, dark: bool = False, java_script: bool = True
    ) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=java_script,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        watch.follow(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
    assert watch.problems == []


@pytest.fixture
def page(new_page: NewPage) -> Page:
    return new_page()


@pytest.fixture
def ann(user: User) -> User:
    """An administrator of Alpha with a password."""
    user.set_password(PASSWORD)
    user.save()
    return accounts.change_user(user, role=Role.ADMIN)


def enter(page: Page, login: str = "ann@Alpha") -> None:
    """Give a browser the session of a user, for tests that are not about logins."""
    client = Client()
    client.force_login(User.objects.get(username=login))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies(
        [
            {
                "name": cookie.key,
                "value": cookie.value,
                "domain": "localhost",
                "path": "/",
            }
        ]
    )


def log_in(page: Page, login: str = "ann@Alpha", password: str = PASSWORD) -> None:
    page.goto("/login/")
    page.get_by_label("Name or e-mail").fill(login)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def confirm_password(page: Page) -> None:
    """Say the password again before the account changes."""
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
