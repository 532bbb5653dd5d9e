"""However many rows there are, a page of the admin costs the same, and stays small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.core.paginator import InvalidPage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Tenant, User
from tasks_api.admin import lists
from tasks_api.admin.lists import BoundedPaginator
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.models import (
    Channel,
    FurtherAttempt,
    Message,
    NotificationRule,
    Run,
    Task,
)
from tests.conftest import MakeTask
from tests.integration.support.polls import analyze_tables
from tests.integration.support.routes import store_failed_run

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
KIB = 1024
LISTS = [
    "/admin/tasks_api/task/",
    "/admin/tasks_api/task/?q=nightly",
    "/admin/tasks_api/task/?q=Alpha",
    "/admin/tasks_api/task/?state=active",
    "/admin/tasks_api/task/stuck/",
    "/admin/tasks_api/run/",
    "/admin/tasks_api/run/?q=nightly",
    "/admin/tasks_api/run/?q=Alpha",
    "/admin/tasks_api/run/?state=failed",
    "/admin/tasks_api/message/",
    "/admin/tasks_api/channel/",
    "/admin/tasks_api/notificationrule/",
    "/admin/tasks_api/rollupprogress/",
    "/admin/django_celery_beat/periodictask/",
    "/admin/django_celery_beat/clockedschedule/",
    "/admin/django_celery_beat/crontabschedule/",
    "/admin/accounts/tenant/",
    "/admin/accounts/user/",
    "/admin/accounts/auditentry/",
]
# These may be millions, and a list must find its rows by an index. Live runs are few, and so
# are those of tenants that move.
LARGE = (
    r"tasks_api_task|tasks_api_run_(?!live|parked)\w+|django_celery_beat_periodictask"
)
_numbers = count()


def store_rows(make_task: MakeTask, owner: User, size: int) -> None:
    """Tasks of three kinds, each with a run, and one of everything else for each of them."""
    assert owner.tenant is not None
    now = timezone.now()
    for number in (next(_numbers) for _ in range(size)):
        schedules = (None, Interval(now + HOUR, HOUR), Cron(f"{number % 60} 9 * * *"))
        for kind, schedule in enumerate(schedules):
            more = {"schedule": schedule} if schedule else {}
            task = make_task(owner, name=f"nightly/{number}/{kind}", **more)
            store_run(task)
        tenant = Tenant.objects.create(name=f"tenant {number}")
        User.objects.create_user(f"user {number}", tenant=tenant, name="bob")
        Message.objects.create(
            tenant=tenant, queue="mail", name="1", timeout_seconds=9, run_at=now
        )
        channel = Channel.objects.create(
            tenant=tenant,
            name="ops",
            kind="email",
            sealed_settings="{}",
            max_per_hour=9,
        )
        NotificationRule.objects.create(
            tenant=tenant,
            channel=channel,
            task=task,
            events=["run.failed"],
            streak=3,
            late_after=60,
        )


def store_run(task: Task) -> None:
    at = timezone.now() - HOUR
    Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant_id=task.tenant_id,
        scheduled_for=at,
        state="failed",
        reason="HTTP 503",
        finished_at=at,
        stage="over",
    )


def read(staff: Client, path: str) -> tuple[list[str], int]:
    """The statements that read rows for a page, and the bytes of the page."""
    with CaptureQueriesContext(connection) as captured:
        page = staff.get(path)
    assert page.status_code == 200, path
    statements = [query["sql"] or "" for query in captured.captured_queries]
    # Without transactions, and without the clock, which is asked now and then.
    return [sql for sql in statements if re.search(r"\sFROM\s", sql)], len(page.content)


def test_a_list_sends_as_many_statements_for_many_rows_as_for_few(
    staff: Client, make_task: MakeTask, user: User
) -> None:
    store_rows(make_task, user, 2)
    read(staff, LISTS[0])
    few = {path: read(staff, path) for path in LISTS}
    store_rows(make_task, user, 14)
    many = {path: read(staff, path) for path in LISTS}

    for path in LISTS:
        assert len(many[path][0]) == len(few[path][0]), path
        # Nearly a full page.
        assert many[path][1] < 250 * KIB, path


@pytest.mark.parametrize("path", [path for path in LISTS if "tasks_api" in path])
def test_a_list_finds_its_rows_by_an_index(
    staff: Client, make_task: MakeTask, user: User, path: str
) -> None:
    store_rows(make_task, user, 18)
    analyze_tables()
    statements, _ = read(staff, path)

    read_whole = [
        found for sql in statements for found in find_whole_reads(sql) if found
    ]

    assert read_whole == []


def find_whole_reads(sql: str) -> Iterator[str]:
    """The large tables that a statement would read as a whole, had they many rows."""
    if "$1" in sql:
        # It was prepared before, and has no parameters here.
        return
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        try:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        finally:
            cursor.execute("RESET enable_seqscan; RESET enable_bitmapscan")
    yield from re.findall(rf"Seq Scan on ({LARGE}) ", plan)


def test_the_form_of_a_periodic_task_costs_the_same_among_many(
    staff: Client, make_task: MakeTask, user: User
) -> None:
    task = make_task()
    name = "admin:django_celery_beat_periodictask_change"
    form = reverse(name, args=[task.periodic_task_id])
    read(staff, form)
    few = read(staff, form)
    store_rows(make_task, user, 20)

    many = read(staff, form)

    assert len(many[0]) == len(few[0])
    assert abs(many[1] - few[1]) < KIB
    assert many[1] < 300 * KIB


def test_a_page_shows_the_beginning_of_what_is_long(
    staff: Client, make_task: MakeTask, alpha: Tenant
) -> None:
    long = f"begin {'x' * 1_000_000}"
    task = make_task()
    Task.objects.filter(pk=task.pk).update(body=long)
    message = Message.objects.create(
        tenant=alpha,
        queue="mail",
        name="1",
        timeout_seconds=9,
        run_at=timezone.now(),
        payload=long,
        state=long,
    )

    for row in (task, message):
        name = f"admin:tasks_api_{row._meta.model_name}_change"
        page = staff.get(reverse(name, args=[row.pk])).content.decode()
        assert "begin xxx" in page
        assert "… (1,000,006 characters)" in page
        assert len(page) < 300 * KIB


def test_the_page_of_a_run_shows_its_newest_attempts(
    staff: Client, make_task: MakeTask
) -> None:
    run = store_failed_run(make_task())
    began = run.scheduled_for
    Run.objects.filter(pk=run.pk).update(
        attempt_count=40,
        first_started_at=began,
        first_duration_ms=9,
        first_answer="first answer",
    )
    FurtherAttempt.objects.bulk_create(
        FurtherAttempt(
            run_id=run.pk,
            number=number,
            started_at=began,
            duration_ms=9,
            answer=f"answer {number} {'x' * 16_000}",
        )
        for number in range(2, 41)
    )

    page = staff.get(reverse("admin:tasks_api_run_change", args=[run.pk]))

    text = page.content.decode()
    shown = [number for number in range(2, 41) if f"answer {number} x" in text]
    assert shown == list(range(31, 41))
    assert "first answer" not in text
    assert len(text) < 300 * KIB


def test_a_page_that_lies_too_far_back_is_refused(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_COUNTED_ROWS", 4)
    ids = [make_task().pk for _ in range(6)]
    rows: Any = Task.objects.order_by("-pk")
    pages = BoundedPaginator(rows, 2)

    assert [task.pk for task in pages.page(2)] == ids[3:1:-1]
    assert pages.num_pages == 2
    with pytest.raises(InvalidPage):
        pages.page(3)
