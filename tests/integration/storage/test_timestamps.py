"""Whatever reads a timestamp, it is the moment that PostgreSQL stores, in UTC."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper

from scheduler_service.db.statements import prepared

OpenCursor = Callable[[], AbstractContextManager[CursorWrapper]]
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("open_cursor", [connection.cursor, prepared])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_a_timestamp_is_the_moment_that_is_stored(
    open_cursor: OpenCursor, zone: str
) -> None:
    with open_cursor() as cursor:
        cursor.execute(f"SET LOCAL TimeZone TO '{zone}'")
        cursor.execute("SELECT '2026-11-29 01:02:03.000004-05'::timestamptz")
        [(moment,)] = cursor.fetchall()

    assert moment == datetime(2026, 11, 29, 6, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize("open_cursor", [connection.cursor, prepared])
def test_a_timestamp_is_in_utc(open_cursor: OpenCursor) -> None:
    with open_cursor() as cursor:
        cursor.execute("SELECT '2026-11-29 01:02:03-05'::timestamptz")
        [(moment,)] = cursor.fetchall()

    assert moment.tzinfo is UTC
