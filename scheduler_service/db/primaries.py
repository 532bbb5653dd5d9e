"""Which server is the primary, and which one was: PostgreSQL counts promotions.

A primary that froze while a standby was promoted in its place does not know that it is
none any more: it takes writes, and they are lost. The count is the timeline of a system.
Each process remembers the newest one that it has met, and writes to no older one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple, NewType

import psycopg

logger = logging.getLogger(__name__)

Place = NewType("Place", str)

# How often each host of a URL with several is looked at, and how long it may take.
LOOK = 1.0
PATIENCE = 2.0
FACTS = """
SELECT pg_backend_pid(), pg_is_in_recovery(),
    current_setting('transaction_read_only') = 'on',
    (SELECT system_identifier FROM pg_control_system()),
    CASE WHEN NOT pg_is_in_recovery() THEN
        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
"""
# What also those tell that are no PostgreSQL in every detail.
FEWER = """
SELECT pg_backend_pid(), pg_is_in_recovery(),
    current_setting('transaction_read_only') = 'on', NULL, NULL
"""
STANDBY = "PostgreSQL at %s is a standby, and takes no writes."
READ_ONLY = "PostgreSQL at %s takes no writes: default_transaction_read_only is on."
FORMER = (
    "PostgreSQL at %s is on timeline %d, and there is a server on timeline %d: it is a "
    "former primary, and nothing is written to it. Make it a standby, or stop it."
)


class Unfit(psycopg.OperationalError):
    """Why a session cannot be worked in, in a sentence."""


class Facts(NamedTuple):
    backend_pid: int
    is_standby: bool
    is_read_only: bool
    system: int | None
    timeline: int | None


class Known:
    """The newest timeline of each system that this process has met, and where it was."""

    def __init__(self) -> None:
        self.home = Place("")
        self._newest: dict[int, int] = {}

    def meet(self, place: Place, facts: Facts) -> None:
        if facts.system is None or facts.timeline is None:
            return
        if facts.timeline >= self._newest.get(facts.system, 0):
            self._newest[facts.system] = facts.timeline
            self.home = place

    def objection(self, place: Place, facts: Facts) -> str:
        """Why nothing may be written to who told these facts; empty if it may."""
        if facts.system is None or facts.timeline is None:
            return ""
        newest = self._newest.get(facts.system, 0)
        if facts.timeline >= newest:
            return ""
        return FORMER % (place, facts.timeline, newest)


known = Known()


def complaint(place: Place, facts: Facts) -> str:
    if facts.is_standby:
        return STANDBY % place
    if facts.is_read_only:
        return READ_ONLY % place
    return known.objection(place, facts)


def facts_of(raw: Any) -> Facts:
    try:
        return Facts(*ask(raw, FACTS))
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        return Facts(*ask(raw, FEWER))


def ask(raw: Any, statement: str) -> tuple[Any, ...]:
    """The row of a statement, which is asked in a transaction of its own."""
    before, raw.autocommit = raw.autocommit, True
    try:
        cursor = psycopg.Cursor(raw).execute(statement, prepare=False)
        row: tuple[Any, ...] | None = cursor.fetchone()
    finally:
        if not raw.closed:
            raw.autocommit = before
    assert row is not None
    return row


def impatient(raw: Any, seconds: float) -> None:
    """Let a connection wait no longer than this for an answer."""
    itself, wait = weakref.proxy(raw), type(raw).wait
    raw.wait = lambda talk, *args, **kwargs: wait(
        itself, talk, *args, **{**kwargs, "timeout": seconds}
    )


class _Watch(threading.Thread):
    """Looks at each host of a URL, so that a promotion is known before its predecessor thaws."""

    def __init__(self, choices: Mapping[Place, Mapping[str, Any]]) -> None:
        super().__init__(name="primaries", daemon=True)
        self.process = os.getpid()
        self._choices = choices
        self._open: dict[Place, Any] = {}

    def run(self) -> None:
        while True:
            time.sleep(LOOK)
            self.look()

    def look(self) -> None:
        for place, params in self._choices.items():
            self._look(place, params)

    def _look(self, place: Place, params: Mapping[str, Any]) -> None:
        try:
            facts = facts_of(self._session(place, params))
        except (psycopg.Error, OSError) as error:
            # OSError where this machine lacks files: they may be there the next time.
            logger.debug("PostgreSQL at %s does not answer: %s", place, error)
            if raw := self._open.pop(place, None):
                raw.close()
            return
        if not facts.is_standby and not facts.is_read_only:
            known.meet(place, facts)

    def _session(self, place: Place, params: Mapping[str, Any]) -> Any:
        if place not in self._open:
            raw = psycopg.connect(**params)
            impatient(raw, PATIENCE)
            self._open[place] = raw
        return self._open[place]


_watch: _Watch | None = None
_starting = threading.Lock()


def keep_watch(choices: Mapping[Place, Mapping[str, Any]]) -> None:
    """Look at these places, and have a thread go on with it, once in each process."""
    global _watch
    with _starting:
        # A fork inherits no threads.
        if _watch is None or _watch.process != os.getpid():
            _watch = _Watch(
                {place: _for_watching(each) for place, each in choices.items()}
            )
            # A process that starts beside a former primary must not begin there.
            _watch.look()
            _watch.start()


def _for_watching(params: Mapping[str, Any]) -> dict[str, Any]:
    ours = {"connect_timeout": int(PATIENCE), "application_name": "scheduler watch"}
    # A standby is looked at, too: it may be the next primary.
    not_here = {"cursor_factory", "context", "target_session_attrs"}
    return {name: params[name] for name in params.keys() - not_here} | ours
