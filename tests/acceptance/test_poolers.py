"""Behind a real PgBouncer: session mode works, and transaction mode does with a second URL.

Everything else is refused in a sentence.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import (
    ROOT,
    Harness,
    eventually,
    free_port,
    readiness,
)
from tests.acceptance.pgbouncer import PgBouncer, needs_pgbouncer, running_pgbouncer
from tests.acceptance.tasks import (
    count_requests_by_run,
    create_task_at,
    create_tasks_at,
    in_seconds,
)
from tests.receiver import Receiver

pytestmark = [needs_pgbouncer, pytest.mark.timeout(300)]

ADVICE = "set pool_mode = session"


def read_refusal(
    harness: Harness, bouncer: PgBouncer, *command: str, **settings: str
) -> str:
    """The standard error of a process that ends at its start."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=harness.environment | {"DATABASE_URL": bouncer.url} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode not in (0, -signal.SIGTERM), done
    return done.stderr


@pytest.mark.parametrize(
    ("mode", "command"),
    [
        ("transaction", ("-m", "scheduler_service.web")),
        ("transaction", ("-m", "celery", "-A", "scheduler_service", "worker")),
        ("transaction", ("-m", "celery", "-A", "scheduler_service", "beat")),
        ("transaction", ("manage.py", "migrate", "--wait", "60")),
        ("statement", ("manage.py", "issue_token", "--tenant", "A", "--user", "a")),
    ],
    ids=lambda part: part[-1],
)
def test_a_process_behind_shared_sessions_explains_it_and_ends(
    harness: Harness, tmp_path: Path, mode: str, command: tuple[str, ...]
) -> None:
    with running_pgbouncer(tmp_path, harness.postgres, mode) as bouncer:
        said = read_refusal(harness, bouncer, *command)

    assert ADVICE in said
    assert "Traceback" not in said


def test_readiness_reports_that_a_pooler_began_to_share_sessions(
    harness: Harness, tmp_path: Path
) -> None:
    with running_pgbouncer(tmp_path, harness.postgres, "session") as bouncer:
        port = str(bouncer.port - 1)
        web = harness.start_part("web", DATABASE_URL=bouncer.url, PORT=port)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: (found := readiness(url)) and found[0] == 200)
        bouncer.reconfigure("transaction")
        with psycopg.connect(harness.postgres.url, autocommit=True) as database:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        body = eventually(lambda: read_refused_readiness(url))
        harness.stop_process(web, signal.SIGTERM)

    assert body["database"] == "unfit"
    assert ADVICE in body["reason"]


def count_presences(harness: Harness) -> int:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
    return int(harness.query(held)[0][0])


def test_in_transaction_mode_a_replaced_session_sends_no_run_twice(
    harness: Harness, tmp_path: Path, target: Receiver
) -> None:
    target.answer("/slow", delay=8)
    with running_pgbouncer(tmp_path, harness.postgres, "transaction") as bouncer:
        urls = {
            "DATABASE_URL": bouncer.url,
            "DATABASE_DIRECT_URL": harness.postgres.url,
        }
        parts = [
            harness.start_part(part, **urls)
            for part in ("worker", "worker", "beat", "beat")
        ]
        eventually(lambda: harness.is_ready(workers=2, beats=2))
        create_tasks_at(harness, [(f"{target.url}/slow", in_seconds(3))] * 30)
        target.wait_for(30, timeout=60)
        bouncer.reconnect()
        eventually(lambda: not harness.count_unfinished_runs(), timeout=60)
        presences = count_presences(harness)
        for part in parts:
            harness.stop_process(part, signal.SIGTERM)

    assert presences == 2
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert len(target.requests) == 30


