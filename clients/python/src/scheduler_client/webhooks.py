"""Verify the signature of a request, as Standard Webhooks defines it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scheduler_client.decoding import decode_timestamp
from scheduler_client.errors import BadSignature

DEFAULT_TOLERANCE = 5 * 60


@dataclass(frozen=True)
class Delivery:
    """A genuine request. `id` is the id of its run, the same in every attempt."""

    id: str
    sent_at: datetime
    scheduled_for: datetime | None


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Delivery:
    """Verify the signature of a request. `body` is its body, byte by byte.

    `secret` is `whsec_…`, or several of them during a rotation. Names of headers may be
    in any case. Raises BadSignature, also if the request was signed more than `tolerance`
    seconds ago, and ValueError for an invalid secret.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    run_id = lower.get("webhook-id", "")
    timestamp = lower.get("webhook-timestamp", "")
    if not run_id or not (timestamp.isascii() and timestamp.isdigit()):
        raise BadSignature("The request is not signed")
    if abs(time.time() - int(timestamp[:12])) > tolerance:
        raise BadSignature("The timestamp of the request is too old or in the future")
    secrets = [secret] if isinstance(secret, str) else secret
    keys = [decode_secret(text) for text in secrets]
    signed = f"{run_id}.{timestamp}.".encode() + body
    if not _has_valid_signature(lower.get("webhook-signature", ""), signed, keys):
        raise BadSignature("The signature does not match the secret")
    return Delivery(
        run_id,
        datetime.fromtimestamp(int(timestamp), UTC),
        decode_timestamp(lower.get("x-scheduled-for")),
    )


def _has_valid_signature(header: str, signed: bytes, keys: Sequence[bytes]) -> bool:
    expected = [
        base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys
    ]
    # The service signs once with every live secret: twice during a rotation.
    for signature in header.split():
        version, _, text = signature.partition(",")
        given = text.encode()
        if version == "v1" and any(hmac.compare_digest(given, e) for e in expected):
            return True
    return False


def decode_secret(secret: str) -> bytes:
    """Return the key that `whsec_…` encodes. Raises ValueError for an invalid secret."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("A signing secret looks like whsec_…") from None
