"""`manage.py issue_token --bounds`: the bounds of the API, and errors that name the field."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from accounts import services
from accounts.models import Token, digest

pytestmark = pytest.mark.django_db


def issue(*arguments: str) -> str:
    out = io.StringIO()
    who = ("--tenant", "acme", "--user", "ann")
    call_command("issue_token", *who, *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


def test_a_token_with_bounds_is_issued() -> None:
    clear_text = issue("--bounds", '{"hosts": ["api.example.com"], "tasks": 3}')

    token = Token.objects.get(digest=digest(clear_text))
    assert token.bounds is not None
    assert services.show_bounds(token.bounds) == {
        "hosts": ["api.example.com"],
        "tasks": 3,
    }


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        ('{"hosts": ["a/b"]}', "Invalid value of bounds.hosts. A host has no path"),
        ('{"host": ["a"]}', "Unknown field: bounds.host. Did you mean bounds.hosts?"),
        ("{}", "Invalid value of bounds. Value should be an object with a bound."),
        ("{hosts", "argument --bounds: this is no JSON"),
    ],
)
def test_bounds_that_cannot_be_are_named_and_nothing_is_stored(
    bounds: str, error: str
) -> None:
    with pytest.raises(CommandError, match=error):
        issue("--bounds", bounds)

    assert not Token.objects.exists()
