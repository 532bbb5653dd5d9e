"""Moments of a form as the API reads them."""

from __future__ import annotations

from tasks_api.api import fields as api_fields
from tasks_api.domain.exceptions import InvalidTask


def in_utc(text: str, zone: str) -> str:
    """Return a local time of a zone in UTC, and what is none as it is."""
    try:
        moment = api_fields.moment("", text, zone=zone)
    except InvalidTask:
        # The API says what is wrong with it.
        return text
    return moment.isoformat().replace("+00:00", "Z")
