"""The migration to ids of 64 bits runs beside a service that goes on."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun
from tasks_api.models import Task
from tasks_api.taking import isolation, leases
from tasks_api.taking.room import Room
from tests.empty_tables import delete_all_rows
from tests.integration.support.narrow_ids import (
    COLUMNS,
    SHARED,
    find_wide_columns,
    narrow_tables,
)
from tests.integration.support.stored_tasks import take_waiting
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

NAME = ("tasks_api", "0002_wide_ids")
CRON = {"task_type": "periodic", "cron": "17 4 * * *", "url": "http://a.example/"}
KINDS = (ONE_TIME, PERIODIC, CRON)


@pytest.fixture(autouse=True)
def _narrow_tables(db: None) -> Iterator[None]:
    narrow_tables()
    yield
    delete_all_rows()
    migrate()


def migrate() -> None:
    """Apply the migration, whatever is recorded of it and of later ones."""
    loader = MigrationLoader(connection)
    migration = loader.get_migration(*NAME)
    state = loader.project_state([NAME], at_end=False)
    with connection.schema_editor(atomic=False) as editor:
        migration.apply(state, editor)


def use_tasks(api: APIClient) -> None:
    """Send the statements of requests that read or write ids of schedules."""
    for body in KINDS:
        task_id = created(api, body)["id"]
        assert api.get("/tasks/").status_code == 200
        for verb in ("pause", "resume", "run"):
            answer = api.post(f"/tasks/{task_id}/{verb}/")
            assert answer.status_code in (200, 202), answer.json()
        changes = {"cron": "18 4 * * *"} if body is CRON else {"name": f"n {task_id}"}
        changed = api.patch(f"/tasks/id/{task_id}", changes, format="json")
        assert changed.status_code == 200, changed.json()
        assert api.get(f"/tasks/{task_id}/account/").status_code == 200
        assert api.delete(f"/tasks/id/{task_id}").status_code == 200


def fire_tasks(api: APIClient) -> list[ClaimedRun]:
    """Let a worker take one task of each kind."""
    for body in KINDS:
        task_id = created(api, body)["id"]
        Task.objects.filter(pk=task_id).update(next_fire_at=timezone.now())
    taken = isolation.take_due(Room(), leases.new_lease(leases.NO_PRESENCE)).runs
    # A statement whose plan is out of date fails once, and gives back what it has taken.
    return taken + take_waiting()


def test_a_web_process_goes_on_after_the_migration(api: APIClient) -> None:
    for _ in range(3):
        use_tasks(api)
    ids = set(Task.objects.values_list("periodic_task_id", flat=True))

    run_in_threads(1, migrate)

    use_tasks(api)
    assert find_wide_columns() == [each for each in COLUMNS if each not in SHARED]
    assert ids < set(Task.objects.values_list("periodic_task_id", flat=True))


def test_a_worker_goes_on_after_the_migration_and_pauses_no_task(
    api: APIClient,
) -> None:
    for _ in range(3):
        assert len(fire_tasks(api)) == len(KINDS)

    run_in_threads(1, migrate)

    assert len(fire_tasks(api)) == len(KINDS)
    assert not PeriodicTask.objects.filter(http_task__isnull=False, enabled=False)


def test_a_migration_that_cannot_have_its_locks_is_finished_later(user: User) -> None:
    parameters = connection.get_connection_params()
    del parameters["cursor_factory"], parameters["context"]
    with psycopg.connect(**parameters) as other:
        other.execute("SELECT FROM tasks_api_task")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate()
        # The table before that one is done.
        assert find_wide_columns() == [("django_celery_beat_clockedschedule", "id")]
        other.rollback()

    migrate()

    assert find_wide_columns() == COLUMNS
