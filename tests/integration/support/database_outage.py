"""A database whose connections are lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import close_old_connections, connection


@contextmanager
def database_outage() -> Iterator[None]:
    """The connection is lost, and there is no server to open another to."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    other.close()
    settings = connection.settings_dict
    port, settings["PORT"] = settings["PORT"], "1"
    yield
    settings["PORT"] = port
    # As Django does before each request, except in tests.
    close_old_connections()
