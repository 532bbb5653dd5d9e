"""The states of a run and the moves between them.

    pending ──► running ──► succeeded | failed
       ▲           │  ▲
       └─ retrying ◄  └─ or open: the target is at work on it still

A run that never starts ends as skipped, missed or cancelled, with a reason.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from django.db.models import TextChoices


class RunState(TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    OPEN = "open"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.SKIPPED,
        RunState.MISSED,
        RunState.CANCELLED,
    }
)

# Those that somebody must look at again.
UNFINISHED_STATES = frozenset(RunState) - FINAL_STATES

# Those that may be sent again.
UNDELIVERED_STATES = FINAL_STATES - {RunState.SUCCEEDED}

# A message that no worker took is repeated after this long, then after twice as long.
RING_AGAIN_DELAY = timedelta(seconds=5)


class Trouble(StrEnum):
    """Why nothing was sent for a run that may well be sent later, or by another worker."""

    # Nobody says where its host is.
    SILENT_NAMES = "its name servers do not answer"
    # Others stand before it, and it is in the way of others.
    CROWDED = "too many wait before it"
    # The machine lacks what a request needs, such as a free descriptor.
    LOCAL = "local trouble"
    # This release does not know what the row asks for.
    NOT_UNDERSTOOD = "not understood"
