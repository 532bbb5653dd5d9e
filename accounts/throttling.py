"""Who was refused at which door: told, counted, and slowed down where it is too often.

Each process of web counts for itself, in memory. So no other server can close a door by
being away or open it wide, and the limits of the service are those of a process times
their number. Nothing is ever locked: what is held against somebody is held against
their address, and forgotten with its window.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import redis
from django.conf import settings

from scheduler_service.redis.connections import redis_client_url

logger = logging.getLogger(__name__)

# Characters of a secret that nobody guesses.
UNGUESSABLE_LENGTH = 24
# Seconds for which a refusal is remembered.
WINDOW_SECONDS = 300.0
# Addresses that are remembered at once; the oldest are forgotten first.
MAX_KEYS = 10_000
# Refusals at one door that are told of in a minute; all of them are counted.
MAX_LOGGED_PER_MINUTE = 10
# Of one account, from whatever address. Beyond it each address has one try in a window.
MAX_FAILURES_PER_ACCOUNT = 50
# What an address may try of all accounts together, in tries at one of them.
ADDRESS_FACTOR = 6
# Seconds for which a password waits until the one before is hashed.
HASHING_TIMEOUT = 0.5
# Where Redis keeps how many were refused at each door, for the metrics.
REFUSALS_KEY = "scheduler:refused"
FLUSH_INTERVAL = 1.0


class CredentialKind(StrEnum):
    """What somebody tried to come in by."""

    PASSWORD = "password"  # noqa: S105 (a name)
    TOKEN = "token"  # noqa: S105 (a name)
    SECRET = "secret"  # noqa: S105 (a name)
    # The token of a run that a target is at work on.
    RUN = "run"
    # By nothing at all.
    NOTHING = "nothing"


class WindowCounter:
    """How often something happened to each of many keys, within windows of time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their ends, because all windows are equally long.
        self._windows: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: Hashable) -> int:
        """One more; returns how many there are in this window."""
        with self._lock:
            self._evict()
            ends_at, count = self._windows.get(key, (self._now() + self._seconds, 0))
            self._windows[key] = ends_at, count + 1
            return count + 1

    def count(self, key: Hashable) -> int:
        with self._lock:
            self._evict()
            return self._windows.get(key, (0.0, 0))[1]

    def seconds_left(self, key: Hashable) -> float:
        """Seconds until its window ends."""
        with self._lock:
            return max(1.0, self._windows.get(key, (0.0, 0))[0] - self._now())

    def __len__(self) -> int:
        return len(self._windows)

    def clear(self) -> None:
        with self._lock:
            self._windows.clear()

    def _evict(self) -> None:
        now = self._now()
        while self._windows and (
            len(self._windows) > MAX_KEYS
            or next(iter(self._windows.values()))[0] <= now
        ):
            self._windows.popitem(last=False)

    def _now(self) -> float:
        return time.monotonic()


class TooManyAttempts(Exception):
    """Nothing was looked at; `wait` says after how many seconds it is again."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__(f"Too many attempts. Try again in {wait:.0f} seconds.")


_failures = WindowCounter(WINDOW_SECONDS)
_logged = WindowCounter(60.0)
_hashing = threading.BoundedSemaphore(1)
_uncounted: Counter[str] = Counter()
_counting = threading.Lock()
_flushing: threading.Timer | None = None


@contextmanager
def limit_password_checks(address: str, account: str) -> Iterator[None]:
    """Within it a password may be looked at, one at a time in this process.

    Hashing takes a core for a while, so that who needs no credential to ask for it gets
    no more than one. Raises TooManyAttempts.
    """
    most = settings.SCHEDULER_MAX_FAILED_LOGINS
    is_attacked = _failures.count(("account", account)) >= MAX_FAILURES_PER_ACCOUNT
    for key, limit in (
        (("pair", address, account), 1 if is_attacked else most),
        (("address", address), most * ADDRESS_FACTOR),
    ):
        if _failures.count(key) >= limit:
            raise TooManyAttempts(_failures.seconds_left(key))
    if not _hashing.acquire(timeout=HASHING_TIMEOUT):
        raise TooManyAttempts(1.0)
    try:
        yield
    finally:
        _hashing.release()


def record_wrong_password(address: str, account: str, *, is_known: bool) -> bool:
    """Remember a wrong password; returns whether it is told of, and not only counted."""
    for key in (
        ("pair", address, account),
        ("address", address),
        ("account", account),
    ):
        _failures.add(key)
    return record_refusal(
        CredentialKind.PASSWORD, address, account if is_known else "unknown"
    )


def record_wrong_credential(door: CredentialKind, address: str) -> float | None:
    """Remember a wrong credential; returns seconds to wait, where there were too many."""
    record_refusal(door, address)
    key = (door, address)
    if _failures.add(key) > settings.SCHEDULER_MAX_FAILED_CALLS:
        return _failures.seconds_left(key)
    return None


def is_blocked(door: CredentialKind, address: str) -> bool:
    """Whether from this address there were too many, so that nothing is looked at."""
    most: int = settings.SCHEDULER_MAX_FAILED_CALLS
    return _failures.count((door, address)) >= most


def record_refusal(door: CredentialKind, address: str, account: str = "") -> bool:
    """Tell of it and count it; of many within a minute the first are told of."""
    _count_refusal(door)
    is_told = (number := _logged.add(door)) <= MAX_LOGGED_PER_MINUTE
    if is_told:
        about = {"door": door.value, "address": address}
        if account:
            about["account"] = ascii(account)
        last = (
            "; the next ones are only counted"
            if number == MAX_LOGGED_PER_MINUTE
            else ""
        )
        level = logging.WARNING if door == CredentialKind.PASSWORD else logging.INFO
        logger.log(level, "Somebody was refused%s.", last, extra=about)
    return is_told


def _count_refusal(door: CredentialKind) -> None:
    global _flushing
    with _counting:
        _uncounted[door.value] += 1
        if _flushing is None:
            _flushing = threading.Timer(FLUSH_INTERVAL, _flush)
            _flushing.daemon = True
            _flushing.start()


def _flush() -> None:
    """Bring what was counted to Redis, for all processes together; next time, if it is away."""
    global _flushing
    with _counting:
        counted = Counter(_uncounted)
        _uncounted.clear()
        _flushing = None
    try:
        with _client() as client, client.pipeline(transaction=False) as pipe:
            for door, count in counted.items():
                pipe.hincrby(REFUSALS_KEY, door, count)
            pipe.execute()
    except redis.RedisError:
        with _counting:
            _uncounted.update(counted)


def load_refusal_counts() -> dict[CredentialKind, int]:
    """How many were refused at each door. Raises redis.RedisError."""
    with _client() as client:
        found = client.hgetall(REFUSALS_KEY)
    return {door: int(found.get(door.value.encode(), 0)) for door in CredentialKind}


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        redis_client_url(settings.REDIS_URL), socket_timeout=1, socket_connect_timeout=1
    )


def reset() -> None:
    """Hold nothing against anybody any more."""
    _failures.clear()
    _logged.clear()
