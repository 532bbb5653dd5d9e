"""Processes say that they are alive, by the database's clock, and workers by a lock."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import timedelta

from django.db import connection

from scheduler_service.db.statements import prepared
from tasks_api.models import Heartbeat

# Seen within this time, a process counts as alive: three chances to be heard.
ALIVE_FOR = timedelta(seconds=15)
# The first of the two keys of such a lock; the second is a presence. Those with one key are
# in locks.py, and a space of their own.
PRESENCE_LOCK = 0x5C4ED


def record_heartbeat(kind: str, name: str, *, presence: int | None = None) -> None:
    with prepared() as cursor:
        cursor.execute(
            """
            INSERT INTO tasks_api_heartbeat (name, kind, presence, seen_at)
            VALUES (%s, %s, %s, now())
            ON CONFLICT (name) DO UPDATE SET seen_at = now()
            """,
            [name, kind, presence],
        )


def remove(name: str) -> None:
    """A process that stops in good order says goodbye."""
    Heartbeat.objects.filter(name=name).delete()


class Presence:
    """A lock that PostgreSQL lets go of in the moment in which its holder dies.

    A process that is frozen or cut off keeps it: that, only a lease that runs out can
    tell.
    """

    def __init__(self) -> None:
        self.key = random.randrange(1, 2**31)  # noqa: S311 (distinct, not secret)
        self._session: object = None

    def keep(self) -> None:
        """Hold it on this thread's connection, and find out whether that one lives."""
        connection.ensure_connection()
        is_held = self._session is connection.connection
        with prepared() as cursor:
            if is_held:
                cursor.execute("SELECT 1")
                return
            # An earlier session of ours may still hold it; then we are present by that.
            cursor.execute(
                "SELECT pg_try_advisory_lock(%s, %s)", [PRESENCE_LOCK, self.key]
            )
            [is_taken] = cursor.fetchone()
        self._session = connection.connection if is_taken else None


def find_absent() -> set[int]:
    """The presences that were announced, and that nobody holds."""
    with prepared() as cursor:
        cursor.execute(
            """
            SELECT presence FROM tasks_api_heartbeat
            WHERE presence IS NOT NULL AND presence NOT IN (
                SELECT objid::bigint FROM pg_locks
                WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2
                    AND database = (
                        SELECT oid FROM pg_database WHERE datname = current_database()))
            """,
            [PRESENCE_LOCK],
        )
        return {presence for (presence,) in cursor.fetchall()}


def remove_absent(presences: Collection[int]) -> None:
    Heartbeat.objects.filter(presence__in=presences).delete()


def count_alive() -> dict[str, dict[str, float | None]]:
    """How many beats and workers are alive, and seconds since the last was seen."""
    with prepared() as cursor:
        cursor.execute(
            """
            SELECT kind, count(*) FILTER (WHERE seen_at > now() - make_interval(secs => %s)),
                extract(epoch FROM now() - max(seen_at))::float
            FROM tasks_api_heartbeat GROUP BY kind
            """,
            [ALIVE_FOR.total_seconds()],
        )
        found = {kind: (alive, age) for kind, alive, age in cursor.fetchall()}
    census = {}
    for kind in ("beat", "worker"):
        alive, age = found.get(kind, (0, None))
        census[f"{kind}s"] = {"alive": alive, "last_seen_seconds": age}
    return census
