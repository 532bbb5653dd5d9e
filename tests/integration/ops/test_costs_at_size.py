"""What processes do again and again reads few pages, whatever is stored and waits.

Each statement is executed with some tenants, and with ten times as many of everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Tenant, User
from accounts.statements import READ_DELIVERY_LIMITS
from scheduler_service.db.statements import with_limit
from tasks_api.domain.schedules import Once
from tasks_api.models import Run, Task
from tasks_api.monitoring.collector_statements import COUNT_WAITING_RUNS, MAX_COUNTED
from tasks_api.scheduler import poll
from tasks_api.scheduler import statements as beat
from tasks_api.services import rollup_statements as rollups
from tasks_api.storage import retention_statements as retention
from tasks_api.storage.id_statements import ID_FOR
from tasks_api.storage.partition_statements import of_table
from tasks_api.taking import due_poll
from tasks_api.taking import statements as taking
from tasks_api.taking.tenant_statements import TENANTS_OF_RUNS, TENANTS_OF_TASKS
from tests.integration.support import many_rows
from tests.integration.support.polls import count_pages
from tests.integration.support.stored_tasks import HOUR, store_task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

FEW, MANY = 2_000, 20_000
# With ten times as many rows, an index may be a level deeper. A table of a few pages is
# read as a whole.
MAX_GROWTH, FEW_PAGES = 2, 300
# One of so many tenants has due tasks and waiting runs.
FLOODED_PART = 20
# The newest tenants, whose runs are not counted yet.
NEW_TENANTS = 1000
# A tenant of some, by the id of the copy of a task.
_OF_SOME = "{first} + mod(abs(hashtext(task.task_id::text)::bigint), {count})"
_STORE_TENANTS = """
    INSERT INTO accounts_tenant (name, callback_url, created_at)
    SELECT 'tenant ' || n, '', now() FROM generate_series(%s, %s) n
"""
_STORE_PROGRESS = """
    INSERT INTO tasks_api_rollupprogress (tenant_id, closed_from, closed_until, ended_until)
    SELECT id, hour, hour, now()
    FROM accounts_tenant, date_trunc('hour', now() - interval '3 hours') hour
    ORDER BY id DESC OFFSET {new} ON CONFLICT DO NOTHING
""".replace("{new}", str(NEW_TENANTS))
_STORE_WAITING_RUNS = """
    INSERT INTO tasks_api_run_live (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, attempt_count, lost_count, exclusive)
    SELECT {id}, id, tenant_id,
        now() - interval '2 hours', 'pending', '', now() - interval '1 second', 0, 0, false
    FROM tasks_api_task WHERE next_fire_at < now() AND NOT EXISTS (
        SELECT FROM tasks_api_run_live run WHERE run.task_id = tasks_api_task.id)
""".replace("{id}", ID_FOR.format(moment="now()", tenant_id="tenant_id"))


_STORE_CHANGES = """
    INSERT INTO tasks_api_schedulechange (tenant_id, task_id, at, what, cron_seconds,
        cron_years)
    SELECT tenant_id, id, now() - interval '1 hour', 'edited', '', ''
    FROM tasks_api_task task WHERE next_fire_at < now() AND NOT EXISTS (
        SELECT FROM tasks_api_schedulechange change WHERE change.task_id = task.id)
"""
_STORE_MESSAGES = """
    INSERT INTO tasks_api_message (tenant_id, queue, name, timeout_seconds, max_retries,
        retry_count, payload, run_at, created_at, leased_until)
    SELECT id, 'q', 'message', 60, 1, 1, '{}', now(), now(), now() - interval '1 hour'
    FROM accounts_tenant ON CONFLICT DO NOTHING
