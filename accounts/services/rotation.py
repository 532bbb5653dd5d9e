"""The overlap of a rotation: how long the old token or secret stays valid."""

from __future__ import annotations

from datetime import timedelta

from accounts.services.errors import AccountError

# Long enough for every client to switch.
DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)


def check_overlap(overlap: timedelta) -> None:
    if not timedelta() <= overlap <= MAX_OVERLAP:
        raise AccountError(f"The overlap must be from 0 to {MAX_OVERLAP.days} days.")
