"""Whatever is done, each row belongs to the tenant of its task, its run and its user."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from tasks_api.models import FurtherAttempt
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.tenant_rows import (
    TABLES,
    count_rows,
    find_strays,
)
from tests.integration.support.tenant_steps import (
    FIRST_STEPS,
    STEPS,
    Side,
    make_sides,
)

pytestmark = pytest.mark.django_db(transaction=True)

# As processes of the release before insert rows, without the tenant.
INSERTS_OF_RELEASE_BEFORE = (
    "INSERT INTO tasks_api_tasktag (owner_id, task_id, tag)"
    " SELECT owner_id, id, 'old' FROM tasks_api_task WHERE id = %(task)s",
    "INSERT INTO tasks_api_tasktally AS tally (owner_id, surface, part, tasks)"
    " SELECT owner_id, surface, 0, 1 FROM tasks_api_task WHERE id = %(task)s"
    " ON CONFLICT (owner_id, surface, part)"
    " DO UPDATE SET tasks = tally.tasks + excluded.tasks",
    "INSERT INTO tasks_api_failingtask (task_id, streak, ended_streak)"
    " VALUES (%(task)s, 1, 0) ON CONFLICT DO NOTHING",
    "INSERT INTO tasks_api_schedulechange (task_id, at, what, cron_seconds, cron_years)"
    " VALUES (%(task)s, now(), 'edited', '', '')",
    "INSERT INTO tasks_api_idempotencykey"
    " (user_id, key, fingerprint, status, headers, body, created_at)"
    " SELECT owner_id, gen_random_uuid(), '', 200, '{}', '', now()"
    " FROM tasks_api_task WHERE id = %(task)s",
    "INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error, answer)"
    " SELECT id, 2, now(), 1, '', '' FROM tasks_api_run WHERE task_id = %(task)s",
    "INSERT INTO accounts_token (user_id, name, digest, prefix, scope)"
    " SELECT owner_id, '', gen_random_uuid(), '', 'read'"
    " FROM tasks_api_task WHERE id = %(task)s",
)

INSERT_ATTEMPT_OF_NO_RUN = """
    INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error, answer)
    VALUES (gen_random_uuid(), 2, now(), 1, '', '')
"""
# A trigger of these tables writes the tenant into rows of the release before.
TABLES_WITH_TRIGGER = (
    "accounts_token",
    "tasks_api_attempt",
    "tasks_api_failingtask",
    "tasks_api_idempotencykey",
    "tasks_api_schedulechange",
    "tasks_api_tasktag",
    "tasks_api_tasktally",
)


def insert_as_the_release_before(side: Side) -> None:
    task = hourly_task(side.owner)
    store_run(task)
    with connection.cursor() as cursor:
        for statement in INSERTS_OF_RELEASE_BEFORE:
            cursor.execute(statement, {"task": task.pk})


@pytest.fixture
def sides(
    user: User,
    colleague: User,
    stranger: User,
    client_for: ClientFor,
    make_task: MakeTask,
    settings: LazySettings,
) -> list[Side]:
    settings.SCHEDULER_MIN_FREQUENCY = 1
    settings.SCHEDULER_RETENTION_DAYS = 1
    return make_sides(user, colleague, stranger, client_for, make_task)


@pytest.fixture
def no_trigger() -> Iterator[None]:
    """Each statement must write the tenant itself."""
    with connection.cursor() as cursor:
        for table in TABLES_WITH_TRIGGER:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER fill_tenant")
        yield
        for table in TABLES_WITH_TRIGGER:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER fill_tenant")


@pytest.mark.usefixtures("no_trigger")
@pytest.mark.parametrize("seed", range(3))
def test_each_row_is_of_the_tenant_of_what_it_belongs_to(
    sides: list[Side], seed: int
) -> None:
    acts = [(step, side) for step in STEPS for side in sides]
    random.Random(seed).shuffle(acts)
    acts = [(step, side) for step in FIRST_STEPS for side in sides] + acts
    seen: Counter[tuple[int, str]] = Counter()
    for step, side in acts:
        step(side)
        assert find_strays() == {}, step
        seen += count_rows()

    expected = {(side.tenant.pk, table) for side in sides for table in TABLES}
    assert expected - seen.keys() == set()


def test_rows_of_the_release_before_get_their_tenants(sides: list[Side]) -> None:
    for side in sides:
        insert_as_the_release_before(side)
    rows = count_rows()

    assert find_strays() == {}
    for table in TABLES_WITH_TRIGGER:
        assert [rows[side.tenant.pk, table] > 0 for side in sides] == [True, True]


def test_a_row_without_a_parent_is_not_stored(sides: list[Side]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT_ATTEMPT_OF_NO_RUN)

    assert not FurtherAttempt.objects.exists()


def test_of_an_erased_tenant_no_table_has_a_row(sides: list[Side]) -> None:
    for step in FIRST_STEPS + STEPS:
        for side in sides:
            step(side)
    gone, left = (side.tenant.pk for side in sides)
    before = count_rows()

    call_command("delete_tenant", sides[0].tenant.name, "--yes")

    after = count_rows()
    assert {table for tenant, table in after if tenant == gone} == set()
    for table in TABLES:
        assert after[left, table] == before[left, table], table
