"""Verify a request of the scheduler: Standard Webhooks, with Python's own modules."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

TOLERANCE = 5 * 60  # seconds


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the scheduler signed this body; the names of headers are in lower case."""
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()):
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    # One for each live secret; while secrets rotate there are two.
    for signature in headers.get("webhook-signature", "").split():
        version, _, text = signature.partition(",")
        if version == "v1" and hmac.compare_digest(text.encode(), expected):
            return True
    return False


if __name__ == "__main__":
    import json
    import sys

    # Headers as a JSON object in the second argument, the body on standard input.
    genuine = is_genuine(sys.argv[1], json.loads(sys.argv[2]), sys.stdin.buffer.read())
    sys.exit(0 if genuine else 1)
