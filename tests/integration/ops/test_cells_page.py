"""Operators see all cells on one page, whichever of them are dead."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from accounts import directory
from accounts.models import User
from scheduler_service import __version__
from tasks_api.models import Run
from tests.integration.ops.test_metrics import samples
from tests.integration.support.directories import made_database
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.stored_tasks import SECOND
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/cells/"
UNKNOWN = "-"
METRICS = b"""\
scheduler_due{cell="a"} 3.0
scheduler_oldest_due_seconds{cell="a"} 1.5
scheduler_recent_runs_per_second{cell="a"} 12.5
scheduler_recent_late_seconds{cell="a"} 0.032
scheduler_tasks_stored{cell="a"} 12345.0
scheduler_version{cell="a",version="9.9"} 1.0
"""


@pytest.fixture
def web(settings: LazySettings) -> Iterator[Receiver]:
    """The web of the cell `a`; the cell `b` has none."""
    started = Receiver()
    started.start()
    with made_database() as settings.DIRECTORY_URL:
        directory.put_cell("a", [started.url.removeprefix("http://")], "a.example")
        directory.put_cell("b", ["127.0.0.1:1"])
        yield started
    started.stop()


def rows(staff: Client) -> list[list[str]]:
    page = staff.get(PAGE).content.decode()
    found = re.findall(r"<tr>\s*(<td>.*?)</tr>", page, re.DOTALL)
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in found
    ]


def test_a_cell_says_how_it_is_and_a_dead_one_shows_as_dead(
    staff: Client, web: Receiver, settings: LazySettings
) -> None:
    settings.METRICS_TOKEN = "of all cells"
    web.answer("/readyz", status=503, body=b'{"status": "unavailable"}')
    web.answer("/metrics", body=METRICS)
    directory.register_tenant("Alpha", "a")

    alive, dead = rows(staff)

    said = ["1 a", "unavailable", "9.9", "1", "12,345", "3", "1.5", "12.5", "0.032"]
    assert alive == [*said, "a.example"]
    assert dead == ["2 b", "dead", UNKNOWN, "0", *[UNKNOWN] * 6]
    authorizations = {each.headers["authorization"] for each in web.requests}
    assert authorizations == {"Bearer of all cells"}


def test_a_cell_that_hides_its_metrics_still_says_how_it_is(
    staff: Client, web: Receiver
) -> None:
    web.answer("/readyz", body=b'{"status": "ok"}')
    web.answer("/metrics", status=401)

    assert rows(staff)[0][:3] == ["1 a", "ok", UNKNOWN]


def test_the_page_shows_what_doors_see(staff: Client, web: Receiver) -> None:
    directory.register_tenant("Alpha", "a")
    with directory.open_directory() as session:
        newest = directory.newest_version()
        directory.record_door(session, "north", newest, {"a": 1, "b": 0})
        directory.record_door(session, "south", newest - 1, {"a": 1})

    *_, north, south = rows(staff)

    assert north[:2] == ["north", f"the newest version, {newest}"]
    assert north[3] == "a: 1, b: none"
    assert f"of\n{newest}" in staff.get(PAGE).content.decode()
    assert south[0] == "south"


def test_a_service_that_is_one_cell_says_so(staff: Client) -> None:
    assert "this is the only cell" in staff.get(PAGE).content.decode()


def test_a_directory_that_is_away_is_a_sentence(
    staff: Client, settings: LazySettings
) -> None:
    settings.DIRECTORY_URL = "postgresql://127.0.0.1:1/nowhere"

    assert "The directory does not answer" in staff.get(PAGE).content.decode()


def test_the_page_is_for_those_who_may_view_tasks(client: Client) -> None:
    client.force_login(User.objects.create_user("mia", is_staff=True))

    assert client.get(PAGE).status_code == 403


def test_each_metric_and_readyz_name_the_cell(
    client: Client, settings: LazySettings
) -> None:
    settings.SCHEDULER_CELL = "eu1"
    settings.METRICS_TOKEN = "t0ken"

    text = client.get("/metrics", HTTP_AUTHORIZATION="Bearer t0ken").content.decode()

    assert samples(text)["scheduler_due{cell=eu1}"] == 0
    assert 'scheduler_runs_waiting{cell="eu1",state="open"}' in text
    assert client.get("/readyz").json()["cell"] == "eu1"


def test_web_tells_what_was_sent_lately(
    user: User, client: Client, settings: LazySettings
) -> None:
    settings.METRICS_TOKEN = "t0ken"
    task, now = hourly_task(user), timezone.now()
    for seconds in range(1, 7):
        run = store_run(task, at=now - seconds * SECOND)
        late = run.scheduled_for + 0.25 * SECOND
        Run.objects.filter(pk=run.pk).update(first_started_at=late)
    store_run(task, ago=2)
    store_run(task, at=now - 9 * SECOND, by_hand=True)

    text = client.get("/metrics", HTTP_AUTHORIZATION="Bearer t0ken").content.decode()

    found = samples(text)
    assert found["scheduler_recent_runs_per_second"] == pytest.approx(0.1)
    assert found["scheduler_recent_late_seconds"] == pytest.approx(0.25)
    assert found[f"scheduler_version{{version={__version__}}}"] == 1
