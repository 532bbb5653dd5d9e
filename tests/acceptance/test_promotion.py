"""A primary freezes, its standby is promoted, and the frozen one comes back to life."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Harness, eventually, free_port, readiness
from tests.acceptance.postgres_faults import frozen_postgres
from tests.acceptance.replica import TcpPostgres
from tests.acceptance.tasks import (
    count_requests_by_run,
    create_task_at,
    in_seconds,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

# Less than the default timeouts for a server that does not answer.
MAX_GAP = 20.0
FORMER_PRIMARY = "it is a former primary, and nothing is written to it"


_OTHER_SESSIONS = """
    SELECT query FROM pg_stat_activity WHERE backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND application_name <> 'scheduler watch'
"""


class PromotionHarness(Harness):
    """A harness with a primary and a standby, both of which are in DATABASE_URL."""

    def __init__(self, home: Path, standby_home: Path) -> None:
        super().__init__(home)
        self.postgres: TcpPostgres = TcpPostgres(home)
        self.standby = TcpPostgres(standby_home)
        self.standby.primary = self.postgres

    def start(self) -> None:
        self.environment["DATABASE_URL"] = self.postgres.url
        super().start()
        addresses = f"{self.postgres.address},{self.standby.address}"
        self.environment["DATABASE_URL"] = (
            f"postgresql://postgres@{addresses}/scheduler"
            "?target_session_attrs=read-write"
        )
        self.standby_process = self.standby.start()
        self.standby.wait_until_ready(self.standby_process)

    def stop(self) -> None:
        super().stop()
        self.stop_process(self.standby_process, self.standby.stop_signal)


@pytest.fixture
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PromotionHarness]:
    standby_home = tmp_path_factory.mktemp("q")
    standby_home.chmod(0o711)
    started = PromotionHarness(tmp_path_factory.mktemp("p"), standby_home)
    started.start()
    try:
        yield started
    finally:
        started.stop()


def is_caught_up(harness: PromotionHarness) -> bool:
    # What is committed may not be written yet: these servers do not wait for that.
    [(sent,)] = harness.postgres.execute("SELECT pg_current_wal_insert_lsn()")
    [(is_replayed,)] = harness.standby.execute(
        f"SELECT pg_last_wal_replay_lsn() >= '{sent}'::pg_lsn"
    )
    return bool(is_replayed)


def read_state(server: TcpPostgres) -> list[tuple[Any, ...]]:
    """What the service's processes have written, and how recently."""
    return server.execute(
        """
        SELECT 'heartbeats', count(*), max(seen_at)::text FROM tasks_api_heartbeat
        UNION ALL SELECT 'runs', count(*), max(finished_at)::text FROM tasks_api_run
        UNION ALL SELECT 'attempts', count(*), '' FROM tasks_api_all_attempts
        UNION ALL SELECT 'tasks', count(*), max(next_fire_at)::text FROM tasks_api_task
        ORDER BY 1
        """
    )


def have_all_moved_to(server: TcpPostgres, since: datetime) -> bool:
    """Whether it has a heartbeat of each process from after a moment."""
    [(oldest,)] = server.execute("SELECT min(seen_at) FROM tasks_api_heartbeat")
    return bool(oldest > since)


def longest_gap(target: Receiver) -> float:
    return max(b.at - a.at for a, b in pairwise(target.requests))


def test_the_promoted_standby_takes_over_and_the_former_primary_gets_nothing(
    harness: PromotionHarness, lone_target: Receiver
) -> None:
    for part in ("web", "worker", "beat"):
        harness.start_part(part)
    eventually(harness.is_ready)
    for second in range(90):
        create_task_at(harness, f"{lone_target.url}/x", in_seconds(5 + second))
    lone_target.wait_for(2)
    eventually(lambda: is_caught_up(harness))

    with frozen_postgres(harness):
        harness.standby.execute("SELECT pg_promote()")
        promoted = time.time()
        eventually(lambda: lone_target.requests[-1].at > promoted + 3, timeout=60)
        eventually(harness.is_ready)
    # The former primary may still execute what was sent to it before.
    time.sleep(2)
    before = read_state(harness.postgres)
    seen = len(lone_target.requests)
    late = harness.start_part("beat")
    eventually(lambda: harness.is_ready(beats=2))
    for _ in range(5):
        create_task_at(harness, f"{lone_target.url}/new", in_seconds(1))
    eventually(lambda: sum(r.path == "/new" for r in lone_target.requests) == 5)
    lone_target.wait_for(seen + 10, timeout=60)

    assert longest_gap(lone_target) < MAX_GAP
    assert read_state(harness.postgres) == before
    assert late.poll() is None
    # Who connects tries it first, and leaves it at once.
    eventually(lambda: not harness.postgres.execute(_OTHER_SESSIONS))
    assert FORMER_PRIMARY in harness.read_logs()
    assert 1 <= harness.read_logs().count(FORMER_PRIMARY) <= 8


def test_a_process_that_reaches_only_the_former_primary_takes_nothing_from_it(
    harness: PromotionHarness, lone_target: Receiver
) -> None:
    for part in ("web", "worker", "beat"):
        harness.start_part(part)
    eventually(harness.is_ready)
    for _ in range(20):
        create_task_at(harness, f"{lone_target.url}/x", in_seconds(20))
    eventually(lambda: is_caught_up(harness))
    [(promoted_at,)] = harness.standby.execute("SELECT now() FROM pg_promote()")
    eventually(lambda: have_all_moved_to(harness.standby, promoted_at))
    eventually(harness.is_ready)
    before = read_state(harness.postgres)

    cut_off = [
        harness.start_part(part, DATABASE_URL=harness.postgres.url)
        for part in ("worker", "beat")
    ]
    port = free_port()
    harness.start_part("web", DATABASE_URL=harness.postgres.url, PORT=str(port))
    status, found = eventually(lambda: readiness(f"http://127.0.0.1:{port}"))
    lone_target.wait_for(20, timeout=60)
    eventually(lambda: harness.read_logs().count(FORMER_PRIMARY) >= 3)

    assert (status, found["database"]) == (503, "unfit")
    assert FORMER_PRIMARY in found["reason"]
    assert read_state(harness.postgres) == before
    assert set(count_requests_by_run(lone_target.requests).values()) == {1}
    assert [part.poll() for part in cut_off] == [None, None]


def test_a_former_primary_is_accepted_again_on_purpose(
    harness: PromotionHarness,
) -> None:
    harness.standby.execute("SELECT pg_promote()")
    eventually(lambda: harness.manage("migrate", "--check") == "")
    alone = {"DATABASE_URL": harness.postgres.url}
    web = harness.start_part("web", **alone)
    status, _ = eventually(lambda: readiness(harness.url))
    harness.stop_process(web, signal.SIGTERM)

    assert harness.manage("forget_timelines") == "Forgot the timelines of 1 systems."

    harness.start_part("web", **alone)
    again, _ = eventually(lambda: readiness(harness.url))
    assert (status, again) == (503, 200)


def test_a_standby_alone_is_refused_in_a_sentence(harness: PromotionHarness) -> None:
    harness.environment["DATABASE_URL"] = harness.standby.url
    harness.start_part("web")

    status, found = eventually(lambda: readiness(harness.url))

    assert (status, found["database"]) == (503, "unfit")
    assert found["reason"] == (
        f"PostgreSQL at {harness.standby.address} is a standby, and takes no writes."
    )
