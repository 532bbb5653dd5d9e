"""From the invitation to the delivered request without a command line: real processes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.harness import Harness, eventually
from tests.browser.conftest import PASSWORD, PATIENCE, log_in
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    started = Harness(tmp_path_factory.mktemp("s"))
    started.start()
    for part in ("web", "worker", "beat"):
        started.start_part(part)
    eventually(started.is_ready)
    yield started
    started.stop()


@pytest.fixture
def target() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def guest(browser: Browser, service: Harness) -> Iterator[Page]:
    context = browser.new_context(base_url=service.url)
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def test_an_invitation_leads_to_a_delivered_request(
    guest: Page, service: Harness, target: Receiver
) -> None:
    link = service.manage("invite", "--tenant", "Alpha", "--user", "cleo")
    guest.goto(link)
    guest.get_by_label("Password").fill(PASSWORD)
    guest.get_by_role("button", name="Choose the password").click()
    guest.get_by_role("button", name="Log out").click()
    log_in(guest, "cleo@Alpha")
    expect(guest.get_by_role("link", name="cleo@Alpha")).to_be_visible()

    guest.goto("/app/tasks/new/")
    guest.get_by_label("URL").fill(f"{target.url}/hook")
    guest.get_by_label("Body", exact=True).fill('{"hello": "world"}')
    guest.get_by_role("button", name="Send a test now").click()
    test = guest.get_by_role("status").filter(has_text="The test of the request")
    expect(test).to_contain_text("delivered, status 200")
    expect(test).to_contain_text('{"ok": true}')
    guest.get_by_label("Once").check()
    at = datetime.now(UTC) + timedelta(seconds=5)
    guest.get_by_label("At", exact=True).fill(f"{at:%Y-%m-%dT%H:%M:%S}")
    guest.get_by_role("button", name="Create the task").click()

    tested, sent = target.wait_for(2, timeout=60)
    assert (tested.path, tested.body) == ("/hook", b'{"hello": "world"}')
    assert (sent.path, sent.body) == (tested.path, tested.body)
    eventually(lambda: states(service) == ["succeeded", "succeeded"])


def states(service: Harness) -> list[str]:
    found = service.query("SELECT state FROM tasks_api_run ORDER BY id")
    return [state for (state,) in found]
