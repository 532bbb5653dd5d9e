"""Each page stays small, and asks the database as often, however much there is.

The server times are printed, and `make bench s=pages` measures them: a test that shares
its machine with others cannot judge them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.schedules import Once
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import pausing, pull_queue, rollups
from tests.conftest import MakeTask
from tests.integration.support import many_rows
from tests.integration.support.lane_rows import make_lane
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

MAX_SIZE = 300 * 1024
# A page may find what is too much for one way in another one, with as many statements more.
OTHER_WAY = 5
# Every page of `/app/` that shows rows; {task} and {run} are ids.
PATHS = (
    "/app/",
    "/app/?as=table",
    "/app/calendar/",
    "/app/calendar/?view=day",
    "/app/calendar/?by=host",
    "/app/calendar/?by=task",
    "/app/calendar/?by=task&of={task}",
    "/app/calendar/tasks/?from={soon}",
    "/app/calendar/tasks/?from={soon}&to={later}",
    "/app/tasks/",
    "/app/tasks/?q=host-7",
    "/app/tasks/all/pause?state=active",
    "/app/tasks/all/change?q=host-7",
    "/app/tasks/{task}/",
    "/app/tasks/{task}/why/",
    "/app/tasks/{task}/why/?at={soon}",
    "/app/tasks/{task}/edit/",
    "/app/tasks/new/",
    "/app/runs/",
    "/app/runs/?state=failed",
    "/app/runs/?task={task}",
    "/app/runs/{run}/",
    "/app/calendars/",
    "/app/tasks/{task}/backfill/",
    "/app/tasks/{task}/pause/",
    "/app/queues/",
    "/app/lanes/",
    "/app/lanes/crm/",
    "/app/tasks/?lane=crm",
    "/app/runs/?lane=crm",
    "/app/runs/?lane=crm&state=pending,retrying&last=all",
    "/app/queues/messages/?queue=mail",
    "/app/settings/members/",
    "/app/settings/tokens/",
    "/app/settings/signing-secrets/",
    "/app/settings/notifications/",
    "/app/settings/usage/",
    "/app/settings/audit/",
    "/app/settings/retention/",
)


class Sizes(NamedTuple):
    tasks: int
    runs: int


SMALL, FULL = Sizes(200, 600), Sizes(60_000, 200_000)
FULL_MARKS = [pytest.mark.slow, pytest.mark.timeout(600)]


class Reading(NamedTuple):
    """What one page cost."""

    path: str
    statements: int
    size: int
    seconds: float


@pytest.fixture
def boss(user: User) -> User:
    return accounts.change_user(user, role=Role.ADMIN)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(SMALL, id="small"),
        pytest.param(FULL, id="full", marks=FULL_MARKS),
    ],
)
def test_pages_ask_as_often_and_stay_small_however_much_there_is(
    boss: User, make_task: MakeTask, sizes: Sizes, capfd: pytest.CaptureFixture[str]
) -> None:
    task = store_one_of_each(boss, make_task)
    few = {each.path: each for each in read_pages(boss, task)}
    many_rows.store_copies(task, sizes.tasks)
    since = timezone.now() - timedelta(days=3)
    many_rows.store_runs(task.tenant_id, sizes.runs, since=since)

    many = list(read_pages(boss, task))

    with capfd.disabled():
        report(many)
    for each in many:
        assert each.statements <= few[each.path].statements + OTHER_WAY, each
        assert each.size <= MAX_SIZE, each


def store_one_of_each(user: User, make_task: MakeTask) -> Task:
    """Store a row of each kind that a page shows, and an hour that is closed."""
    now = timezone.now()
    soon = (now + timedelta(hours=3)).replace(minute=30)
    make_lane(user, host="example.com", rate_limit=1000)
    task = make_task(user, schedule=Once(soon), name="the first one")
    store_run(task, ago=90)
    store_run(task, ago=5, state=RunState.MISSED, reason="No worker was there in time")
    pausing.pause_failing_tasks({hourly_task(user).pk: (3, "HTTP 500")})
    message = pull_queue.NewMessage(task.tenant_id, "mail", "1", "null", 60, 0, now)
    pull_queue.enqueue_many([message])
    rollups.keep_rollups(now=now, pause=lambda _: None)
    return task


def read_pages(user: User, task: Task) -> Iterator[Reading]:
    browser = Client()
    browser.force_login(user)
    soon = timezone.now() + timedelta(hours=3)
    names = {
        "task": task.pk,
        "run": Run.objects.filter(task=task).earliest("scheduled_for").pk,
        "soon": f"{soon:%Y-%m-%dT%H:00:00Z}",
        "later": f"{soon + timedelta(hours=23):%Y-%m-%dT%H:00:00Z}",
    }
    for path in PATHS:
        yield read_page(browser, path, path.format(**names))


def read_page(browser: Client, path: str, url: str) -> Reading:
    # The first request loads templates and code.
    browser.get(url)
    began = time.perf_counter()
    with CaptureQueriesContext(connection) as statements:
        answer = browser.get(url)
    took = time.perf_counter() - began
    assert answer.status_code == 200, url
    # Django knows no text of prepared statements. One of them reads the clock, unless it
    # was read within the last second.
    counted = [each for each in statements if each["sql"]]
    return Reading(path, len(counted), len(answer.content), took)


def report(readings: list[Reading]) -> None:
    print()  # noqa: T201 (the times are only told)
    for each in readings:
        text = f"{each.path:50} {each.statements:3} statements {each.size / 1024:6.0f} KiB {each.seconds * 1000:6.0f} ms"
        print(text)  # noqa: T201 (the times are only told)
