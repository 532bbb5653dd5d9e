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
LONG_ENOUGH = 24
# Seconds for which a refusal is remembered.
WINDOW = 300.0
# Addresses that are remembered at once; the oldest are forgotten first.
MOST_KEYS = 10_000
# Refusals at one door that are told of in a minute; all of them are counted.
TOLD = 10
# Of one account, from whatever address. Beyond it each address has one try in a window.
ATTACK = 50
# What an address may try of all accounts together, in tries at one of them.
ACCOUNTS = 6
# Seconds for which a password waits until the one before is hashed.
PATIENCE = 0.5
# Where Redis keeps how many were refused at each door, for the metrics.
REFUSED = "scheduler:refused"
FLUSH_EVERY = 1.0


class Door(StrEnum):
    """What somebody tried to come in by."""

    PASSWORD = "password"  # noqa: S105 (a name)
    TOKEN = "token"  # noqa: S105 (a name)
    SECRET = "secret"  # noqa: S105 (a name)
    # The token of a run that a target is at work on.
    RUN = "run"
    # By nothing at all.
    NOTHING = "nothing"


class Windows:
    """How often something happened to each of many keys, within windows of time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their ends, because all windows are equally long.
        self._of_key: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: Hashable) -> int:
        """One more; returns how many there are in this window."""
        with self._lock:
            self._forget()
            ends_at, count = self._of_key.get(key, (self._now() + self._seconds, 0))
            self._of_key[key] = ends_at, count + 1
            return count + 1

    def count(self, key: Hashable) -> int:
        with self._lock:
            self._forget()
            return self._of_key.get(key, (0.0, 0))[1]

    def wait(self, key: Hashable) -> float:
        """Seconds until its window ends."""
        with self._lock:
            return max(1.0, self._of_key.get(key, (0.0, 0))[0] - self._now())

    def __len__(self) -> int:
        return len(self._of_key)

    def clear(self) -> None:
        with self._lock:
            self._of_key.clear()

    def _forget(self) -> None:
        now = self._now()
        while self._of_key and (
            len(self._of_key) > MOST_KEYS or next(iter(self._of_key.values()))[0] <= now
        ):
            self._of_key.popitem(last=False)

    def _now(self) -> float:
        return time.monotonic()


class TooManyAttempts(Exception):
    """Nothing was looked at; `wait` says after how many seconds it is again."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__(f"Too many attempts. Try again in {wait:.0f} seconds.")


_failures = Windows(WINDOW)
_told = Windows(60.0)
_hashing = threading.BoundedSemaphore(1)
_uncounted: Counter[str] = Counter()
_counting = threading.Lock()
_flushing: threading.Timer | None = None


@contextmanager
def password(address: str, account: str) -> Iterator[None]:
    """Within it a password may be looked at, one at a time in this process.

    Hashing takes a core for a while, so that who needs no credential to ask for it gets
    no more than one. Raises TooManyAttempts.
    """
    most = settings.SCHEDULER_MAX_FAILED_LOGINS
    is_attacked = _failures.count(("account", account)) >= ATTACK
    for key, limit in (
        (("pair", address, account), 1 if is_attacked else most),
        (("address", address), most * ACCOUNTS),
    ):
        if _failures.count(key) >= limit:
            raise TooManyAttempts(_failures.wait(key))
    if not _hashing.acquire(timeout=PATIENCE):
        raise TooManyAttempts(1.0)
    try:
        yield
    finally:
        _hashing.release()


def password_failed(address: str, account: str, *, is_known: bool) -> bool:
    """Remember a wrong password; returns whether it is told of, and not only counted."""
    for key in (
        ("pair", address, account),
        ("address", address),
        ("account", account),
    ):
        _failures.add(key)
    return refused(Door.PASSWORD, address, account if is_known else "unknown")


def failed(door: Door, address: str) -> float | None:
    """Remember a wrong credential; returns seconds to wait, where there were too many."""
    refused(door, address)
    key = (door, address)
    if _failures.add(key) > settings.SCHEDULER_MAX_FAILED_CALLS:
        return _failures.wait(key)
    return None


def is_closed(door: Door, address: str) -> bool:
    """Whether from this address there were too many, so that nothing is looked at."""
    most: int = settings.SCHEDULER_MAX_FAILED_CALLS
    return _failures.count((door, address)) >= most


def refused(door: Door, address: str, account: str = "") -> bool:
    """Tell of it and count it; of many within a minute the first are told of."""
    _count(door)
    is_told = (number := _told.add(door)) <= TOLD
    if is_told:
        about = {"door": door.value, "address": address}
        if account:
            about["account"] = ascii(account)
        last = "; the next ones are only counted" if number == TOLD else ""
        level = logging.WARNING if door == Door.PASSWORD else logging.INFO
        logger.log(level, "Somebody was refused%s.", last, extra=about)
    return is_told


def _count(door: Door) -> None:
    global _flushing
    with _counting:
        _uncounted[door.value] += 1
        if _flushing is None:
            _flushing = threading.Timer(FLUSH_EVERY, _flush)
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
                pipe.hincrby(REFUSED, door, count)
            pipe.execute()
    except redis.RedisError:
        with _counting:
            _uncounted.update(counted)


def totals() -> dict[Door, int]:
    """How many were refused at each door. Raises redis.RedisError."""
    with _client() as client:
        found = client.hgetall(REFUSED)
    return {door: int(found.get(door.value.encode(), 0)) for door in Door}


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        redis_client_url(settings.REDIS_URL), socket_timeout=1, socket_connect_timeout=1
    )


def forget() -> None:
    """Hold nothing against anybody any more."""
    _failures.clear()
    _told.clear()
