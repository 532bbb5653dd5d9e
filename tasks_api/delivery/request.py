"""The request of a run, and its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from tasks_api.delivery import run_tokens
from tasks_api.domain import signing
from tasks_api.domain.request_options import (
    JSON_TYPE,
    METHODS_WITHOUT_BODY,
    comparable,
    split_sealed_values,
)
from tasks_api.domain.specs import RequestOptions, Surface
from tasks_api.domain.states import Trouble
from tasks_api.domain.timestamps import format_timestamp

USER_AGENT = "scheduler-service/1.0"
# Nothing sealed, and no option beyond the defaults.
_NO_OPTIONS = ("", RequestOptions())

# Many runs of a batch have the same fire time, and formatting it takes a microsecond.
_format_fire_time = lru_cache(maxsize=1000)(format_timestamp)

# The lease of a run that no worker holds.
NO_LEASE = UUID(int=0)

Headers = list[tuple[str, str]]


class BuildError(ValueError):
    """No request can be made for a run; the text is a clause for its tenant."""


class ClaimedRun(NamedTuple):
    """A run that a worker holds, with what its request needs."""

    run_id: UUID
    task_id: UUID
    tenant_id: int
    scheduled_for: datetime
    number: int
    method: str
    url: str
    body: str
    surface: str = ""
    queue: str = ""
    # See the columns of Task.
    expected_status: str = ""
    retry: str = ""
    request: str = ""
    overlap: str = ""
    pause_after_failures: int | None = None
    lost_count: int = 0
    # If the run repeats another one: the fire time that it stands for, and the other run.
    slot: datetime | None = None
    redrive_of: UUID | None = None
    # The lane in which it starts; None: none.
    lane_id: int | None = None
    # What its worker holds it by; the last field, because the worker appends it.
    lease: UUID = NO_LEASE

    @property
    def turn(self) -> int:
        """The number of its attempt, not counting those that were lost with their worker."""
        return self.number - self.lost_count


class Credentials(NamedTuple):
    """What a tenant's requests are made with."""

    # Newest first.
    signing_secrets: Sequence[str] = ()
    callback_url: str = ""
    shared_secret: str = ""


class Request(NamedTuple):
    """One HTTP request. `timeout` is in seconds, from the connection to the answer."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout: float
    # Whether the answer's headers are read for when to try again, or that it must not.
    heeds_retry_headers: bool = False


class HttpResult(NamedTuple):
    """What happened on the wire. `status_code` is None when no answer arrived."""

    status_code: int | None
    error: str
    duration_ms: int
    # The beginning of the answer as it came, never decompressed.
    answer: bytes = b""
    # Seconds by which the Retry-After header asks to wait; 0 if it does not.
    retry_after: int = 0
    # Whether the answer's X-Scheduler-No-Retry header says true.
    no_retry: bool = False
    # False when it was withdrawn before anything was sent.
    was_sent: bool = True
    trouble: Trouble | None = None
    # Seconds after which what was not sent is worth another try.
    pause: float = 0.0


def build_request(
    run: ClaimedRun,
    credentials: Credentials,
    *,
    now: datetime,
    timeout: float,
    unseal: Callable[[str], Sequence[str]] = json.loads,
    open_url: Callable[[str], str] = str,
    run_key: bytes = b"",
    public_url: str = "",
) -> Request:
    """The request for a run, signed with every live secret of its tenant.

    `unseal` opens the values of the task's own headers, and `open_url` the credentials in
    its URL. `run_key` makes the token for long work, and `public_url` is where targets
    reach this service, if it is known. Raises BuildError when the run has no URL.
    """
    url = open_url(run.url or credentials.callback_url)
    if not url:
        raise BuildError("the tenant has no callback URL")
    sealed, options = split_sealed_values(run.request) if run.request else _NO_OPTIONS
    body = "" if run.method in METHODS_WITHOUT_BODY else run.body
    headers = [("Content-Type", options.content_type or JSON_TYPE)] if body else []
    headers += _signed_headers(run, credentials, body, now)
    if options.deadline:
        headers += _callback_headers(run, run_key, public_url)
    if run.redrive_of:
        headers.append(("X-Scheduler-Redrive-Of", str(run.redrive_of)))
    if run.surface == Surface.TIMERS:
        headers.append(("Scheduler-Secret", credentials.shared_secret))
    if options.header_names:
        own = zip(options.header_names, unseal(sealed), strict=True)
        replaced = _comparable(options.header_names)
        headers = [each for each in headers if each[0].lower() not in replaced]
        headers += own
    timeout = options.timeout_seconds or timeout
    heeds = bool(run.retry) or run.lane_id is not None
    return Request(run.method, url, tuple(headers), body.encode(), timeout, heeds)


def _signed_headers(
    run: ClaimedRun, credentials: Credentials, body: str, now: datetime
) -> Headers:
    run_id, timestamp = str(run.run_id), int(now.timestamp())
    signed = signing.signature(credentials.signing_secrets, run_id, timestamp, body)
    return [
        ("User-Agent", USER_AGENT),
        ("webhook-id", run_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signed),
        ("Idempotency-Key", run_id),
        ("X-Scheduled-For", _format_fire_time(run.slot or run.scheduled_for)),
    ]


def _callback_headers(run: ClaimedRun, run_key: bytes, public_url: str) -> Headers:
    """The token with which a target reports on long work, and the URL if it is known."""
    token = run_tokens.make_token(run_key, run.run_id, run.turn)
    headers = [(run_tokens.HEADER, token)]
    if public_url:
        address = f"{public_url.rstrip('/')}/runs/{run.run_id}"
        headers.append((run_tokens.URL_HEADER, address))
    return headers


@lru_cache(maxsize=1000)
def _comparable(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(comparable, names))
