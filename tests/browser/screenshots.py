"""Takes pictures of all pages into docs/images/pages: `make screenshots`.

The data is the same each time, but for its dates. Each picture shows a window, not the
whole page, in at most 256 colours.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from django.utils import timezone
from PIL import Image
from playwright.sync_api import Page, expect

from tests.architecture.folders import ROOT
from tests.browser import demo_data
from tests.browser.conftest import PASSWORD, NewPage, log_in
from tests.browser.demo_data import Demo

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = ROOT / "docs" / "images" / "pages"
# The pictures of all pages together, in bytes.
MAX_SIZE = 6 * 1024 * 1024
HEIGHTS = {1400: 900, 390: 844}

# What strangers see.
PUBLIC_PAGES = {"front": "/", "login": "/login/"}
# {task} and {run} are ids, and {soon} is an hour that is to come.
PAGES = {
    "overview": "/app/",
    "calendar": "/app/calendar/",
    "calendar-day": "/app/calendar/?view=day&zone=Europe/Berlin",
    "calendar-tasks": "/app/calendar/tasks/?from={soon}",
    "tasks": "/app/tasks/",
    "task": "/app/tasks/{task}/",
    "new-task": "/app/tasks/new/",
    "edit-task": "/app/tasks/{task}/edit/",
    "runs": "/app/runs/?state=failed",
    "run": "/app/runs/{run}/",
    "queues": "/app/queues/",
    "queue": "/app/queues/messages/?queue=thumbnails",
    "lanes": "/app/lanes/",
    "lane": "/app/lanes/shop/",
    "members": "/app/settings/members/",
    "tokens": "/app/settings/tokens/",
    "signing-secrets": "/app/settings/signing-secrets/",
    "notifications": "/app/settings/notifications/",
    "calendars-of-days": "/app/calendars/",
    "days": "/app/calendars/de-holidays/",
    "backfill": "/app/tasks/{task}/backfill/",
    "usage": "/app/settings/usage/",
    "audit": "/app/settings/audit/",
    "retention": "/app/settings/retention/",
    "account": "/account/",
    "cron": "/cron/?expression=30+2+*+*+1-5&zone=Europe/Berlin",
}


class Look(NamedTuple):
    """How a picture is taken; its name ends the name of the file."""

    name: str
    width: int
    is_dark: bool


LOOKS = (
    Look("light", 1400, False),
    Look("dark", 1400, True),
    Look("narrow", 390, False),
)


@pytest.fixture
def demo(db: None) -> Demo:
    stored = demo_data.store()
    stored.admin.set_password(PASSWORD)
    stored.admin.save()
    return stored


def test_every_page_has_its_pictures(demo: Demo, new_page: NewPage) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    taken = [path for look in LOOKS for path in take_all(demo, new_page, look)]

    for path in set(FOLDER.glob("*.png")) - set(taken):
        path.unlink()
    assert sum(path.stat().st_size for path in taken) < MAX_SIZE


def take_all(demo: Demo, new_page: NewPage, look: Look) -> Iterator[Path]:
    page = new_page(width=look.width, dark=look.is_dark)
    page.set_viewport_size({"width": look.width, "height": HEIGHTS[look.width]})
    for name, path in PUBLIC_PAGES.items():
        yield take(page, path, f"{name}-{look.name}")
    log_in(page)
    expect(page.get_by_role("heading", name="Alpha")).to_be_visible()
    soon = f"{timezone.now() + timedelta(hours=2):%Y-%m-%dT%H:00:00Z}"
    for name, path in PAGES.items():
        url = path.format(task=demo.failing.pk, run=demo.failed_run.pk, soon=soon)
        yield take(page, url, f"{name}-{look.name}")


def take(page: Page, url: str, name: str) -> Path:
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200, url
    path = FOLDER / f"{name}.png"
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
    return path
