"""What a session holds goes past a pooler, and all the rest through it."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduler_service.db.direct import DIRECT_ALIAS, direct, direct_as_default
from tasks_api.management.moving_base import MoveCommand
from tasks_api.monitoring import heartbeats
from tasks_api.monitoring.heartbeats import Presence

pytestmark = pytest.mark.django_db(transaction=True)


def session_of(wrapper: BaseDatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@pytest.fixture
def separate(monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """A direct connection to the database of the tests."""
    copied = dict(connection.settings_dict)
    monkeypatch.setitem(connections.settings, DIRECT_ALIAS, copied)
    made = connections.create_connection(DIRECT_ALIAS)
    # Django lets a test use the databases that it names.
    made.alias = "default"
    connections[DIRECT_ALIAS] = made
    yield made
    made.close()
    del connections[DIRECT_ALIAS]


def test_without_a_second_url_it_is_the_usual_connection() -> None:
    assert direct() is connections["default"]
    with direct_as_default():
        assert direct() is connections["default"]


def test_a_presence_does_not_end_with_the_session_of_a_pooler(
    separate: BaseDatabaseWrapper,
) -> None:
    presence = Presence()
    presence.keep()
    heartbeats.record_heartbeat("worker", "w", presence=presence.key)

    connection.close()

    assert heartbeats.find_absent() == set()
    separate.close()
    while heartbeats.find_absent() != {presence.key}:
        pass
    presence.keep()
    assert heartbeats.find_absent() == set()


class SessionCommand(MoveCommand):
    def handle(self, *args: Any, **options: Any) -> str:
        return str(session_of(connection))


def test_a_command_that_moves_tenants_has_a_session_of_its_own(
    separate: BaseDatabaseWrapper,
) -> None:
    usual = session_of(connection)

    said = call_command(SessionCommand(), stdout=StringIO())

    assert int(said) != usual
    assert session_of(connection) == usual


def test_a_migration_has_one_session_whatever_connection_it_names(
    separate: BaseDatabaseWrapper,
) -> None:
    usual = session_of(connection)

    with direct_as_default():
        ours = session_of(connections["default"])
        assert session_of(connection) == ours != usual
        assert connections["default"].alias == "default"

    assert session_of(connection) == usual
