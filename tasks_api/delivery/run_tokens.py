"""Run tokens, with which a target reports on its run: they are derived, not stored."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from uuid import UUID

HEADER = "X-Scheduler-Run-Token"
URL_HEADER = "X-Scheduler-Run-Url"
PREFIX = "srt"
# Digits of a turn; no attempt has a higher number.
MAX_TURN_DIGITS = 9


def make_token(key: bytes, run_id: UUID, turn: int) -> str:
    """The token of a run's attempt; `turn` does not count attempts that were lost.

    So a run that is sent again because its worker died has the same token: its target
    may be at work already because of the first request.
    """
    message = run_id.bytes + turn.to_bytes(8)
    digest = hmac.digest(key, message, "sha256")
    return f"{PREFIX}_{turn}_{urlsafe_b64encode(digest).decode().rstrip('=')}"


def read_turn(token: str, run_id: UUID, keys: Sequence[bytes]) -> int | None:
    """The turn that a token is for; None if it is no token of this run."""
    prefix, _, rest = token.partition("_")
    digits = rest.partition("_")[0]
    if prefix != PREFIX or not (digits.isascii() and digits.isdigit()):
        return None
    if len(digits) > MAX_TURN_DIGITS:
        return None
    turn, given = int(digits), token.encode("utf-8", "surrogatepass")
    for key in keys:
        if hmac.compare_digest(make_token(key, run_id, turn).encode(), given):
            return turn
    return None
