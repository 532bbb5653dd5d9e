"""Django's backend for PostgreSQL: it checks new sessions, and reads timestamps quickly."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from scheduler_service.compat.django_cursors import load_timestamps_quickly
from scheduler_service.db.sessions import open_session


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        shares_sessions = bool(self.settings_dict.get("SHARES_SESSIONS"))
        return open_session(
            conn_params,
            super().get_new_connection,
            shares_sessions=shares_sessions,
            of_any_cell=bool(self.settings_dict.get("OF_ANY_CELL")),
        )

    def create_cursor(self, name: str | None = None) -> Any:
        cursor = super().create_cursor(name)
        load_timestamps_quickly(cursor)
        return cursor
