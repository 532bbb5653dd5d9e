"""Connections have limits, give up on a silent server, and let a migration go on."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.models import User
from scheduler_service import settings as configured
from scheduler_service.db import timeouts
from tests.acceptance.harness import ROOT
from tests.conftest import ClientFor

pytestmark = pytest.mark.django_db(transaction=True)


def show_setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


def session_of(connection: BaseDatabaseWrapper) -> tuple[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        session: tuple[int] = cursor.fetchone()
    return session


@pytest.fixture
def reconnect() -> Iterator[None]:
    """A test may change how connections are made."""
    connection.close()
    yield
    connection.close()


def test_a_connection_has_limits() -> None:
    assert show_setting("statement_timeout") == "30s"
    assert show_setting("lock_timeout") == "10s"
    assert show_setting("idle_in_transaction_session_timeout") == "1min"


def test_a_migration_has_none_and_leaves_them_as_they_were() -> None:
    with timeouts.without_limits(connection):
        assert show_setting("statement_timeout") == "0"
        assert show_setting("lock_timeout") == "0"
        assert "wait" not in vars(connection.connection)

    assert show_setting("statement_timeout") == "30s"
    assert "wait" in vars(connection.connection)


def test_no_request_fails_for_a_session_that_ended_between_two(
    client_for: ClientFor, user: User
) -> None:
    api = client_for(user)
    assert api.get("/tasks/").status_code == 200
    [ours] = session_of(connection)
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [ours])

    # As Django's server does between two requests.
    connection.close_if_unusable_or_obsolete()

    assert api.get("/tasks/").status_code == 200


def test_a_server_that_says_nothing_is_given_up(
    settings: LazySettings, reconnect: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATABASE_STATEMENT_TIMEOUT = 0.5 - timeouts.SERVER_HEAD_START

    connection.ensure_connection()
    session = connection.connection.info.backend_pid
    # To us it is the same whether the server works for long or is frozen.
    with pytest.raises(OperationalError, match=r"did not answer for 0\.5 seconds"):
        connection.cursor().execute("SELECT pg_sleep(30)")

    assert "PostgreSQL did not answer for 0.5 seconds." in caplog.messages
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [session])


def test_what_the_server_refuses_is_not_silence(reconnect: None) -> None:
    with pytest.raises(OperationalError, match="statement timeout"):
        connection.cursor().execute("SET statement_timeout = 50; SELECT pg_sleep(30)")

    assert connection.is_usable()


def test_a_connection_is_closed_as_soon_as_nobody_has_it(reconnect: None) -> None:
    connection.ensure_connection()
    raw = weakref.ref(connection.connection)

    connection.close()

    assert raw() is None


@pytest.mark.parametrize(
    ("url", "seconds", "expected"),
    [
        ("", "0", "0/0"),
        ("?options=-c%20lock_timeout%3D5", "7", "7s/5ms"),
    ],
)
def test_the_environment_and_the_url_say_which(
    url: str, seconds: str, expected: str
) -> None:
    code = (
        "import django; django.setup(); from django.db import connection as c;"
        "k = c.cursor(); k.execute('SHOW statement_timeout'); a = k.fetchone()[0];"
        "k.execute('SHOW lock_timeout'); print(f'{a}/{k.fetchone()[0]}')"
    )
    given = configured.DATABASE_URL
    joined = given + (url.replace("?", "&") if "?" in given else url)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "scheduler_service.settings",
        "DATABASE_URL": joined,
        "DATABASE_STATEMENT_TIMEOUT": seconds,
        "DATABASE_LOCK_TIMEOUT": seconds,
    }

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True
    )

    assert done.stdout.decode().strip() == expected, done.stderr.decode()
