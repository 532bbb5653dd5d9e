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

HostPort = NewType("Place", str)

# How often each host of a URL with several is looked at, and how long it may take.
WATCH_INTERVAL = 1.0
WATCH_TIMEOUT = 2.0
LOAD_SERVER_STATE = """
SELECT pg_backend_pid(), pg_is_in_recovery(),
    current_setting('transaction_read_only') = 'on',
    (SELECT system_identifier FROM pg_control_system()),
    CASE WHEN NOT pg_is_in_recovery() THEN
        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
"""
# What also those tell that are no PostgreSQL in every detail.
LOAD_BASIC_STATE = """
SELECT pg_backend_pid(), pg_is_in_recovery(),
    current_setting('transaction_read_only') = 'on', NULL, NULL
"""
STANDBY = "PostgreSQL at %s is a standby, and takes no writes."
READ_ONLY = "PostgreSQL at %s takes no writes: default_transaction_read_only is on."
FORMER_PRIMARY = (
    "PostgreSQL at %s is on timeline %d, and there is a server on timeline %d: it is a "
    "former primary, and nothing is written to it. Make it a standby, or stop it."
)


class UnusableSession(psycopg.OperationalError):
    """Why a session cannot be worked in, in a sentence."""


class ServerState(NamedTuple):
    backend_pid: int
    is_standby: bool
    is_read_only: bool
    system: int | None
    timeline: int | None


class NewestTimelines:
    """The newest timeline of each system that this process has met, and where it was."""

    def __init__(self) -> None:
        self.home = HostPort("")
        self._newest: dict[int, int] = {}

    def meet(self, place: HostPort, facts: ServerState) -> None:
        if facts.system is None or facts.timeline is None:
            return
        if facts.timeline >= self._newest.get(facts.system, 0):
            self._newest[facts.system] = facts.timeline
            self.home = place

    def find_problem(self, place: HostPort, facts: ServerState) -> str:
        """Why nothing may be written to who told these facts; empty if it may."""
        if facts.system is None or facts.timeline is None:
            return ""
        newest = self._newest.get(facts.system, 0)
        if facts.timeline >= newest:
            return ""
        return FORMER_PRIMARY % (place, facts.timeline, newest)


newest = NewestTimelines()


def find_problem(place: HostPort, facts: ServerState) -> str:
    if facts.is_standby:
        return STANDBY % place
    if facts.is_read_only:
        return READ_ONLY % place
    return newest.find_problem(place, facts)


def load_server_state(raw: Any) -> ServerState:
    try:
        return ServerState(*fetch_row(raw, LOAD_SERVER_STATE))
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        return ServerState(*fetch_row(raw, LOAD_BASIC_STATE))


def fetch_row(raw: Any, statement: str) -> tuple[Any, ...]:
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


class _PrimaryWatcher(threading.Thread):
    """Looks at each host of a URL, so that a promotion is known before its predecessor thaws."""

    def __init__(self, choices: Mapping[HostPort, Mapping[str, Any]]) -> None:
        super().__init__(name="primaries", daemon=True)
        self.process = os.getpid()
        self._choices = choices
        self._open: dict[HostPort, Any] = {}

    def run(self) -> None:
        while True:
            time.sleep(WATCH_INTERVAL)
            self.look()

    def look(self) -> None:
        for place, params in self._choices.items():
            self._look(place, params)

    def _look(self, place: HostPort, params: Mapping[str, Any]) -> None:
        try:
            facts = load_server_state(self._session(place, params))
        except (psycopg.Error, OSError) as error:
            # OSError where this machine lacks files: they may be there the next time.
            logger.debug("PostgreSQL at %s does not answer: %s", place, error)
            if raw := self._open.pop(place, None):
                raw.close()
            return
        if not facts.is_standby and not facts.is_read_only:
            newest.meet(place, facts)

    def _session(self, place: HostPort, params: Mapping[str, Any]) -> Any:
        if place not in self._open:
            raw = psycopg.connect(**params)
            impatient(raw, WATCH_TIMEOUT)
            self._open[place] = raw
        return self._open[place]


_watcher: _PrimaryWatcher | None = None
_starting = threading.Lock()


def start_watching(choices: Mapping[HostPort, Mapping[str, Any]]) -> None:
    """Look at these places, and have a thread go on with it, once in each process."""
    global _watcher
    with _starting:
        # A fork inherits no threads.
        if _watcher is None or _watcher.process != os.getpid():
            _watcher = _PrimaryWatcher(
                {place: _watch_parameters(each) for place, each in choices.items()}
            )
            # A process that starts beside a former primary must not begin there.
            _watcher.look()
            _watcher.start()


def _watch_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    ours = {
        "connect_timeout": int(WATCH_TIMEOUT),
        "application_name": "scheduler watch",
    }
    # A standby is looked at, too: it may be the next primary.
    not_here = {"cursor_factory", "context", "target_session_attrs"}
    return {name: params[name] for name in params.keys() - not_here} | ours