"""
_STORE_MORE = (_STORE_WAITING_RUNS, _STORE_PROGRESS, _STORE_CHANGES, _STORE_MESSAGES)


def store_many(user: User, count: int) -> None:
    """Store tenants, a task of each, and due tasks and waiting runs of some of them."""
    tenants = Tenant.objects.filter(name__startswith="tenant ")
    with connection.cursor() as cursor:
        cursor.execute(_STORE_TENANTS, [tenants.count() + 1, count])
    first = Tenant.objects.get(name="tenant 1").pk
    original = store_task(user, Once(timezone.now() + 1000 * HOUR))
    more = count - Task.objects.filter(next_fire_at__lt=timezone.now()).count()
    for tenant_count, at in (
        (count, timezone.now() + 100 * HOUR),
        (count // FLOODED_PART, timezone.now() - HOUR),
    ):
        of_some = _OF_SOME.format(first=first, count=tenant_count)
        columns = {"tenant_id": of_some}
        many_rows.store_copies(
            original, more, first=at, spread=HOUR / 2, columns=columns
        )
    with connection.cursor() as cursor:
        for statement in _STORE_MORE:
            cursor.execute(statement)
        cursor.execute("ANALYZE")


# The name of a statement, its text, its values, and the pages that it may read.
StatementCost = tuple[str, str, dict[str, Any], int]


def process_statements() -> Iterator[StatementCost]:
    """What workers, beats and metrics execute again and again."""
    margin = {"margin": due_poll.LONGEST_TRANSACTION.total_seconds()}
    limits = READ_DELIVERY_LIMITS.replace("%s", "%(known)s")
    known = list(Tenant.objects.values_list("pk", flat=True)[:100])
    yield "worker: limits", limits, {"known": known}, 400
    yield "worker: look", taking.FIND_DUE, margin | due_poll.DueFloor()._asdict(), 50
    yield "beat: look", beat.FIND_WORK, margin | poll.Floor()._asdict(), 60
    for kind, search in (("tasks", TENANTS_OF_TASKS), ("runs", TENANTS_OF_RUNS)):
        in_turn, by_moment = (with_limit(way, 100) for way in search)
        yield f"worker: tenants of {kind}", in_turn, {"after": 0}, 600
        yield f"worker: due {kind}", by_moment, {}, 1500
    # A look at each of the runs that are counted, and at their tasks and schedules.
    waiting = COUNT_WAITING_RUNS.replace(str(MAX_COUNTED), "1000")
    yield "metrics", waiting, {}, 15 * 1000


def housekeeping_statements() -> Iterator[StatementCost]:
    now = timezone.now()
    kept: dict[str, Any] = {"now": now, "days": 30, "held": None, "patience": 0.0}
    turn = {"after": 0, "most": 100}
    yield "retention: times", retention.FIND_RETENTIONS, kept, 10
    for name, statement in (
        ("holder", retention.FIND_HOLDER),
        ("lag", retention.READ_LAG),
        ("runs", retention.FIND_OLDEST_RUNS),
    ):
        on_late = of_table(statement, "tasks_api_run_late")
        yield f"retention: {name}", on_late, kept | turn, 10
    few = of_table(retention.FIND_OLDEST_RUNS_OF_FEW, "tasks_api_run_late")
    yield "retention: runs of few", few, kept | turn | {"held": 30}, 10
    lag = of_table(retention.READ_LAG_OF_FEW, "tasks_api_run_late")
    yield "retention: lag of few", lag, kept | {"held": 30}, 10
    yield "retention: tasks", retention.FIND_OLDEST_TASKS, kept | turn, 10
    for name, statement in retention.TURNS.items():
        yield f"retention: {name}", statement, kept | turn, 1000
    hours = {"now": now, "margin": timedelta(minutes=2), "most": 100}
    yield "sums: newer tenants", rollups.FIND_NEWER_TENANTS, turn, 150
    yield "sums: tenants to begin", rollups.FIND_TENANTS_TO_BEGIN, turn, 150
    newest = Tenant.objects.order_by("-pk").values_list("pk", flat=True)[:100]
    begun = kept | {"tenants": list(newest)}
    yield "sums: begin", rollups.BEGIN_ROLLUPS, begun, 6000
    yield "sums: tenants to close", rollups.FIND_TENANTS_TO_CLOSE, hours, 600
    yield "sums: lag", rollups.READ_LAG, hours, 10
    yield "sums: late tasks", rollups.FIND_LATE_HOURS, {}, 10
    yield "sums: late runs", rollups.FIND_TENANTS_WITH_LATE_RUNS, turn, 10
    yield "sums: old", rollups.DELETE_OLD_ROLLUPS, kept | turn | {"limit": 100}, 1500
    yield "sums: search", rollups.ADVANCE_SEARCH, {"now": now}, 20


def count_all_pages() -> dict[str, tuple[int, int]]:
    """The pages that each statement reads, and those that it may read."""
    return {
        name: (count_pages(statement, values), most)
        for name, statement, values, most in (
            *process_statements(),
            *housekeeping_statements(),
        )
    }


def test_no_periodic_statement_reads_all_tenants_or_all_that_waits(user: User) -> None:
    store_many(user, FEW)
    of_few = count_all_pages()
    store_many(user, MANY)
    of_many = count_all_pages()

    assert Run.objects.count() == MANY
    assert Task.objects.count() > 2 * MANY
    assert {name for name, (pages, most) in of_many.items() if pages > most} == set()
    assert {
        name: (of_few[name][0], pages)
        for name, (pages, _) in of_many.items()
        if pages > MAX_GROWTH * max(of_few[name][0], FEW_PAGES)
    } == {}
