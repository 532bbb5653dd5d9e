"""A setting that cannot work is refused at the start, by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.checks import ERROR, WARNING
from django.core.checks.registry import registry

from accounts.management.base import AccountCommand
from scheduler_service.startup.checks import (
    CHECKS,
    CLIENT_VARIABLES,
    MINIMUMS,
    check_cells,
    check_environment,
    check_networks,
    check_open_metrics,
    check_settings,
    check_shared_secret,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_defaults_are_sound() -> None:
    assert check_settings() == []


def test_commands_check_the_settings_and_nothing_else() -> None:
    tags = set(AccountCommand.requires_system_checks)

    chosen: set[object] = {
        each for each in registry.get_checks() if tags & set(each.tags)
    }

    assert chosen == set(CHECKS)


@pytest.mark.parametrize(
    ("name", "least"), [(name, least) for name, least, _ in MINIMUMS]
)
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
def test_a_secret_that_can_be_guessed_is_a_warning(
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


@pytest.mark.parametrize(
    ("host", "port", "token", "warned"),
    [
        ("0.0.0.0", 9400, "", True),  # noqa: S104 (nobody listens)
        ("::", 9400, "", True),
        ("10.0.0.7", 9400, "", True),
        ("0.0.0.0", 9400, "t", False),  # noqa: S104 (the same)
        ("0.0.0.0", 0, "", False),  # noqa: S104 (the same)
        ("127.0.0.1", 9400, "", False),
        ("::1", 9400, "", False),
    ],
)
def test_metrics_that_are_open_beyond_this_machine_are_warned_of(
    settings: LazySettings, host: str, port: int, token: str, warned: bool
) -> None:
    settings.HOST, settings.METRICS_PORT, settings.METRICS_TOKEN = host, port, token

    assert [w.id for w in check_open_metrics()] == ["scheduler.W004"] * warned


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SCHEDULER_RETENSION_DAYS", " Is SCHEDULER_RETENTION_DAYS meant?"),
        ("SCHEDULER_MAX_INFLIGHT", " Is SCHEDULER_MAX_IN_FLIGHT meant?"),
        ("SCHEDULER_XYZZY_PLUGH", ""),
    ],
)
def test_a_misspelt_variable_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")

    [warning] = check_environment()

    assert warning.msg == f"{name} is no setting, and does nothing.{meant}"


@pytest.mark.parametrize(
    "name",
    [
        "SCHEDULER_LEASE",
        "SCHEDULER_ENV",
        "SCHEDULER_URL",
        "SCHEDULER_SERVICE_HOST",
        "SCHEDULER_WEB_SERVICE_PORT_HTTP",
        "SCHEDULER_PORT",
        "SCHEDULER_PORT_8000_TCP_ADDR",
        "OTHER_SCHEDULER",
    ],
)
def test_what_is_known_or_of_somebody_else_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")

    assert check_environment() == []


def test_what_the_client_reads_is_known() -> None:
    sources = (ROOT / "clients" / "python" / "src").rglob("*.py")
    named = {
        name
        for path in sources
        for name in re.findall(r"SCHEDULER_[A-Z_]+", path.read_text(encoding="utf-8"))
    }

    assert named <= CLIENT_VARIABLES


@pytest.mark.parametrize(
    ("cell", "anonymous", "words"),
    [
        ("a", "", []),
        ("", "", ["SCHEDULER_CELL does not say"]),
        ("a", "Alpha", ["SCHEDULER_ANONYMOUS_TENANT cannot be used"]),
    ],
)
def test_a_directory_needs_the_name_of_the_cell(
    settings: LazySettings, cell: str, anonymous: str, words: list[str]
) -> None:
    settings.DIRECTORY_URL = "postgresql:///directory"
    settings.SCHEDULER_CELL = cell
    settings.SCHEDULER_ANONYMOUS_TENANT = anonymous

    errors = [found.msg for found in check_cells()]

    assert len(errors) == len(words)
    assert all(word in error for word, error in zip(words, errors, strict=True))


def test_one_cell_alone_needs_no_name(settings: LazySettings) -> None:
    settings.SCHEDULER_ANONYMOUS_TENANT = "Alpha"

    assert check_cells() == []
