"""Log and count refused credentials, and slow down an address that shows too many.

Each web process counts in its own memory, so that no other server can block a caller by
being away, or let all of them in. The limits of the service are those of one process
times their number. No account is ever locked: failures count against an address, and are
forgotten at the end of their window.
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

from scheduler_service.redis.connections import connect

logger = logging.getLogger(__name__)

# Characters that make a secret impossible to guess.
UNGUESSABLE_LENGTH = 24
# Seconds for which a refusal is remembered.
WINDOW_SECONDS = 300.0
# Keys that a counter holds; the oldest are forgotten first.
MAX_KEYS = 10_000
# Refusals of one kind of credential that are logged; all of them are counted.
MAX_LOGGED_PER_MINUTE = 10
# Wrong passwords from all addresses, beyond which each address has one try in a window.
MAX_FAILURES_PER_ACCOUNT = 50
# Tries of an address at all accounts together, as a multiple of those at one account.
ADDRESS_FACTOR = 6
# Seconds that a password waits for the one before it to be hashed.
HASHING_TIMEOUT = 0.5
# Requests of one address to pages that compute something for anybody. Who types fast
# makes two in a second.
MAX_VISITS_PER_MINUTE = 240
# The Redis hash with the number of refusals by kind of credential, for the metrics.
REFUSALS_KEY = "scheduler:refused"
REDIS_TIMEOUT = 1.0
FLUSH_INTERVAL = 1.0


class CredentialKind(StrEnum):
    """How a caller tried to authenticate; logs and metrics call it `credential`."""

    PASSWORD = "password"  # noqa: S105 (a name)
    TOKEN = "token"  # noqa: S105 (a name)
    SECRET = "secret"  # noqa: S105 (a name)
    # The token of a run, which its target has while it works.
    RUN = "run"
    # The caller sent no credential.
    NOTHING = "nothing"


class WindowCounter:
    """How often each of many keys occurred within its window of time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # The end of each window and its count, by time: all windows are equally long.
        self._windows: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: Hashable) -> int:
        """Count one more; returns how many there are in this window."""
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
        """Seconds until the window of a key ends."""
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
    """The credential was not checked; `wait` is the seconds until the next try."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__(f"Too many attempts. Try again in {wait:.0f} seconds.")


_failures = WindowCounter(WINDOW_SECONDS)
_logged = WindowCounter(60.0)
_visits = WindowCounter(60.0)
_hashing_slot = threading.BoundedSemaphore(1)
_uncounted: Counter[str] = Counter()
_count_lock = threading.Lock()
_flush_timer: threading.Timer | None = None


@contextmanager
def limit_password_checks(address: str, account: str) -> Iterator[None]:
    """Let the block check a password, one at a time in this process.

    A caller needs no credential to make us hash a password, which takes a core for a
    while; so all of them together get one core. Raises TooManyAttempts.
    """
    max_failures = settings.SCHEDULER_MAX_FAILED_LOGINS
    is_attacked = _failures.count(("account", account)) >= MAX_FAILURES_PER_ACCOUNT
    for key, limit in (
        (("pair", address, account), 1 if is_attacked else max_failures),
        (("address", address), max_failures * ADDRESS_FACTOR),
    ):
        if _failures.count(key) >= limit:
            raise TooManyAttempts(_failures.seconds_left(key))
    if not _hashing_slot.acquire(timeout=HASHING_TIMEOUT):
        raise TooManyAttempts(1.0)
    try:
        yield
    finally:
        _hashing_slot.release()


def record_wrong_password(address: str, account: str, *, is_known: bool) -> bool:
    """Count a wrong password; returns whether it was logged as well."""
    _failures.add(("pair", address, account))
    _failures.add(("address", address))
    _failures.add(("account", account))
    return record_refusal(
        CredentialKind.PASSWORD, address, account if is_known else "unknown"
    )


def record_wrong_credential(kind: CredentialKind, address: str) -> float | None:
    """Count a wrong credential; returns the seconds to wait if there were too many."""
    record_refusal(kind, address)
    key = (kind, address)
    if _failures.add(key) > settings.SCHEDULER_MAX_FAILED_CALLS:
        return _failures.seconds_left(key)
    return None


def is_blocked(kind: CredentialKind, address: str) -> bool:
    """Whether credentials from this address are not checked: too many were wrong."""
    max_failures: int = settings.SCHEDULER_MAX_FAILED_CALLS
    return _failures.count((kind, address)) >= max_failures


def record_visit(address: str) -> float | None:
    """Count a request that needs no login; returns the seconds to wait if too many."""
    if _visits.add(address) > MAX_VISITS_PER_MINUTE:
        return _visits.seconds_left(address)
    return None


def record_refusal(kind: CredentialKind, address: str, account: str = "") -> bool:
    """Count a refusal, and log it; of many within a minute only the first are logged."""
    _count_refusal(kind)
    is_logged = (number := _logged.add(kind)) <= MAX_LOGGED_PER_MINUTE
    if is_logged:
        context = {"credential": kind.value, "address": address}
        if account:
            context["account"] = ascii(account)
        is_last = number == MAX_LOGGED_PER_MINUTE
        note = "; the next ones are only counted" if is_last else ""
        level = logging.WARNING if kind == CredentialKind.PASSWORD else logging.INFO
        logger.log(level, "Somebody was refused%s.", note, extra=context)
    return is_logged


def _count_refusal(kind: CredentialKind) -> None:
    global _flush_timer
    with _count_lock:
        _uncounted[kind.value] += 1
        if _flush_timer is None and settings.REDIS_URL:
            _flush_timer = threading.Timer(FLUSH_INTERVAL, _flush)
            _flush_timer.daemon = True
            _flush_timer.start()


def _flush() -> None:
    """Add the counts to those in Redis; keep them for the next time if it is away."""
    global _flush_timer
    with _count_lock:
        counted = Counter(_uncounted)
        _uncounted.clear()
        _flush_timer = None
    try:
        _add_to_redis(counted)
    except (redis.RedisError, OSError):
        with _count_lock:
            _uncounted.update(counted)


def _add_to_redis(counted: Counter[str]) -> None:
    with (
        connect(settings.REDIS_URL, timeout=REDIS_TIMEOUT) as client,
        client.pipeline(transaction=False) as pipe,
    ):
        for kind, count in counted.items():
            pipe.hincrby(REFUSALS_KEY, kind, count)
        pipe.execute()


def load_refusal_counts() -> dict[CredentialKind, int]:
    """The refusals by kind of credential; none without a Redis. Raises redis.RedisError."""
    if not settings.REDIS_URL:
        return {}
    with connect(settings.REDIS_URL, timeout=REDIS_TIMEOUT) as client:
        found = client.hgetall(REFUSALS_KEY)
    return {kind: int(found.get(kind.value.encode(), 0)) for kind in CredentialKind}


def reset() -> None:
    """Forget all failures and visits."""
    _failures.clear()
    _visits.clear()
    _logged.clear()
