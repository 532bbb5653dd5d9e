"""Processes say that they are alive, by the database's clock."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection

from tasks_api.models import Heartbeat

# Seen within this time, a process counts as alive: three chances to be heard.
ALIVE = timedelta(seconds=15)


def beat(kind: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tasks_api_heartbeat (name, kind, seen_at)
            VALUES (%s, %s, now())
            ON CONFLICT (name) DO UPDATE SET seen_at = now()
            """,
            [name, kind],
        )


def forget(name: str) -> None:
    """A process that stops in good order says goodbye."""
    Heartbeat.objects.filter(name=name).delete()


def census() -> dict[str, dict[str, float | None]]:
    """How many beats and workers are alive, and seconds since the last was seen."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, count(*) FILTER (WHERE seen_at > now() - make_interval(secs => %s)),
                extract(epoch FROM now() - max(seen_at))::float
            FROM tasks_api_heartbeat GROUP BY kind
            """,
            [ALIVE.total_seconds()],
        )
        found = {kind: (alive, age) for kind, alive, age in cursor.fetchall()}
    census = {}
    for kind in ("beat", "worker"):
        alive, age = found.get(kind, (0, None))
        census[f"{kind}s"] = {"alive": alive, "last_seen_seconds": age}
    return census
