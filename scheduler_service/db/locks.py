"""Advisory locks of PostgreSQL, with separate keys for each kind of lock.

A key is 64 bits of a hash, so no client can choose a name whose lock collides with that
of another one. The presence locks of workers have keys of two parts, which PostgreSQL
keeps apart.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper


class LockKind(StrEnum):
    """What a lock protects; the comments name the parts of its key."""

    # A user, and the key.
    IDEMPOTENCY_KEY = "idempotency key"
    # A tenant, a surface, and the name where it is about one.
    NAMES = "names of tasks"
    # A user, a surface, and the tag.
    DECLARATION = "declaration"
    MIGRATION = "migration"
    # In the directory of cells, which is a database of its own.
    DIRECTORY = "changes of the directory"
    PARTITIONS = "partitions of history"
    # A tenant.
    ROLLUPS = "rollups"
    # A tenant.
    QUOTA = "quota of tasks"
    # A lane.
    ADMISSION = "admission to a lane"
    # One beat at a time does what each of them could do.
    RESCUE = "rescue of runs"
    OVERDUE_TASKS = "runs of overdue tasks"
    DEADLINES = "deadlines of long work"
    LAPSED_BOUNDS = "tasks whose bounds lapsed"
    # A tenant. The process that moves it holds the lock, at the source for its session and
    # at the target for the transaction in which the tenant arrives.
    MOVE = "move of a tenant"
    # The process that splits the cell holds it for its session.
    SPLIT = "split of the cell"
    # A calendar. Who writes references to its version shares the lock; who makes a new
    # version holds it alone.
    CALENDAR = "versions of a calendar"


# Waits for the lock of a key, and holds it until the transaction ends.
ACQUIRE = "SELECT pg_advisory_xact_lock(%s)"
_TRY_TURN = """
    SELECT pg_try_advisory_xact_lock(%s)
    FROM set_config('idle_in_transaction_session_timeout', '2s', true)
"""
# A condition: whether the statement holds the lock of the key `turn` now, as above.
HAS_TURN = "(SELECT pg_try_advisory_xact_lock(%(turn)s))"


def key_of(kind: LockKind, *parts: int | str) -> int:
    text = json.dumps([kind, *parts]).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], signed=True)


def acquire(kind: LockKind, *parts: int | str) -> None:
    """Wait for a lock and hold it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(ACQUIRE, [key_of(kind, *parts)])


def try_acquire(kind: LockKind, *parts: int | str) -> bool:
    """Hold a lock until the transaction ends; False if another session has it."""
    return _call(connection, "pg_try_advisory_xact_lock", key_of(kind, *parts))


def try_turn(kind: LockKind) -> bool:
    """Hold a lock as try_acquire() does, for work that any process may do.

    A process that freezes while it has its turn soon gives it to another one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TRY_TURN, [key_of(kind)])
        [has_turn] = cursor.fetchone()
    return bool(has_turn)


def try_share(kind: LockKind, *parts: int | str) -> bool:
    """Hold a lock together with others who share it; False if a session has it alone."""
    return _call(connection, "pg_try_advisory_xact_lock_shared", key_of(kind, *parts))


def try_acquire_for_session(
    on: BaseDatabaseWrapper, kind: LockKind, *parts: int | str
) -> bool:
    """Hold a lock until `release` or the end of the connection; False as above."""
    return _call(on, "pg_try_advisory_lock", key_of(kind, *parts))


def release(on: BaseDatabaseWrapper, kind: LockKind, *parts: int | str) -> None:
    _call(on, "pg_advisory_unlock", key_of(kind, *parts))


def _call(on: BaseDatabaseWrapper, function: str, key: int) -> bool:
    with on.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [key])
        [answer] = cursor.fetchone()
    return bool(answer)
