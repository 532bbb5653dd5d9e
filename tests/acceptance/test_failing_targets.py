"""A worker dies while it pauses a task whose target fails: its tenant is told all the same."""

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

# Who writes a notice waits for this lock, which the test has.
HOLD = 7_190_421
WAIT = f"""
    CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock({HOLD}); RETURN new; END $$
"""
# The verdict is written, and the pause; the notice is not.
BEFORE_THE_NOTICE = """
    CREATE TRIGGER hold BEFORE INSERT ON tasks_api_task
        FOR EACH ROW WHEN (new.surface = 'notices') EXECUTE FUNCTION hold()
"""
# All is written, and the worker does not learn that it is.
WITHIN_THE_COMMIT = """
    CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON tasks_api_task
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (new.surface = 'notices') EXECUTE FUNCTION hold()
"""
WAITING = """
    SELECT 1 FROM pg_locks
    WHERE locktype = 'advisory' AND objid = %s AND NOT granted
"""


@pytest.mark.parametrize(
    ("moment", "sent"),
    [(BEFORE_THE_NOTICE, 2), (WITHIN_THE_COMMIT, 1)],
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

    with held(harness, moment) as ours:
        task = failing_task(harness, f"{target.url}/failing")
        eventually(lambda: ours.execute(WAITING, [HOLD]).fetchone())
        assert pauses(harness, task) == 0
        harness.stop_process(worker, signal.SIGKILL)
    other = harness.start_part("worker")
    eventually(lambda: [r for r in target.requests if r.path == "/notices"])
    eventually(lambda: harness.count_unfinished_runs() == 0)

    paths = [request.path for request in target.requests]
    assert paths == ["/failing"] * sent + ["/notices"]
    told = json.loads(target.requests[-1].body)
    assert (told["type"], told["data"]["task_id"]) == ("task.paused", task)
    assert pauses(harness, task) == 1
    shown = harness.api.get(f"{harness.url}/tasks/{task}", timeout=10).json()
    assert shown["next_run_datetime"] is None
    assert "HTTP 500" in shown["pause_reason"]
    for part in (other, beat):
        harness.stop_process(part, signal.SIGKILL)


@contextmanager
def held(harness: Harness, moment: str) -> Iterator[psycopg.Connection[Any]]:
    """Whoever writes a notice waits at a moment of its transaction, until the end."""
    with psycopg.connect(harness.postgres.url, autocommit=True) as ours:
        ours.execute(WAIT)
        ours.execute(moment)
        ours.execute("SELECT pg_advisory_lock(%s)", [HOLD])
        try:
            yield ours
        finally:
            ours.execute("SELECT pg_advisory_unlock(%s)", [HOLD])
            ours.execute("DROP FUNCTION hold CASCADE")


def failing_task(harness: Harness, url: str) -> str:
    start = datetime.now(UTC) + timedelta(seconds=2)
    return harness.create_task(
        task_type="periodic",
        frequency=3600,
        start_datetime=start.isoformat(),
        end_datetime=(start + timedelta(days=1)).isoformat(),
        url=url,
        pause_after_failures=1,
    )


def pauses(harness: Harness, task: str) -> int:
    """How often the service says that it paused the task."""
    statement = """
        SELECT count(*) FROM accounts_auditentry
        WHERE action = 'task.pause' AND object_id = %s
    """
    return int(harness.query(statement, task)[0][0])
