"""A session is one of our own, and on the newest primary that this process knows of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg

from scheduler_service.db import poolers, primaries
from scheduler_service.db.primaries import HostPort, UnusableSession
from scheduler_service.db.timeouts import bound_waits

logger = logging.getLogger(__name__)

Connect = Callable[[dict[str, Any]], Any]

# What was said last of each place, so that it is said once.
_last_logged: dict[HostPort, str] = {}


def open_session(params: dict[str, Any], connect: Connect) -> Any:
    """A session that we can work in, at the first place of the URL that has one.

    Raises Unfit if a place answers and has none, and psycopg's errors if none answers.
    """
    choices = {host_port_of(each): each for each in split_hosts(params)}
    if len(choices) > 1:
        primaries.start_watching(choices)
    failures: list[psycopg.Error] = []
    # First where the primary was last: others may be frozen, or none any more.
    for place in sorted(choices, key=lambda each: each != primaries.newest.home):
        try:
            return _open(choices[place], place, connect, has_peers=len(choices) > 1)
        except psycopg.OperationalError as error:
            failures.append(error)
    # An answer says more than silence.
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


def _open(
    params: dict[str, Any], place: HostPort, connect: Connect, *, has_peers: bool
) -> Any:
    raw = connect(params)
    try:
        bound_waits(raw)
        facts = primaries.load_server_state(raw)
        if facts.backend_pid != raw.info.backend_pid:
            poolers.check_sessions_are_private(raw, params)
        if reason := primaries.find_problem(place, facts):
            raise UnusableSession(reason)
    except psycopg.Error as error:
        raw.close()
        if isinstance(error, UnusableSession):
            _log_once(place, str(error))
        raise
    _last_logged.pop(place, None)
    primaries.newest.meet(place, facts)
    bound_waits(
        raw, lambda: primaries.newest.find_problem(place, facts), midway=has_peers
    )
    return raw


def _log_once(place: HostPort, reason: str) -> None:
    if _last_logged.get(place) != reason:
        _last_logged[place] = reason
        logger.warning("%s", reason)
