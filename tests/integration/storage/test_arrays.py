"""What is written as an array literal is what PostgreSQL reads."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_service.db.arrays import array

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 (hypothesis adds the zone)
    timezones=st.just(UTC),
)


def read_back(values: list[object], kind: str) -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [array(values)])
        return list(cursor.fetchone()[0])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "elements"),
    [
        ("text", texts),
        ("int", st.integers(-(2**31), 2**31 - 1)),
        ("float", st.floats(allow_nan=False)),
        ("bool", st.booleans()),
        ("uuid", st.uuids()),
        ("timestamptz", moments),
    ],
)
def test_an_array_comes_back_as_it_was(kind: str, elements: st.SearchStrategy) -> None:
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(elements) | st.lists(elements | st.none()))
    def comes_back(values: list[object]) -> None:
        assert read_back(values, kind) == values

    comes_back()


@pytest.mark.django_db
def test_words_that_mean_something_to_postgresql_are_only_words() -> None:
    words = ["NULL", "null", "", " ", "{}", '"', "\\", "a,b", "'; DROP TABLE x; --"]

    assert read_back(list(words), "text") == words


def test_an_id_is_written_plainly() -> None:
    one = uuid.UUID(int=1)

    assert array([one, None]) == f"{{{one.hex},NULL}}"
