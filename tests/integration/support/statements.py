"""Statements that a block of a test executes, to be counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler_service.db import clock


@contextmanager
def captured_statements() -> Iterator[CaptureQueriesContext]:
    """The statements of a block, without the one that asks for the time once a second."""
    clock.read()
    with CaptureQueriesContext(connection) as captured:
        yield captured
