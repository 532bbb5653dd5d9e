"""What is sent for a run, and what came back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from tasks_api.delivery import signing

USER_AGENT = "scheduler-service/1.0"


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
    # The raw Retry-After header.
    retry_after: str = ""
    # False when it was withdrawn before anything was sent.
    was_sent: bool = True


def build(
    run: Claimed, secrets: Sequence[str], *, now: datetime, timeout: float
) -> Request:
    """The request for a run, signed with every live secret of its tenant."""
    run_id = str(run.run_id)
    timestamp = int(now.timestamp())
    planned = run.scheduled_for.astimezone(UTC).isoformat().replace("+00:00", "Z")
    headers = (
        ("Content-Type", "application/json"),
        ("User-Agent", USER_AGENT),
        ("webhook-id", run_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signing.signature(secrets, run_id, timestamp, run.body)),
        ("Idempotency-Key", run_id),
        ("X-Scheduled-For", planned),
    )
    return Request(run.method, run.url, headers, run.body.encode(), timeout)
