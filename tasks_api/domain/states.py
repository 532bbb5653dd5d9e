"""The states of a run and the moves between them.

    pending ──► running ──► succeeded | failed
       ▲           │  ▲
       └─ retrying ◄  └─ or open: the target is still at work on the run

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


class EndReason(StrEnum):
    """Why a task has ended."""

    # The end of its schedule has passed.
    OVER = "over"
    # Its schedule has made as many runs as it may.
    MAX_RUNS = "max_runs"
    # A run of its schedule has succeeded, and the task stops on success.
    SUCCEEDED = "succeeded"
    # A one-time task has run.
    COMPLETED = "completed"
    REMOVED = "removed"
    # The target answered 410.
    GONE = "gone (HTTP 410)"


# A run that is over later than this after its fire time is a late one.
LATE_AFTER = timedelta(hours=6)


class Stage(TextChoices):
    """The place of a run's row: the partition of the table that holds it."""

    LIVE = "live"
    # History, in partitions by the day of the fire time.
    OVER = "over"
    # History of runs that were over long after their fire times.
    LATE = "late"
    # Unfinished runs of a frozen tenant, which no worker takes and no beat looks after.
    PARKED = "parked"
    # History in the table of a release before, from which housekeeping moves it.
    BEFORE = "before"


UNFINISHED_STATES = frozenset(RunState) - FINAL_STATES

# A user may redrive runs in these states.
UNDELIVERED_STATES = FINAL_STATES - {RunState.SUCCEEDED}


class Trouble(StrEnum):
    """The reason why a worker released a run unsent, to be sent later or elsewhere."""

    # No name server gives an address of the host.
    SILENT_NAMES = "its name servers do not answer"
    # Others wait before it, and other runs need its place.
    CROWDED = "too many wait before it"
    # The machine lacks what a request needs, such as a free descriptor.
    LOCAL = "local trouble"
    # A user cancelled the run while its request was under way.
    CANCELLED = "cancelled"
    # This release cannot read the row: a newer one may have written it.
    NOT_UNDERSTOOD = "not understood"


class BreakerState(TextChoices):
    """Whether a lane's breaker lets requests start."""

    CLOSED = "closed"
    # Nothing starts until the breaker's time is over.
    OPEN = "open"
    # One request, the probe, is under way; nothing else starts.
    HALF_OPEN = "half_open"
