"""For receivers: is this request really from the scheduler? Standard Webhooks says how."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scheduler_client.errors import BadSignature
from scheduler_client.models import moment

TOLERANCE = 5 * 60


@dataclass(frozen=True)
class Delivery:
    """A genuine request. `id` is that of the run: the same whenever it is sent again."""

    id: str
    sent_at: datetime
    scheduled_for: datetime | None


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE,
) -> Delivery:
    """Check the signature of a request, with its body as it came.

    `secret` is `whsec_…`, or several of them while they rotate; names of headers are in
    any case. Raises BadSignature, also where it was signed more than `tolerance` seconds
    ago; ValueError for a secret that is none.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    run_id = lower.get("webhook-id", "")
    timestamp = lower.get("webhook-timestamp", "")
    if not run_id or not (timestamp.isascii() and timestamp.isdigit()):
        raise BadSignature("The request is not signed")
    if abs(time.time() - int(timestamp[:12])) > tolerance:
        raise BadSignature("The request was signed at another time")
    signed = f"{run_id}.{timestamp}.".encode() + body
    secrets = [secret] if isinstance(secret, str) else secret
    expected = [
        base64.b64encode(hmac.digest(key_of(each), signed, hashlib.sha256))
        for each in secrets
    ]
    # One for each live secret; while secrets rotate there are two.
    for signature in lower.get("webhook-signature", "").split():
        version, _, text = signature.partition(",")
        given = text.encode()
        if version == "v1" and any(hmac.compare_digest(given, e) for e in expected):
            return Delivery(
                run_id,
                datetime.fromtimestamp(int(timestamp), UTC),
                moment(lower.get("x-scheduled-for")),
            )
    raise BadSignature("The signature is not that of the secret")


def key_of(secret: str) -> bytes:
    """The bytes that `whsec_…` stands for. Raises ValueError for what is no secret."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("A signing secret looks like whsec_…") from None
