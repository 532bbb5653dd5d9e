"""A worker dies while it pauses a task whose target fails: its tenant is notice all the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import Harness, eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

# A transaction that writes a notice waits for this lock, which the test holds.
LOCK_ID = 7_190_421
CREATE_HOLD_FUNCTION = f"""
    CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock({LOCK_ID}); RETURN new; END $$
"""
# The result and the pause are written; the notice is not.
HOLD_BEFORE_INSERT = """
    CREATE TRIGGER hold BEFORE INSERT ON tasks_api_task
        FOR EACH ROW WHEN (new.surface = 'notices') EXECUTE FUNCTION hold()
"""
# Everything is written, and the worker does not learn of it.
HOLD_AT_COMMIT = """
    CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON tasks_api_task
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (new.surface = 'notices') EXECUTE FUNCTION hold()
"""
FIND_WAITER = """
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND objid = %s AND NOT granted
"""


@pytest.mark.parametrize(
    ("moment", "sent"),
    [(HOLD_BEFORE_INSERT, 2), (HOLD_AT_COMMIT, 1)],
    ids=["before the notice", "within the commit"],
)
def test_a_notice_outlives_the_worker_that_writes_it(
    harness: Harness, target: Receiver, moment: str, sent: int
) -> None:
    target.answer("/failing", status=500)
    harness.manage(
        "configure_tenant", "Alpha", "--notification-url", f"{target.url}/notices"
    )
    worker, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)

    with held_notices(harness, moment) as connection:
        task = create_failing_task(harness, f"{target.url}/failing")
        eventually(lambda: connection.execute(FIND_WAITER, [LOCK_ID]).fetchone())
        assert count_pauses(harness, task) == 0
        harness.stop_process(worker, signal.SIGKILL)
    other = harness.start_part("worker")
    eventually(lambda: [r for r in target.requests if r.path == "/notices"])
    eventually(lambda: harness.count_unfinished_runs() == 0)

    paths = [request.path for request in target.requests]
    assert paths == ["/failing"] * sent + ["/notices"]
    notice = json.loads(target.requests[-1].body)
    assert (notice["type"], notice["data"]["task_id"]) == ("task.paused", task)
    assert count_pauses(harness, task) == 1
    shown = harness.api.get(f"{harness.url}/tasks/{task}", timeout=10).json()
    assert shown["next_run_datetime"] is None
    assert "HTTP 500" in shown["pause_reason"]
    for part in (other, beat):
        harness.stop_process(part, signal.SIGKILL)


@contextmanager
def held_notices(harness: Harness, moment: str) -> Iterator[psycopg.Connection[Any]]:
    """Let a transaction that writes a notice wait at a moment, until the block ends."""
    with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
        connection.execute(CREATE_HOLD_FUNCTION)
        connection.execute(moment)
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_ID])
        try:
            yield connection
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_ID])
            connection.execute("DROP FUNCTION hold CASCADE")


def create_failing_task(harness: Harness, url: str) -> str:
    start = datetime.now(UTC) + timedelta(seconds=2)
    return harness.create_task(
        task_type="periodic",
        frequency=3600,
        start_datetime=start.isoformat(),
        end_datetime=(start + timedelta(days=1)).isoformat(),
        url=url,
        pause_after_failures=1,
    )


def count_pauses(harness: Harness, task: str) -> int:
    """How many pauses of the task the audit log has."""
    statement = """
        SELECT count(*) FROM accounts_auditentry
        WHERE action = 'task.pause' AND object_id = %s
    """
    return int(harness.query(statement, task)[0][0])
