"""Decide whether a request is sent again, and after which delay."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
from urllib3.exceptions import NewConnectionError

MIN_DELAY = 0.25
MAX_DELAY = 30.0
# With these statuses the service says that it has done nothing.
_NOT_DONE = {429, 503}
# With these statuses a proxy gave up waiting for the service, which may have done it.
_MAYBE_DONE = {502, 504}


def was_never_sent(error: requests.RequestException) -> bool:
    """Return whether there was no connection to send the request on."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(cause, NewConnectionError)


def allows_retry(response: requests.Response, *, idempotent: bool) -> bool:
    """Return whether to send the request again; a long Retry-After is left to the caller."""
    if requested_delay(response) > MAX_DELAY:
        return False
    if response.status_code in _MAYBE_DONE:
        return idempotent
    # The service is still working on an earlier request with the same key.
    is_under_way = response.status_code == 409 and "Idempotency-Key" in response.text
    return is_under_way or response.status_code in _NOT_DONE


def requested_delay(response: requests.Response) -> float:
    """Return the seconds of the header Retry-After, or 0 if it is absent or invalid."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def backoff(attempt: int) -> float:
    """Return a random delay that grows with the number of attempts."""
    longest = min(MAX_DELAY, MIN_DELAY * 2**attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311 (no secret)
