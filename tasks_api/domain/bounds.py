"""The bounds of a token: what it can do at most, and what is made with it.

Bounds only grow narrower: a token that is issued with a bounded token has its bounds, or
narrower ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import unquote

from tasks_api.domain import guard
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.exceptions import OutOfBounds
from tasks_api.domain.request_options import comparable
from tasks_api.domain.schedules import Schedule, add_offset, grid_of

# A request of a bounded task that has not begun this long after it was counted goes back
# and is counted anew. So in any 24 hours no more start than were counted.
START_WITHIN = timedelta(seconds=30)
# For so long a start counts against the runs a day.
WINDOW = timedelta(days=1) + START_WITHIN
# Counts are bounds of the same kind: a smaller one is narrower.
AMOUNTS = (
    "runs_per_day",
    "tasks",
    "requests_per_minute",
    "payload_bytes",
    "horizon",
    "renew_within",
)
LISTS = ("hosts", "paths", "methods")
# Servers and frameworks take another method, host or path from these than the request has.
REWRITING_HEADERS = frozenset(
    {
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x-original-host",
        "x-host",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "forwarded",
    }
)


@dataclass(frozen=True)
class Bounds:
    """None is no bound. Hosts have a port if it is not the one of http or https."""

    hosts: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    # Each task has at least these.
    tags: tuple[str, ...] = ()
    runs_per_day: int | None = None
    # Seconds.
    horizon: int | None = None
    renew_within: int | None = None
    tasks: int | None = None
    requests_per_minute: int | None = None
    payload_bytes: int | None = None

    def require_request(
        self, method: str, url: str, header_names: Collection[str] = ()
    ) -> None:
        """Raise OutOfBounds if a task may not send this request."""
        if self.methods is not None and method not in self.methods:
            raise OutOfBounds("methods", f"{method} is none of {_join(self.methods)}")
        if self.hosts is self.paths is self.methods is None:
            return
        for name in header_names:
            if comparable(name) in REWRITING_HEADERS:
                raise OutOfBounds(
                    "headers", f"servers may read another request in {name}"
                )
        if self.hosts is None and self.paths is None:
            return
        self._require_target(url)

    def _require_target(self, url: str) -> None:
        try:
            read = guard.read_url(_without_credentials(url), allow_private=True)
        except guard.RefusedTarget as refusal:
            raise OutOfBounds("hosts", str(refusal)) from None
        if self.hosts is not None and not _is_one_of(read.target, self.hosts):
            host = guard.host_of(url)
            raise OutOfBounds("hosts", f"{host} is none of {_join(self.hosts)}")
        if self.paths is not None and not is_below(read.path, self.paths):
            raise OutOfBounds("paths", f"the path is below none of {_join(self.paths)}")

    def require_schedule(
        self, schedule: Schedule, spread: int, *, now: datetime
    ) -> None:
        """Raise OutOfBounds if a fire time may lie beyond the horizon."""
        if self.horizon is None:
            return
        latest = add_offset(now, timedelta(seconds=self.horizon - spread))
        if latest is None:
            return
        # A calendar may change, so the schedule counts without it, and to its end where
        # the calendar moves fire times.
        beyond = grid_of(schedule).first_from(latest + timedelta(microseconds=1))
        may_move_beyond = (
            isinstance(schedule, OnCalendars)
            and schedule.moves
            and (schedule.end is None or schedule.end > latest)
        )
        if spread > self.horizon or beyond is not None or may_move_beyond:
            raise OutOfBounds(
                "horizon",
                f"a fire time lies more than {self.horizon} seconds from now; give the "
                "task an earlier end",
            )

    def narrow(self, wanted: Bounds) -> Bounds:
        """Return wanted bounds with these where they say nothing.

        Raises OutOfBounds if they are wider anywhere.
        """
        values: dict[str, object] = {
            "tags": (*self.tags, *_new(wanted.tags, self.tags))
        }
        for name in (*LISTS, *AMOUNTS):
            own, other = getattr(self, name), getattr(wanted, name)
            values[name] = own if other is None else other
            if own is not None and other is not None and _is_wider(name, own, other):
                raise OutOfBounds(name, "a token issues none with wider bounds")
        return Bounds(**values)  # type: ignore[arg-type]  # each of the type of its field


def _without_credentials(url: str) -> str:
    scheme, _, rest = url.partition("://")
    end = next((at for at, mark in enumerate(rest) if mark in "/?#"), len(rest))
    return f"{scheme}://{guard.host_of(url)}{rest[end:]}"


def read_host(text: str) -> str:
    """Return a host, with a port or without, as bounds hold it. Raises RefusedTarget."""
    # A host ends where one of these begins something else.
    if any(mark in text for mark in "/?#@"):
        raise guard.RefusedTarget("A host has no path and no credentials.")
    target = guard.read_url(f"http://{text}/", allow_private=True).target
    host = f"[{target.host}]" if ":" in target.host else target.host.rstrip(".")
    return f"{host}:{target.port}" if _has_port(text) else host


def _has_port(text: str) -> bool:
    return text.rpartition("]")[2].partition(":")[2] != ""


@lru_cache(maxsize=1000)
def _is_one_of(target: guard.Target, hosts: tuple[str, ...]) -> bool:
    host = f"[{target.host}]" if ":" in target.host else target.host.rstrip(".")
    if f"{host}:{target.port}" in hosts:
        return True
    return host in hosts and target.port == guard.DEFAULT_PORTS[target.scheme]


def is_below(path: str, allowed: Collection[str]) -> bool:
    """Return whether a path of a URL lies below one of some paths.

    A path with a dot segment lies below none, because servers and proxies resolve it,
    also if it is escaped.
    """
    path = path.partition("?")[0]
    decoded = unquote(unquote(path)).replace("\\", "/")
    if any(part.partition(";")[0] in (".", "..") for part in decoded.split("/")):
        return False
    return any(
        path == each or path.startswith(each if each.endswith("/") else f"{each}/")
        for each in allowed
    )


def _is_wider(name: str, own: object, other: object) -> bool:
    match own, other:
        case int(), int():
            return other > own
        case tuple(), tuple() if name == "paths":
            return not all(is_below(path, own) for path in other)
        case tuple(), tuple():
            return not set(other) <= set(own)
    return True


def _new(tags: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    return [tag for tag in tags if tag not in known]


def _join(allowed: Collection[str]) -> str:
    return ", ".join(allowed) or "none"


def to_dict(bounds: Bounds) -> Mapping[str, object]:
    """Return bounds as the API shows them: those that are set."""
    shown: dict[str, object] = {}
    for name in (*LISTS, "tags", *AMOUNTS):
        value = getattr(bounds, name)
        if value is not None and value != ():
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown
