"""Advisory locks of PostgreSQL: each kind of thing has keys of its own.

They have 64 bits of a hash that nobody can steer, so no client finds a name that waits for
somebody else's. Locks with keys of two parts, which tell who is present, are a space of
their own in PostgreSQL.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper


class LockKind(StrEnum):
    """What a lock is for, and what its parts are."""

    # A user, and the key.
    IDEMPOTENCY_KEY = "idempotency key"
    # A tenant, a surface, and the name where it is about one.
    NAMES = "names of tasks"
    # A user, a surface, and the tag.
    DECLARATION = "declaration"
    MIGRATION = "migration"


def key_of(kind: LockKind, *parts: int | str) -> int:
    said = json.dumps([kind, *parts]).encode()
    return int.from_bytes(hashlib.sha256(said).digest()[:8], signed=True)


def acquire(kind: LockKind, *parts: int | str) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key_of(kind, *parts)])


def try_acquire(kind: LockKind, *parts: int | str) -> bool:
    """Hold a lock until the transaction ends; False where somebody else has it."""
    return _call(connection, "pg_try_advisory_xact_lock", key_of(kind, *parts))


def try_acquire_for_session(
    on: BaseDatabaseWrapper, kind: LockKind, *parts: int | str
) -> bool:
    """Hold a lock until its release, or the end of the connection."""
    return _call(on, "pg_try_advisory_lock", key_of(kind, *parts))


def release(on: BaseDatabaseWrapper, kind: LockKind, *parts: int | str) -> None:
    _call(on, "pg_advisory_unlock", key_of(kind, *parts))


def _call(on: BaseDatabaseWrapper, function: str, key: int) -> bool:
    with on.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [key])
        [answer] = cursor.fetchone()
    return bool(answer)
