"""Read the starts of requests that count against the bounds of tokens."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared
from tasks_api.domain.bounds import WINDOW
from tasks_api.storage import quota_statements as statements


def count_starts(bounds_ids: Collection[int]) -> dict[int, int]:
    """How many starts count against each of some bounds now."""
    with prepared() as cursor:
        values: dict[str, Any] = {"bounds": array(bounds_ids), "window": WINDOW}
        cursor.execute(statements.READ_STARTS, values)
        return dict(cursor.fetchall())


def delete_old_starts() -> None:
    """Delete the starts that count no more, also of tokens that start nothing."""
    with prepared() as cursor:
        values: dict[str, Any] = {"window": WINDOW}
        cursor.execute(statements.DELETE_OLD_STARTS, values)


def find_releases(bounds_id: int, limit: int) -> list[datetime]:
    """When the starts that count stop to do so, the oldest first."""
    with prepared() as cursor:
        values: dict[str, Any] = {"bounds": bounds_id, "window": WINDOW, "limit": limit}
        cursor.execute(statements.FIND_RELEASES, values)
        return [moment for (moment,) in cursor.fetchall()]


def find_first_releases(bounds_ids: Collection[int]) -> dict[int, datetime | None]:
    """When the oldest start that counts against each of some bounds stops to do so."""
    with prepared() as cursor:
        values: dict[str, Any] = {"bounds": array(bounds_ids), "window": WINDOW}
        cursor.execute(statements.READ_FIRST_RELEASES, values)
        return dict(cursor.fetchall())
