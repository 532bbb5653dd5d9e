"""A statement that is said again is executed by the cursor that executed it before."""

from __future__ import annotations

import sys

import pytest
from django.db import connection

from scheduler_service.db.statements import prepared

pytestmark = pytest.mark.django_db(transaction=True)

NUMBERS = "SELECT generate_series(1, 3)"


def test_a_statement_within_itself_keeps_the_rows_of_the_outer_one() -> None:
    with prepared() as outer:
        outer.execute(NUMBERS)
        with prepared() as inner:
            inner.execute(NUMBERS)
            assert inner.fetchall() == [(1,), (2,), (3,)]
        assert outer.fetchone() == (1,)
        assert list(outer) == [(2,), (3,)]


def test_no_rows_are_held_once_they_were_read() -> None:
    with prepared() as cursor:
        cursor.execute(NUMBERS)
        cursor.fetchall()
        result = cursor.pgresult
    del cursor
    # This variable, and the argument.
    assert sys.getrefcount(result) == 2


def test_a_new_connection_has_new_cursors() -> None:
    for _ in range(2):
        with prepared() as cursor:
            cursor.execute(NUMBERS)
            assert cursor.fetchone() == (1,)
        connection.close()
