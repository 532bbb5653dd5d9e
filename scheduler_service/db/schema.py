"""Check that the tables fit the code, and log a sentence if they do not.

Most migrations only add, so that older code still works. One that removes something is
called `NNNN_contract_…`, and older code no longer works; see docs/how-to/upgrading.md.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

logger = logging.getLogger(__name__)

CONTRACT_MARK = "_contract_"


def find_schema_problem() -> str:
    """Why tables and code do not fit; empty if they do. Raises DatabaseError."""
    applied, known = (
        set(MigrationRecorder(connection).applied_migrations()),
        _known_migrations(),
    )
    if missing := sorted(known - applied):
        return (
            f"The tables are older than this code: {_list_names(missing)} not applied. "
            "Run `manage.py migrate`."
        )
    apps = {app for app, _ in known}
    if newer := sorted(
        (app, name)
        for app, name in applied - known
        if app in apps and CONTRACT_MARK in name
    ):
        return (
            f"The tables are newer than this code, and do without something that it needs: "
            f"{_list_names(newer)} applied. Run the newer release."
        )
    return ""


def log_schema_problem() -> str:
    """Log and return the problem; nothing if the database does not answer."""
    try:
        found = find_schema_problem()
    except DatabaseError:
        return ""
    finally:
        connection.close()
    if found:
        logger.critical("%s", found)
    return found


def _list_names(migrations: list[tuple[str, str]]) -> str:
    names = ", ".join(f"{app}.{name}" for app, name in migrations[:3])
    more = f" and {len(migrations) - 3} more" if len(migrations) > 3 else ""
    return f"{names}{more} {'is' if len(migrations) == 1 else 'are'}"


@lru_cache(maxsize=1)
def _known_migrations() -> frozenset[tuple[str, str]]:
    """The migrations of this code."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return frozenset(loader.disk_migrations or ())
