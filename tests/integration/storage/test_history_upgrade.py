"""Runs of the release before stay readable while housekeeping moves them into history."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from tasks_api.storage.id_statements import ID_FOR
from tests.acceptance.harness import ROOT
from tests.integration.support.old_database import OldDatabase, make_database

# Run as a process, so that it can be killed between two batches.
MOVE = """
import sys
import tests.benchmarks.django_setup
from scheduler_service.db import clock
from tasks_api.storage import history_moves

def pause(seconds: float) -> bool:
    print("moved a batch", flush=True)
    return not sys.stdin.readline()

history_moves.ROUND_SECONDS = 3600.0
history_moves.move_into_history(now=clock.now(), pause=pause)
"""
# Of 20 days. Every third run was tried twice; every hundredth is not over.
STORE_RUNS = """
    WITH planned AS (
        SELECT n, date_trunc('milliseconds', now()) - n * interval '20 days' / {count}
            AS moment, n %% 100 = 7 AS is_live, n %% 3 = 0 AS was_tried_twice
        FROM generate_series(1, {count}) n
    ), run AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            wake_at, attempt_count, lost_count, exclusive, started_at, finished_at)
        SELECT {id}, %s, 1, moment, CASE WHEN is_live THEN 'retrying' ELSE 'failed' END, '',
            CASE WHEN is_live THEN now() END, 1 + was_tried_twice::int, 0, false, moment,
            CASE WHEN NOT is_live THEN moment + CASE WHEN n %% 50 = 1
                THEN interval '7 hours' ELSE interval '1 s' END END
        FROM planned RETURNING *
    )
    INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, status_code,
        error, answer)
    SELECT id, number, scheduled_for, 10 + number, 500, '', 'answer ' || number
    FROM run, generate_series(1, attempt_count) number
"""
# Rows are compared by a sum of hashes, because there may be millions.
READ_RUNS = """
    SELECT count(*), sum(hashtextextended(found::text, 0)::numeric) FROM (
        SELECT id, task_id, scheduled_for, state, wake_at, attempt_count, started_at,
            finished_at FROM tasks_api_run) AS found
"""
READ_ATTEMPTS = """
    SELECT count(*), sum(hashtextextended(found::text, 0)::numeric) FROM (
        SELECT run_id, number, started_at, duration_ms, status_code, error, answer
        FROM {table}) AS found
"""
ROWS_OF_TABLES = """
    SELECT tableoid::regclass::text, count(*) FROM {table} GROUP BY 1
"""


class OldHistory(OldDatabase):
    """A database with runs of the release before."""

    def start_move(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", MOVE],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read_all(self, attempts: str = "tasks_api_all_attempts") -> list[object]:
        return [self.read(READ_RUNS), self.read(READ_ATTEMPTS, table=attempts)]

    def store_runs(self, count: int) -> None:
        task_id = "01a1fc25-ccbb-7241-824c-01539cec9869"
        statement = STORE_RUNS.replace("{count}", str(count)).replace(
            "{id}", ID_FOR.format(moment="moment", tenant_id="1")
        )
        # The task need not exist for what is tested here.
        self.session.execute("SET session_replication_role = replica")
        self.session.execute(statement.encode(), [task_id])
        self.session.execute("RESET session_replication_role")


@pytest.fixture(scope="module")
def first_release() -> Iterator[str]:
    """The name of a database with the tables of the first release, and no rows."""
    with make_database("first_release") as url:
        with closing(OldDatabase(url)) as found:
            found.migrate("tasks_api", "0001")
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def old_database(first_release: str) -> Iterator[OldHistory]:
    with (
        make_database("release_before", template=first_release) as url,
        closing(OldHistory(url)) as found,
    ):
        yield found


def kill_between_batches(move: subprocess.Popen[str], batches: int) -> None:
    assert move.stdin is not None
    assert move.stdout is not None
    for _ in range(batches):
        assert move.stdout.readline() == "moved a batch\n"
        move.stdin.write("go on\n")
        move.stdin.flush()
    assert move.stdout.readline() == "moved a batch\n"
    move.kill()
    move.communicate()


def finish(move: subprocess.Popen[str]) -> None:
    move.communicate("go on\n" * 10_000, timeout=600)
    assert move.returncode == 0


@pytest.mark.parametrize(
    "count",
    [
        4_500,
        pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_a_move_that_is_killed_goes_on_and_loses_and_doubles_nothing(
    old_database: OldHistory, count: int
) -> None:
    old_database.store_runs(count)
    stored = old_database.read_all("tasks_api_attempt")

    old_database.migrate()
    assert old_database.read_all() == stored
    kill_between_batches(old_database.start_move(), 2)
    assert old_database.read_all() == stored
    finish(old_database.start_move())

    assert old_database.read_all() == stored
    rows = old_database.read(ROWS_OF_TABLES, table="tasks_api_run")
    tables = {str(table): count for table, count in rows}
    assert tables["tasks_api_run_live"] == count // 100
    assert tables["tasks_api_run_late"] == count // 50
    assert len([name for name in tables if name.startswith("tasks_api_run_2")]) > 19
    assert old_database.read("SELECT to_regclass('tasks_api_run_before')") == [(None,)]
    further = old_database.read("SELECT DISTINCT number FROM tasks_api_attempt")
    assert further == [(2,)]


def test_what_the_release_before_writes_meanwhile_is_moved_as_well(
    old_database: OldHistory,
) -> None:
    old_database.store_runs(300)
    old_database.migrate()
    session = old_database.session
    # As a worker of the release before ends a run, and writes its attempt.
    [(run_id,)] = session.execute(
        "UPDATE tasks_api_run SET state = 'succeeded', wake_at = NULL,"
        " finished_at = now() WHERE id = (SELECT max(id::text)::uuid FROM tasks_api_run"
        " WHERE wake_at IS NOT NULL) RETURNING id"
    ).fetchall()
    session.execute(
        "INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error,"
        " answer) VALUES (%s, 3, now(), 1, '', '') ON CONFLICT (run_id, number) DO NOTHING",
        [run_id],
    )
    stored = old_database.read_all()

    finish(old_database.start_move())

    assert old_database.read_all() == stored
    [(table,)] = session.execute(
        "SELECT tableoid::regclass::text FROM tasks_api_run WHERE id = %s", [run_id]
    ).fetchall()
    assert table.startswith(("tasks_api_run_2", "tasks_api_run_late"))


def test_the_release_before_may_not_delete_by_place(old_database: OldHistory) -> None:
    old_database.store_runs(10)
    old_database.migrate()

    with pytest.raises(psycopg.errors.RaiseException, match="may not delete history"):
        old_database.session.execute(
            "DELETE FROM tasks_api_run WHERE ctid = ANY(ARRAY(SELECT ctid"
            " FROM tasks_api_run LIMIT 1))"
        )

    assert old_database.read(READ_RUNS)[0][0] == 10
