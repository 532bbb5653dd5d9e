"""A statement that is said again is executed by the cursor that executed it before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import NotSupportedError, OperationalError, connection, transaction

from scheduler_service.db import statements
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


@pytest.fixture
def things() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE things AS SELECT 'a'::varchar(12) AS name")
    for _ in range(3):
        assert first_thing() == ("a",)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE things")


def first_thing() -> tuple[Any, ...] | None:
    with prepared() as cursor:
        cursor.execute("SELECT name FROM things")
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def change_type_of_things() -> None:
    """As another process does: psycopg forgets what it prepared after an ALTER of its own."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("ALTER TABLE things ALTER COLUMN name TYPE varchar(32)")
    finally:
        other.close()


@pytest.mark.usefixtures("things")
def test_after_a_migration_changed_a_result_the_session_is_another_one() -> None:
    change_type_of_things()

    with pytest.raises(OperationalError, match="must not change result type"):
        first_thing()
    assert first_thing() == ("a",)


@pytest.mark.usefixtures("things")
def test_after_a_transaction_it_is_prepared_anew() -> None:
    change_type_of_things()

    with pytest.raises(NotSupportedError), transaction.atomic():
        first_thing()
    assert first_thing() == ("a",)


@pytest.mark.usefixtures("things")
def test_what_opens_a_request_does_not_notice_it() -> None:
    for _ in range(3):
        assert statements.first("SELECT name FROM things", {}) == ("a",)
    change_type_of_things()

    assert statements.first("SELECT name FROM things", {}) == ("a",)
