"""Django's backend for PostgreSQL, which checks each new session before it is used."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from scheduler_service.db.sessions import open_session


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        return open_session(conn_params, super().get_new_connection)
