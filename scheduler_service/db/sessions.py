"""Open a session on the newest primary, and refuse servers that are of no use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import psycopg

from scheduler_service.db import poolers, primaries
from scheduler_service.db.primaries import HostPort, ServerState, UnusableSession
from scheduler_service.db.timeouts import bound_waits

logger = logging.getLogger(__name__)

Connect = Callable[[dict[str, Any]], Any]

# The last warning about each server, so that it is not repeated.
_last_logged: dict[HostPort, str] = {}


def open_session(
    params: dict[str, Any],
    connect: Connect,
    *,
    shares_sessions: bool = False,
    of_any_cell: bool = False,
) -> Any:
    """A usable session, on the first server of the URL that has one.

    With `shares_sessions` the servers are poolers, each of which may give any session of
    its own to any transaction. With `of_any_cell` the database may be that of another cell.

    Raises UnusableSession if a server answers and has none, and psycopg's errors if no
    server answers.
    """
    choices = {host_port_of(each): each for each in split_hosts(params)}
    opening = _Opening(
        connect,
        has_peers=len(choices) > 1,
        shares_sessions=shares_sessions,
        of_any_cell=of_any_cell,
        is_replaceable=not is_embedded(params),
    )
    if opening.is_replaceable:
        # A single server tells its timeline whenever a session is opened.
        is_watched = opening.has_peers or shares_sessions
        primaries.start_watching(choices if is_watched else {})
    failures: list[psycopg.Error] = []
    # The last primary comes first: the others may be frozen or demoted.
    for server in sorted(
        choices, key=lambda each: each != primaries.newest_timelines.primary
    ):
        try:
            return _open(choices[server], server, opening)
        except psycopg.OperationalError as error:
            failures.append(error)
    # The answer of a server says more than the silence of another one.
    raise next(
        (each for each in failures if isinstance(each, UnusableSession)), failures[0]
    )


def split_hosts(params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters for each host of a URL with several, as libpq reads them."""
    hosts = str(params.get("host") or "").split(",")
    ports = str(params.get("port") or "").split(",")
    if len(hosts) == 1 or "hostaddr" in params:
        yield dict(params)
        return
    if len(ports) == 1:
        ports *= len(hosts)
    for host, port in zip(hosts, ports, strict=True):
        # Without a port here libpq would take the one of the environment.
        yield {**params, "host": host.strip("[]"), "port": port or "5432"}


def host_port_of(params: Mapping[str, Any]) -> HostPort:
    return HostPort(f"{params.get('host') or 'localhost'}:{params.get('port') or 5432}")


def is_embedded(params: Mapping[str, Any]) -> bool:
    """Whether it is one server behind a socket of this machine, which nothing replaces."""
    host = str(params.get("host") or "/")
    return host.startswith("/") and "," not in host


class _Opening(NamedTuple):
    """How a session is opened."""

    connect: Connect
    has_peers: bool
    shares_sessions: bool
    of_any_cell: bool
    is_replaceable: bool


def _open(params: dict[str, Any], server: HostPort, opening: _Opening) -> Any:
    raw = opening.connect(params)
    try:
        bound_waits(raw)
        state = primaries.load_server_state(raw)
        if opening.of_any_cell:
            state = state._replace(cell="")
        if state.backend_pid != raw.info.backend_pid:
            _check_pooler(raw, params, shares_sessions=opening.shares_sessions)
        if opening.is_replaceable:
            primaries.newest_timelines.compare_with_others(state)
        if reason := primaries.find_problem(server, state):
            raise UnusableSession(reason)
    except psycopg.Error as error:
        raw.close()
        if isinstance(error, UnusableSession):
            _log_once(server, str(error))
        raise
    _last_logged.pop(server, None)
    primaries.newest_timelines.record(server, state)
    bound_waits(
        raw,
        _find_problem_of(server, state, shares_sessions=opening.shares_sessions),
        during_waits=opening.has_peers,
    )
    return raw


def _check_pooler(raw: Any, params: dict[str, Any], *, shares_sessions: bool) -> None:
    if shares_sessions:
        poolers.check_transactions_are_whole(raw)
    else:
        poolers.check_sessions_are_private(raw, params)


def _find_problem_of(
    server: HostPort, state: ServerState, *, shares_sessions: bool
) -> Callable[[], str]:
    known = primaries.newest_timelines
    if shares_sessions:
        # A pooler may lead elsewhere by now; the watcher looks where, each second.
        known.latest[server] = state
        return lambda: known.find_problem(server, known.latest.get(server, state))
    return lambda: known.find_problem(server, state)


def _log_once(server: HostPort, reason: str) -> None:
    if _last_logged.get(server) != reason:
        _last_logged[server] = reason
        logger.warning("%s", reason)
