"""The guide runs under its own policy: its search finds, and nothing is refused."""

from __future__ import annotations

import re

import pytest
from django.conf import LazySettings
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from tests.browser.conftest import PATIENCE
from tests.built_site import find_site

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def built(settings: LazySettings) -> None:
    settings.GUIDE_DIR = find_site()


@pytest.mark.usefixtures("built")
def test_the_search_of_the_guide_finds_pages(
    browser: Browser, live_server: LiveServer
) -> None:
    context = browser.new_context(base_url=live_server.url)
    context.set_default_timeout(PATIENCE)
    problems: list[str] = []
    context.on("console", lambda message: problems.append(message.text))
    context.on("weberror", lambda error: problems.append(str(error.error)))
    page = context.new_page()

    page.goto("/guide/reference/policies.html")
    # The guide looks at what was typed when a key goes up.
    page.get_by_placeholder("Search").press_sequentially("misfire")
    page.locator(".md-search-result__link[href*='failures.html']").first.click()

    expect(page).to_have_url(re.compile("/guide/explanation/failures.html"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("fails")
    assert problems == []
    context.close()
