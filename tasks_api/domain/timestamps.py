"""Format moments for clients and targets."""

from __future__ import annotations

from datetime import UTC, datetime


def format_timestamp(moment: datetime) -> str:
    """Format an aware moment in UTC as ISO 8601: `2030-12-05T08:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_optional_timestamp(moment: datetime | None) -> str | None:
    """Format a moment as `format_timestamp` does; None stays None."""
    return None if moment is None else format_timestamp(moment)
