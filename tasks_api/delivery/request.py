"""What is sent for a run, and what came back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from tasks_api.delivery import signing
from tasks_api.specs import Surface

USER_AGENT = "scheduler-service/1.0"
# A body of theirs has no defined meaning (RFC 9110, 9.3.1 and 9.3.2).
BODILESS = frozenset({"GET", "HEAD"})


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


class Credentials(NamedTuple):
    """What a tenant's requests are made with."""

    # Newest first.
    signing_secrets: Sequence[str] = ()
    callback_url: str = ""
    shared_secret: str = ""


@dataclass(frozen=True)
class Request:
    """One HTTP request. `timeout` is in seconds and bounds all of it, DNS to answer."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout: float


@dataclass(frozen=True)
class Outcome:
    """What happened on the wire. `status_code` is None when no answer arrived."""

    status_code: int | None
    error: str
    duration_ms: int
    # The beginning of the answer as it came, never decompressed.
    answer: bytes = b""
    # Seconds by which the Retry-After header asks to wait; 0 if it does not.
    retry_after: int = 0
    # False when it was withdrawn before anything was sent.
    was_sent: bool = True


def build(
    run: Claimed, credentials: Credentials, *, now: datetime, timeout: float
) -> Request:
    """The request for a run, signed with every live secret of its tenant.

    Raises ValueError when the run has nowhere to go.
    """
    url = run.url or credentials.callback_url
    if not url:
        raise ValueError("the tenant has no callback URL")
    run_id = str(run.run_id)
    body = "" if run.method in BODILESS else run.body
    timestamp = int(now.timestamp())
    planned = run.scheduled_for.astimezone(UTC).isoformat().replace("+00:00", "Z")
    signed = signing.signature(credentials.signing_secrets, run_id, timestamp, body)
    headers = [
        ("User-Agent", USER_AGENT),
        ("webhook-id", run_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signed),
        ("Idempotency-Key", run_id),
        ("X-Scheduled-For", planned),
    ]
    if body:
        headers.insert(0, ("Content-Type", "application/json"))
    if run.surface == Surface.TIMERS:
        headers.append(("Scheduler-Secret", credentials.shared_secret))
    return Request(run.method, url, tuple(headers), body.encode(), timeout)
