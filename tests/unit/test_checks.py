"""A setting that cannot work is refused at the start, by name."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.core.checks import ERROR, WARNING

from scheduler_service.checks import (
    LEAST,
    check_networks,
    check_settings,
    check_shared_secret,
)


def test_the_defaults_are_sound() -> None:
    assert check_settings() == []


@pytest.mark.parametrize(("name", "least"), [(name, least) for name, least, _ in LEAST])
def test_too_small_a_number_is_refused(
    settings: LazySettings, name: str, least: float
) -> None:
    setattr(settings, name, least - 1)

    [error] = check_settings()

    assert name in error.msg


@pytest.mark.parametrize(
    ("secret", "is_development", "levels"),
    [
        ("", False, []),
        ("x" * 24, False, []),
        ("s3cret", True, [WARNING]),
        ("s3cret", False, [ERROR]),
    ],
)
def test_a_secret_that_may_be_guessed_is_told_of(
    settings: LazySettings, secret: str, is_development: bool, levels: list[int]
) -> None:
    settings.SECRET, settings.DEVELOPMENT = secret, is_development

    assert [found.level for found in check_shared_secret()] == levels


def test_networks_that_are_none_are_refused(settings: LazySettings) -> None:
    assert check_networks() == []

    settings.SCHEDULER_DENIED_NETWORKS = "10.0.0.0/8,203.0.113.7/24"

    [error] = check_networks()
    assert "SCHEDULER_DENIED_NETWORKS" in error.msg
    assert "203.0.113.7/24" in error.msg
