"""Tell the primary from a former primary, by the timeline that each promotion increases.

A primary that froze while a standby was promoted does not know that it was replaced: it
takes writes, which are lost. Each process remembers the newest timeline of a system that
it or, as Redis tells, another process has seen, and writes to no server on an older one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, NewType, TypeVar

import psycopg
from django.conf import settings
from psycopg.rows import RowFactory, class_row, scalar_row

from scheduler_service.compat.psycopg_wait import set_wait_timeout
from scheduler_service.db import shared_timelines
from scheduler_service.db.server_statements import (
    HAS_CELL,
    LOAD_BASIC_STATE,
    LOAD_CELL,
    LOAD_SERVER_STATE,
)

logger = logging.getLogger(__name__)

HostPort = NewType("HostPort", str)
AnyRow = TypeVar("AnyRow")

# Seconds between looks at each host of a URL with several, and for an answer.
WATCH_INTERVAL = 1.0
WATCH_TIMEOUT = 2.0
STANDBY = "PostgreSQL at %s is a standby, and takes no writes."
READ_ONLY = "PostgreSQL at %s takes no writes: default_transaction_read_only is on."
OTHER_CELL = "PostgreSQL at %s is of the cell %s, and SCHEDULER_CELL is %s."
FORMER_PRIMARY = (
    "PostgreSQL at %s is on timeline %d, and there is a server on timeline %d: it is a "
    "former primary, and nothing is written to it. Make it a standby, or stop it."
)


class UnusableSession(psycopg.OperationalError):
    """The session cannot be used; the text says why."""


class ServerState(NamedTuple):
    backend_pid: int
    is_standby: bool
    is_read_only: bool
    system: int | None
    timeline: int | None
    # The cell that the database says it is of; empty: it says nothing.
    cell: str = ""

    @property
    def is_of_other_cell(self) -> bool:
        """Whether another cell owns it: both were copies of one server before a split."""
        return bool(self.cell) and self.cell != settings.SCHEDULER_CELL


class NewestTimelines:
    """The newest timeline of each system that this process knows, and its server."""

    def __init__(self) -> None:
        self.primary = HostPort("")
        # What the watcher saw last at each place.
        self.latest: dict[HostPort, ServerState] = {}
        self._newest: dict[int, int] = {}

    def record(self, server: HostPort, state: ServerState) -> None:
        if state.system is None or state.timeline is None or state.is_of_other_cell:
            return
        if state.timeline >= self._newest.get(state.system, 0):
            self._newest[state.system] = state.timeline
            self.primary = server

    def compare_with_others(self, state: ServerState | None = None) -> None:
        """Tell the other processes of this service what is known, and learn what they know."""
        known = dict(self._newest)
        if (
            state is not None
            and state.system is not None
            and not state.is_of_other_cell
        ):
            known[state.system] = max(state.timeline or 0, known.get(state.system, 0))
        for system, timeline in known.items():
            newest = shared_timelines.exchange(system, timeline)
            self._newest[system] = max(newest, self._newest.get(system, 0))

    def find_problem(self, server: HostPort, state: ServerState) -> str:
        """Why nothing may be written to this server; empty if it may."""
        if state.system is None or state.timeline is None:
            return ""
        newest = self._newest.get(state.system, 0)
        if state.timeline >= newest:
            return ""
        return FORMER_PRIMARY % (server, state.timeline, newest)


newest_timelines = NewestTimelines()


def find_problem(server: HostPort, state: ServerState) -> str:
    if state.is_standby:
        return STANDBY % server
    if state.is_read_only:
        return READ_ONLY % server
    if state.is_of_other_cell:
        return OTHER_CELL % (server, state.cell, settings.SCHEDULER_CELL)
    return newest_timelines.find_problem(server, state)


def load_server_state(raw: Any) -> ServerState:
    state = _load_server_state(raw)
    return state._replace(cell=_load_cell(raw)) if settings.SCHEDULER_CELL else state


def _load_server_state(raw: Any) -> ServerState:
    try:
        return fetch_row(raw, LOAD_SERVER_STATE, class_row(ServerState))
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        return fetch_row(raw, LOAD_BASIC_STATE, class_row(ServerState))


def _load_cell(raw: Any) -> str:
    # A database that is to be migrated has no table of it.
    is_there: bool = fetch_row(raw, HAS_CELL, scalar_row)
    return fetch_row(raw, LOAD_CELL, scalar_row) if is_there else ""


def fetch_row(raw: Any, statement: str, row_factory: RowFactory[AnyRow]) -> AnyRow:
    """The row of a statement, which runs in a transaction of its own."""
    before, raw.autocommit = raw.autocommit, True
    try:
        cursor = psycopg.Cursor(raw, row_factory=row_factory)
        row = cursor.execute(statement, prepare=False).fetchone()
    finally:
        if not raw.closed:
            raw.autocommit = before
    assert row is not None
    return row


class _PrimaryWatcher(threading.Thread):
    """Looks at the hosts of URLs, to learn of a promotion before the former primary thaws."""

    def __init__(self, choices: Mapping[HostPort, Mapping[str, Any]]) -> None:
        super().__init__(name="primaries", daemon=True)
        self.process = os.getpid()
        self._choices = dict(choices)
        self._open: dict[HostPort, Any] = {}
        # A new URL is looked at by the thread that opens its first session.
        self._looking = threading.Lock()

    def add(self, choices: Mapping[HostPort, Mapping[str, Any]]) -> None:
        """Look at more hosts, now for the first time."""
        if choices.keys() - self._choices.keys():
            self._choices = {**choices, **self._choices}
            self.look_at_all()

    def run(self) -> None:
        while True:
            time.sleep(WATCH_INTERVAL)
            self.look_at_all()

    def look_at_all(self) -> None:
        with self._looking:
            for server, params in self._choices.items():
                self._look(server, params)
        newest_timelines.compare_with_others()

    def _look(self, server: HostPort, params: Mapping[str, Any]) -> None:
        try:
            state = load_server_state(self._session(server, params))
        except (psycopg.Error, OSError) as error:
            # OSError if the limit on open files is reached; that may pass.
            logger.debug("PostgreSQL at %s does not answer: %s", server, error)
            if raw := self._open.pop(server, None):
                raw.close()
            return
        newest_timelines.latest[server] = state
        if not state.is_standby and not state.is_read_only:
            newest_timelines.record(server, state)

    def _session(self, server: HostPort, params: Mapping[str, Any]) -> Any:
        if server not in self._open:
            raw = psycopg.connect(**params)
            set_wait_timeout(raw, WATCH_TIMEOUT)
            self._open[server] = raw
        return self._open[server]


_watcher: _PrimaryWatcher | None = None
_starting = threading.Lock()


def start_watching(choices: Mapping[HostPort, Mapping[str, Any]]) -> None:
    """Look at these servers now, and from now on in one thread of each process."""
    global _watcher
    watched = {server: _watch_parameters(each) for server, each in choices.items()}
    with _starting:
        # A fork inherits no threads.
        if _watcher is None or _watcher.process != os.getpid():
            _watcher = _PrimaryWatcher(watched)
            # A new process must not begin on a former primary.
            _watcher.look_at_all()
            _watcher.start()
        else:
            _watcher.add(watched)


def _watch_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    overrides = {
        "connect_timeout": int(WATCH_TIMEOUT),
        "application_name": "scheduler watch",
    }
    # The watcher also connects to standbys: one of them may be the next primary.
    excluded = {"cursor_factory", "context", "target_session_attrs"}
    return {name: params[name] for name in params.keys() - excluded} | overrides