def test_in_transaction_mode_web_and_commands_work(
    harness: Harness, tmp_path: Path
) -> None:
    port = free_port()
    with running_pgbouncer(tmp_path, harness.postgres, "transaction", 4) as bouncer:
        urls = {
            "DATABASE_URL": bouncer.url,
            "DATABASE_DIRECT_URL": harness.postgres.url,
        }
        web = harness.start_part("web", PORT=str(port), **urls)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: (found := readiness(url)) and found[0] == 200)
        answers = [
            harness.api.get(f"{url}/tasks/", timeout=10).status_code for _ in range(50)
        ]
        for command in (("migrate",), ("audit", "--tenant", "Alpha")):
            harness.manage(*command, **urls)
        harness.stop_process(web, signal.SIGTERM)

    assert set(answers) == {200}


def make_other_database(harness: Harness) -> str:
    """A database of the same release without tenants; its URL."""
    postgres = harness.postgres.url
    other = postgres.replace("/scheduler?", "/other?")
    with psycopg.connect(postgres.replace("/scheduler?", "/postgres?")) as server:
        server.autocommit = True
        server.execute("CREATE DATABASE other")
    harness.manage("migrate", DATABASE_URL=other)
    return other


def test_in_transaction_mode_a_tenant_moves(harness: Harness, tmp_path: Path) -> None:
    other = make_other_database(harness)
    with running_pgbouncer(tmp_path, harness.postgres, "transaction", 4) as bouncer:
        urls = {
            "DATABASE_URL": bouncer.url,
            "DATABASE_DIRECT_URL": harness.postgres.url,
        }
        for command in (
            ("issue_token", "--tenant", "Mover", "--user", "mia"),
            ("move_tenant", "Mover", "--to", other),
            ("forget_moved_tenant", "Mover", "--yes"),
        ):
            harness.manage(*command, **urls)

    with psycopg.connect(other) as session:
        moved = session.execute("SELECT name FROM accounts_tenant").fetchall()
    assert moved == [("Mover",)]


@pytest.mark.parametrize(
    ("mode", "direct", "advice"),
    [
        ("transaction", "{bouncer}", "DATABASE_DIRECT_URL leads to a pooler"),
        ("statement", "{postgres}", "gives the statements of one transaction"),
        ("transaction", "{other}", "names another database than DATABASE_URL"),
    ],
)
def test_two_urls_that_do_not_fit_are_refused(
    harness: Harness, tmp_path: Path, mode: str, direct: str, advice: str
) -> None:
    postgres = harness.postgres.url
    with running_pgbouncer(tmp_path, harness.postgres, mode) as bouncer:
        url = direct.format(
            bouncer=bouncer.url,
            postgres=postgres,
            other=postgres.replace("/scheduler?", "/postgres?"),
        )
        said = read_refusal(
            harness,
            bouncer,
            *("-m", "celery", "-A", "scheduler_service", "beat"),
            DATABASE_DIRECT_URL=url,
        )

    assert advice in said
    assert "Traceback" not in said


def read_refused_readiness(url: str) -> dict[str, Any] | None:
    status, body = readiness(url) or (0, {})
    return body if status == 503 else None


def test_in_session_mode_everything_works(
    harness: Harness, tmp_path: Path, target: Receiver
) -> None:
    with running_pgbouncer(tmp_path, harness.postgres, "session") as bouncer:
        parts = [
            harness.start_part(part, DATABASE_URL=bouncer.url)
            for part in ("worker", "beat")
        ]
        create_task_at(harness, f"{target.url}/x", in_seconds(2))
        target.wait_for(1, timeout=60)
        eventually(lambda: not harness.count_unfinished_runs())
        locks = harness.query(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        )
        for part in parts:
            harness.stop_process(part, signal.SIGTERM)

    assert locks[0][0] >= 1


def test_a_pooler_without_a_free_session_is_accepted(
    harness: Harness, tmp_path: Path
) -> None:
    with running_pgbouncer(tmp_path, harness.postgres, "session", size=1) as bouncer:
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--check"],
            cwd=ROOT,
            env=harness.environment | {"DATABASE_URL": bouncer.url},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr
