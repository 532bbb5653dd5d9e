"""What is kept in a session beyond a transaction is known, and stands where it may.

A pooler may give each transaction another session. So only statements that run on a
direct connection may leave something behind; all others use SET LOCAL and locks that end
with their transaction. Migrations run on a direct connection.
"""

from __future__ import annotations

import re

import pytest

from tests.architecture.folders import MODULES

LEAVES_SOMETHING_BEHIND = re.compile(
    r"""
    \bpg_(?:try_)?advisory_(?:lock|unlock)      # not pg_advisory_xact_lock
    | ["';]\s*SET\ (?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)
    | set_config\([^)]*false
    | \bLISTEN\ [a-z] | \bUNLISTEN\b
    | \bDECLARE\ \w+\ (?:\w+\ )*CURSOR\b | \bWITH\ HOLD\b
    | \bCREATE\ (?:LOCAL\ )?TEMP(?![^;]*\bON\ COMMIT\ DROP\b)
    | ["']\s*PREPARE\ \w
    """,
    re.VERBOSE,
)
# Each runs on a direct connection.
DIRECT_MODULES = {
    "scheduler_service.db.locks",
    "scheduler_service.db.timeouts",
    "scheduler_service.management.commands.migrate",
    "tasks_api.monitoring.heartbeats",
}


def test_only_direct_connections_keep_state_in_their_session() -> None:
    found = {
        name
        for name, path in MODULES.items()
        if LEAVES_SOMETHING_BEHIND.search(path.read_text(encoding="utf-8"))
    }

    assert found == DIRECT_MODULES


@pytest.mark.parametrize(
    ("statement", "is_left"),
    [
        ("SELECT pg_try_advisory_lock(1)", True),
        ("SELECT pg_advisory_xact_lock(1)", False),
        ('"SET statement_timeout = 0"', True),
        ("; SET LOCAL lock_timeout = '2s';", False),
        ("UPDATE x SET state = 'done' WHERE", False),
        ("SELECT set_config('lock_timeout', %s, false)", True),
        ("DECLARE c CURSOR WITH HOLD FOR", True),
        ("CREATE TEMP TABLE x", True),
        ("CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1", False),
    ],
)
def test_what_counts_as_left_behind(statement: str, is_left: bool) -> None:
    assert bool(LEAVES_SOMETHING_BEHIND.search(statement)) is is_left
