"""Keep the gaps in the work of workers and beats, for the answers to "why".

The row of the open gap holds the moment when a process of its kind was last at work. So
a gap survives the crash of all processes: the first one after it sees how long it was.
"""

from __future__ import annotations

import time

from scheduler_service.db.statements import prepared
from tasks_api.domain.why.facts import SHORTEST_GAP
from tasks_api.models import HeartbeatGap
from tasks_api.monitoring import gap_statements

Kind = HeartbeatGap.Kind
# Seconds between two notes of a process.
NOTE_INTERVAL = 1.0


class WorkNotes:
    """Notes, once a second, that this process is at work and reaches the database.

    A gap is kept if it is longer than SHORTEST_GAP, which a slow statement is not, or if
    PostgreSQL was started in it.
    """

    def __init__(self, kind: HeartbeatGap.Kind) -> None:
        self._kind = kind
        self._has_noted = False
        self._next_at = 0.0

    def note(self) -> None:
        if time.monotonic() < self._next_at:
            return
        values: dict[str, str | float | bool] = {
            "kind": self._kind.value,
            "shortest": SHORTEST_GAP.total_seconds(),
            "is_survived": self._has_noted,
        }
        with prepared() as cursor:
            cursor.execute(gap_statements.NOTE_WORK, values)
        self._has_noted = True
        self._next_at = time.monotonic() + NOTE_INTERVAL


class BrokerGap:
    """Notes when this process can ring no bell, and when it can again.

    Only a change is written, so a broker that works costs nothing.
    """

    def __init__(self) -> None:
        self._has_rung: bool | None = None

    def note(self, *, has_rung: bool) -> None:
        if has_rung == self._has_rung:
            return
        statement = gap_statements.END_GAP if has_rung else gap_statements.OPEN_GAP
        with prepared() as cursor:
            cursor.execute(statement, {"kind": Kind.BROKER.value})
        self._has_rung = has_rung
