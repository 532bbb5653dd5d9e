"""Signatures of outgoing requests, as Standard Webhooks 1.0 defines them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from standardwebhooks import Webhook


@lru_cache(maxsize=10_000)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)


def signature(secrets: Iterable[str], run_id: str, timestamp: int, body: str) -> str:
    """The `webhook-signature` header: one signature for each secret, newest first."""
    moment = datetime.fromtimestamp(timestamp, tz=UTC)
    signed = (_signer(secret).sign(run_id, moment, body) for secret in secrets)
    return " ".join(signed)
