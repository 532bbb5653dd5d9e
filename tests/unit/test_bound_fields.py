"""The bounds of a token are read strictly, and each error names its field."""

from __future__ import annotations

import pytest

from tasks_api.domain.bound_fields import read_bounds
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.exceptions import InvalidTask


def test_bounds_are_read_as_they_are_kept() -> None:
    given = {
        "hosts": ["API.example.com", "api.example.com"],
        "methods": ["post", "PUT"],
        "runs_per_day": 100,
        "horizon": None,
    }

    assert read_bounds(given) == Bounds(
        hosts=("api.example.com",), methods=("POST", "PUT"), runs_per_day=100
    )


@pytest.mark.parametrize(
    ("given", "field", "hint"),
    [
        (None, "bounds", "an object with a bound"),
        ({}, "bounds", "an object with a bound"),
        ([], "bounds", "an object with a bound"),
        ("hosts", "bounds", "an object with a bound"),
        ({"hsots": ["a"]}, "bounds.hsots", "Did you mean bounds.hosts?"),
        ({"x" * 500: 1}, f"bounds.{'x' * 100}", "Unknown field"),
        ({"hosts": "a"}, "bounds.hosts", "a list of at most 100 strings"),
        ({"tags": ["x" * 101]}, "bounds.tags", "1 to 100 characters"),
        ({"runs_per_day": 100_001}, "bounds.runs_per_day", "at most 100000"),
        ({"tasks": 1.5}, "bounds.tasks", "a whole number from 1"),
        ({"tasks": True}, "bounds.tasks", "a whole number from 1"),
        ({"horizon": 10**400}, "bounds.horizon", "a whole number from 1"),
    ],
)
def test_an_error_names_the_field(given: object, field: str, hint: str) -> None:
    with pytest.raises(InvalidTask, match=hint) as refusal:
        read_bounds(given)

    assert refusal.value.field == field
