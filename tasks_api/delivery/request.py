"""What is sent for a run, and what came back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from tasks_api.delivery import run_tokens, signing
from tasks_api.domain.request_options import comparable, split_sealed_values
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import Trouble
from tasks_api.domain.timestamps import format_timestamp

USER_AGENT = "scheduler-service/1.0"
JSON = "application/json"
# A body of theirs has no defined meaning (RFC 9110, 9.3.1 and 9.3.2).
BODILESS = frozenset({"GET", "HEAD"})


class CannotBeBuilt(ValueError):
    """Nothing can be sent for a run; the text is a clause for its tenant."""


class Claimed(NamedTuple):
    """A run that a worker holds, with what its request needs."""

    run_id: UUID
    task_id: UUID
    tenant_id: int
    scheduled_for: datetime
    number: int
    method: str
    url: str
    body: str
    lease: UUID
    surface: str = ""
    queue: str = ""
    # See the columns of Task.
    expected_status: str = ""
    retry: str = ""
    request: str = ""
    overlap: str = ""
    pause_after_failures: int | None = None
    lost_count: int = 0
    # Of a run that sends another one again: the fire time it stands for, and which it is.
    slot: datetime | None = None
    redrive_of: UUID | None = None

    @property
    def turn(self) -> int:
        """Which attempt it is, not counting those that were lost with their worker."""
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
    # Whether the answer's headers may say when to try again, and if at all.
    may_be_told: bool = False


class Outcome(NamedTuple):
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


@lru_cache(maxsize=1000)
def _comparable(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(comparable, names))


def build(
    run: Claimed,
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

    `unseal` opens the values of its own headers, and `open_url` the credentials in its
    URL. The token for long work is made with `run_key`, and `public_url` is where the
    service is called back, if it knows. Raises CannotBeBuilt when the run has nowhere to
    go.
    """
    url = open_url(run.url or credentials.callback_url)
    if not url:
        raise CannotBeBuilt("the tenant has no callback URL")
    run_id = str(run.run_id)
    body = "" if run.method in BODILESS else run.body
    timestamp = int(now.timestamp())
    signed = signing.signature(credentials.signing_secrets, run_id, timestamp, body)
    own, content_type, callback = [], JSON, []
    if run.request:
        sealed, options = split_sealed_values(run.request)
        timeout = options.timeout_seconds or timeout
        content_type = options.content_type or JSON
        if options.header_names:
            own = list(zip(options.header_names, unseal(sealed), strict=True))
        if options.deadline:
            callback = _callback(run, run_key, public_url)
    headers = [
        ("User-Agent", USER_AGENT),
        ("webhook-id", run_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signed),
        ("Idempotency-Key", run_id),
        ("X-Scheduled-For", format_timestamp(run.slot or run.scheduled_for)),
        *callback,
    ]
    if run.redrive_of:
        headers.append(("X-Scheduler-Redrive-Of", str(run.redrive_of)))
    if body:
        headers.insert(0, ("Content-Type", content_type))
    if run.surface == Surface.TIMERS:
        headers.append(("Scheduler-Secret", credentials.shared_secret))
    if own:
        replaced = _comparable(options.header_names)
        headers = [each for each in headers if each[0].lower() not in replaced] + own
    return Request(
        run.method, url, tuple(headers), body.encode(), timeout, bool(run.retry)
    )


def _callback(run: Claimed, run_key: bytes, public_url: str) -> list[tuple[str, str]]:
    """With what a target speaks of a run's long work, and where if that is known."""
    headers = [(run_tokens.HEADER, run_tokens.mint(run_key, run.run_id, run.turn))]
    if public_url:
        address = f"{public_url.rstrip('/')}/runs/{run.run_id}"
        headers.append((run_tokens.URL_HEADER, address))
    return headers
