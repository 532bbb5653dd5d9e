"""A setting that cannot work is refused at the start, by name."""

from __future__ import annotations

import pytest
from django.conf import LazySettings

from scheduler_service.checks import LEAST, check_settings


def test_the_defaults_are_sound() -> None:
    assert check_settings() == []


@pytest.mark.parametrize(("name", "least"), [(name, least) for name, least, _ in LEAST])
def test_too_small_a_number_is_refused(
    settings: LazySettings, name: str, least: float
) -> None:
    setattr(settings, name, least - 1)

    [error] = check_settings()

    assert name in error.msg
