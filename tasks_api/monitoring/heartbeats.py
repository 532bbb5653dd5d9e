"""Heartbeats of beats and workers, by the database's clock; presences of workers."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduler_service.db.direct import direct
from scheduler_service.db.statements import prepared
from tasks_api.models import Heartbeat

# A process counts as alive for this long after a heartbeat: three heartbeats fit in.
ALIVE_FOR = timedelta(seconds=15)
# A presence lock has two keys: this one, and the presence. The locks with one key, in
# locks.py, cannot clash with them.
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
    """Delete the heartbeat of a process that stops in good order."""
    Heartbeat.objects.filter(name=name).delete()


class Presence:
    """A lock that PostgreSQL releases when the process of its holder dies.

    A frozen or disconnected process may keep it; only an expired lease shows that.
    """

    def __init__(self) -> None:
        self.key = random.randrange(1, 2**31)  # noqa: S311 (distinct, not secret)
        self._session: object = None

    def keep(self) -> None:
        """Hold the lock; again, and at once, if its session was lost."""
        connection = direct()
        try:
            self._keep(connection)
        except DatabaseError:
            connection.close()
            self._keep(connection)

    def _keep(self, connection: BaseDatabaseWrapper) -> None:
        connection.ensure_connection()
        is_held = self._session is connection.connection
        with prepared(on=connection) as cursor:
            if is_held:
                cursor.execute("SELECT 1")
                return
            # An earlier session of this process may still hold the lock, which
            # suffices.
            cursor.execute(
                "SELECT pg_try_advisory_lock(%s, %s)", [PRESENCE_LOCK, self.key]
            )
            [is_taken] = cursor.fetchone()
        self._session = connection.connection if is_taken else None


def find_absent() -> set[int]:
    """Return the presences of heartbeats whose locks no session holds."""
    with prepared(on=direct()) as cursor:
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
    """Count the beats and workers alive, with seconds since the last heartbeat."""
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
