"""A primary freezes, its standby is promoted, and the frozen one comes back to life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from scheduler_service.local.postgres import Postgres
from tests.acceptance.stand import Stand, eventually, free_port, readiness
from tests.acceptance.test_postgres import frozen
from tests.acceptance.test_processes import one_time, soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

# Less than a server takes that says nothing: with the limits of who changes nothing.
GAP = 20.0
FORMER = "it is a former primary, and nothing is written to it"


class OnTCP(Postgres):
    """Found by host and port, as an operator's servers are."""

    SETTINGS: ClassVar[dict[str, str]] = Postgres.SETTINGS | {
        "listen_addresses": "127.0.0.1"
    }

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=False)
        self.port = free_port()
        self.place = f"127.0.0.1:{self.port}"
        self.url = f"postgresql://postgres@{self.place}/scheduler"

    def command(self) -> list[str]:
        return [*super().command(), "-p", str(self.port)]

    def ask(self, statement: str) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement).fetchall()


class Standby(OnTCP):
    def __init__(self, home: Path, primary: OnTCP) -> None:
        super().__init__(home)
        self.primary = primary

    def _create_data(self) -> None:
        self._run(
            "pg_basebackup",
            f"--pgdata={self.data}",
            f"--dbname={self.primary.url}",
            "--write-recovery-conf",
            "--checkpoint=fast",
        )


@pytest.fixture
def target() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Servers alone: a primary and its standby, both in DATABASE_URL."""
    made = Stand(tmp_path_factory.mktemp("p"))
    made.postgres = primary = OnTCP(made.home)
    home = tmp_path_factory.mktemp("q")
    home.chmod(0o711)
    made.standby = standby = Standby(home, primary)
    made.environment |= {
        "DATABASE_URL": f"postgresql://postgres@{primary.place},{standby.place}"
        "/scheduler?target_session_attrs=read-write"
    }
    made.environment["DATABASE_URL"], both = (
        primary.url,
        made.environment["DATABASE_URL"],
    )
    made.start()
    made.environment["DATABASE_URL"] = both
    process = standby.start()
    standby.wait_until_ready(process)
    try:
        yield made
    finally:
        made.stop()
        made.end(process, standby.stop_signal)


def caught_up(stand: Stand) -> bool:
    [(sent,)] = stand.postgres.ask("SELECT pg_current_wal_lsn()")
    [(is_there,)] = stand.standby.ask(
        f"SELECT pg_last_wal_replay_lsn() >= '{sent}'::pg_lsn"
    )
    return bool(is_there)


def written(server: OnTCP) -> Any:
    """What our processes leave behind, and with which transaction."""
    return server.ask(
        """
        SELECT 'heartbeats', count(*), max(seen_at)::text FROM tasks_api_heartbeat
        UNION ALL SELECT 'runs', count(*), max(finished_at)::text FROM tasks_api_run
        UNION ALL SELECT 'attempts', count(*), '' FROM tasks_api_attempt
        UNION ALL SELECT 'tasks', count(*), max(next_fire_at)::text FROM tasks_api_task
        ORDER BY 1
        """
    )


def longest_gap(target: Receiver) -> float:
    return max(b.at - a.at for a, b in pairwise(target.requests))


def test_the_promoted_standby_takes_over_and_the_former_primary_gets_nothing(
    stand: Stand, target: Receiver
) -> None:
    for part in ("web", "worker", "beat"):
        stand.run(part)
    eventually(stand.is_ready)
    for second in range(90):
        one_time(stand, f"{target.url}/x", soon(5 + second))
    target.wait_for(2)
    eventually(lambda: caught_up(stand))

    with frozen(stand):
        stand.standby.ask("SELECT pg_promote()")
        promoted = time.time()
        eventually(lambda: target.requests[-1].at > promoted + 3, timeout=60)
        eventually(stand.is_ready)
    # What was on its way to the frozen server may still be carried out there.
    time.sleep(2)
    before = written(stand.postgres)
    seen = len(target.requests)
    late = stand.run("beat")
    eventually(lambda: stand.is_ready(beats=2))
    kept = [one_time(stand, f"{target.url}/new", soon(1)) for _ in range(5)]
    eventually(lambda: sum(r.path == "/new" for r in target.requests) == len(kept))
    target.wait_for(seen + 10, timeout=60)

    assert longest_gap(target) < GAP
    assert written(stand.postgres) == before
    assert late.poll() is None
    assert not stand.postgres.ask(
        "SELECT query FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() AND application_name <> 'scheduler watch'"
    )
    assert FORMER in stand.logs()
    assert 1 <= stand.logs().count(FORMER) <= 8


def test_a_standby_alone_is_refused_in_a_sentence(stand: Stand) -> None:
    stand.environment["DATABASE_URL"] = stand.standby.url
    stand.run("web")

    status, found = eventually(lambda: readiness(stand.url))

    assert (status, found["database"]) == (503, "unfit")
    assert found["reason"] == (
        f"PostgreSQL at {stand.standby.place} is a standby, and takes no writes."
    )
