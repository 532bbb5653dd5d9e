"""A session is one of our own, and on the newest primary that this process knows of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg

from scheduler_service.db import poolers, primaries
from scheduler_service.db.primaries import Place, Unfit
from scheduler_service.db.timeouts import give_up_in_time

logger = logging.getLogger(__name__)

Connect = Callable[[dict[str, Any]], Any]

# What was said last of each place, so that it is said once.
_said: dict[Place, str] = {}


def open_session(params: dict[str, Any], connect: Connect) -> Any:
    """A session that we can work in, at the first place of the URL that has one.

    Raises Unfit if a place answers and has none, and psycopg's errors if none answers.
    """
    choices = {place_of(each): each for each in hosts_of(params)}
    if len(choices) > 1:
        primaries.keep_watch(choices)
    failures: list[psycopg.Error] = []
    # First where the primary was last: others may be frozen, or none any more.
    for place in sorted(choices, key=lambda each: each != primaries.known.home):
        try:
            return _open(choices[place], place, connect, has_peers=len(choices) > 1)
        except psycopg.OperationalError as error:
            failures.append(error)
    # An answer says more than silence.
    raise next((each for each in failures if isinstance(each, Unfit)), failures[0])


def hosts_of(params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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


def place_of(params: Mapping[str, Any]) -> Place:
    return Place(f"{params.get('host') or 'localhost'}:{params.get('port') or 5432}")


def _open(
    params: dict[str, Any], place: Place, connect: Connect, *, has_peers: bool
) -> Any:
    raw = connect(params)
    try:
        give_up_in_time(raw)
        facts = primaries.facts_of(raw)
        if facts.backend_pid != raw.info.backend_pid:
            poolers.refuse_sharing(raw, params)
        if reason := primaries.complaint(place, facts):
            raise Unfit(reason)
    except psycopg.Error as error:
        raw.close()
        if isinstance(error, Unfit):
            _say(place, str(error))
        raise
    _said.pop(place, None)
    primaries.known.meet(place, facts)
    give_up_in_time(
        raw, lambda: primaries.known.objection(place, facts), midway=has_peers
    )
    return raw


def _say(place: Place, reason: str) -> None:
    if _said.get(place) != reason:
        _said[place] = reason
        logger.warning("%s", reason)
