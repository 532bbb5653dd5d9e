"""Tell outages of the database from other errors, and summarize errors for logs."""

from __future__ import annotations

import traceback

from django.db import InterfaceError, OperationalError

from tasks_api.delivery.descriptors import LOCAL_ERRNOS

# Frames in a summary: the innermost ones, which say where it arose.
MAX_FRAMES = 4


def is_outage(error: BaseException) -> bool:
    """Whether the database itself is in trouble, and not a statement about some row."""
    return isinstance(error, OperationalError | InterfaceError)


def is_shortage(error: BaseException) -> bool:
    """Whether this machine or process lacks memory or files, which is no row's fault."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in LOCAL_ERRNOS
    )


def first_line(error: BaseException) -> str:
    """What the database says. The lines below quote values of rows."""
    return str(error).partition("\n")[0]


def summarize(error: BaseException) -> str:
    """Its kind, and where it arose: its text may quote URLs, headers and secrets."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    where = " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in reversed(frames)
    )
    return f"{type(error).__name__} at {where}" if where else type(error).__name__
