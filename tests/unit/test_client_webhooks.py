"""The client verifies what the service signs, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from scheduler_client import BadSignature, verify

from tasks_api.domain.signing import signature

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


def sign_headers(now: datetime, body: bytes) -> dict[str, str]:
    timestamp = int(now.timestamp())
    return {
        "webhook-id": "run-1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature([SECRET], "run-1", timestamp, body.decode()),
    }


def test_only_a_genuine_request_is_verified() -> None:
    now = datetime.now(UTC)
    headers = sign_headers(now, b"{}")
    upper_case = {name.upper(): value for name, value in headers.items()}

    delivery = verify(upper_case, b"{}", ["whsec_AAAA", SECRET])

    assert (delivery.id, delivery.sent_at) == ("run-1", now.replace(microsecond=0))
    for case in (
        (headers, b"{ }", SECRET),
        (headers, b"{}", "whsec_AAAA"),
        (sign_headers(now - timedelta(hours=1), b"{}"), b"{}", SECRET),
        ({}, b"{}", SECRET),
        ({**headers, "webhook-id": "run-2"}, b"{}", SECRET),
    ):
        with pytest.raises(BadSignature):
            verify(*case)
