"""What production refuses to start with, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ENVIRONMENT = {
    "SCHEDULER_ENV": "production",
    "SECRET_KEY": "k" * 32,
    "DATABASE_URL": "postgresql://u:p@localhost/x",
    "REDIS_URL": "redis://localhost/0",
}


def load(expression: str = "''", **more: str) -> subprocess.CompletedProcess[str]:
    """A process that has these settings, and prints something of them."""
    program = f"from scheduler_service import settings; print({expression})"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"]} | ENVIRONMENT | more,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("key", ["", "x", "k" * 31])
def test_production_refuses_a_key_that_may_be_guessed(key: str) -> None:
    done = load(SECRET_KEY=key)

    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr.splitlines()[-1]
    assert load().returncode == 0


def test_a_former_key_may_be_as_it_was() -> None:
    assert load(SECRET_KEY_FALLBACKS="short").returncode == 0


def test_development_takes_any_key() -> None:
    assert load(SECRET_KEY="x", SCHEDULER_ENV="development").returncode == 0


def test_a_session_ends_within_the_day_and_other_names_are_left_alone() -> None:
    shown = (
        "settings.SESSION_COOKIE_AGE, settings.SECURE_HSTS_SECONDS > 0, "
        "settings.SECURE_HSTS_INCLUDE_SUBDOMAINS, settings.SECURE_HSTS_PRELOAD"
    )

    assert load(shown).stdout.strip() == "43200 True False False"
    asked = {"SECURE_HSTS_INCLUDE_SUBDOMAINS": "1", "SECURE_HSTS_PRELOAD": "1"}
    assert load(shown, **asked).stdout.strip() == "43200 True True True"


def test_a_secret_of_timers_is_long_in_production() -> None:
    assert load("settings.SCHEDULER_MIN_SECRET_LENGTH").stdout.strip() == "24"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("smtp://mail.example.com", "smtp.EmailBackend mail.example.com 25 False"),
        (
            "smtp+tls://u:p@mail.example.com:587",
            "smtp.EmailBackend mail.example.com 587 True",
        ),
        ("", "dummy.EmailBackend localhost 25 False"),
    ],
)
def test_mail_leaves_through_the_server_of_its_url(url: str, shown: str) -> None:
    names = ("EMAIL_BACKEND", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_USE_TLS")
    expression = ", ".join(f"settings.{name}" for name in names)

    done = load(expression, EMAIL_URL=url)

    assert done.stdout.strip().removeprefix("django.core.mail.backends.") == shown


@pytest.mark.parametrize(
    "url", ["mail.example.com", "http://x/", "smtp://u:s3cret@h:x"]
)
def test_a_mail_server_that_cannot_be_read_is_named_without_its_password(
    url: str,
) -> None:
    done = load(EMAIL_URL=url)

    assert done.returncode != 0
    assert "EMAIL_URL" in done.stderr.splitlines()[-1]
    assert "s3cret" not in done.stderr


def test_behind_a_pooler_that_shares_sessions_nothing_is_prepared() -> None:
    shown = "[(n, d['OPTIONS'].get('prepare_threshold'), d['SHARES_SESSIONS']) for n, d in settings.DATABASES.items()]"

    assert load(shown).stdout.strip() == "[('default', 2, False)]"
    direct = {"DATABASE_DIRECT_URL": "postgresql://u:p@a,b/x"}
    assert (
        load(shown, **direct).stdout.strip()
        == "[('default', None, True), ('direct', 2, False)]"
    )


def test_a_direct_url_alone_is_refused() -> None:
    done = load(DATABASE_DIRECT_URL="postgresql://u:p@a/x", DATABASE_URL="")

    assert done.returncode != 0
    assert "DATABASE_DIRECT_URL is set, and DATABASE_URL is not" in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "redis://localhost/0 redis://localhost/0"),
        ({"CELERY_BROKER_URL": "amqp://a//"}, "amqp://a// redis://localhost/0"),
        ({"CELERY_BROKER_URL": "redis://b/1"}, "redis://b/1 redis://localhost/0"),
        ({"CELERY_BROKER_URL": "amqp://a//", "REDIS_URL": ""}, "amqp://a//"),
        (
            {"CELERY_BROKER_URL": "redis://b/1", "REDIS_URL": ""},
            "redis://b/1 redis://b/1",
        ),
    ],
)
def test_the_broker_is_redis_unless_another_one_is_named(
    given: dict[str, str], expected: str
) -> None:
    shown = (
        "settings.CELERY_BROKER_URL, settings.REDIS_URL, settings.EMBEDDED_REDIS or ''"
    )

    assert load(shown, **given).stdout.strip() == expected
