"""Whether the tables fit the code: said in a sentence, before each statement fails by itself.

A migration adds, which the code before it bears. One that takes away says so by its name,
`NNNN_contract_…`, and the code before it does not fit any more; see docs/how-to/upgrading.md.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

logger = logging.getLogger(__name__)

CONTRACT = "_contract_"


def complaint() -> str:
    """Why tables and code do not fit, or nothing. Raises DatabaseError without an answer."""
    applied, known = set(MigrationRecorder(connection).applied_migrations()), _known()
    if missing := sorted(known - applied):
        return (
            f"The tables are older than this code: {_named(missing)} not applied. "
            "Run `manage.py migrate`."
        )
    apps = {app for app, _ in known}
    if newer := sorted(
        (app, name) for app, name in applied - known if app in apps and CONTRACT in name
    ):
        return (
            f"The tables are newer than this code, and do without something that it needs: "
            f"{_named(newer)} applied. Run the newer release."
        )
    return ""


def say_what_does_not_fit() -> str:
    """The complaint, logged; nothing where the database does not answer yet."""
    try:
        found = complaint()
    except DatabaseError:
        return ""
    finally:
        connection.close()
    if found:
        logger.critical("%s", found)
    return found


def _named(migrations: list[tuple[str, str]]) -> str:
    names = ", ".join(f"{app}.{name}" for app, name in migrations[:3])
    more = f" and {len(migrations) - 3} more" if len(migrations) > 3 else ""
    return f"{names}{more} {'is' if len(migrations) == 1 else 'are'}"


@lru_cache(maxsize=1)
def _known() -> frozenset[tuple[str, str]]:
    """The migrations that came with this code."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return frozenset(loader.disk_migrations or ())
