"""Execute a statement that takes, and read its rows.

A row has some marks, then the columns of a ClaimedRun, then perhaps further columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import check_columns, prepared, with_limit
from tasks_api.taking.room import Room
from tasks_api.taking.statements import CLAIMED_RUN_COLUMNS
from tasks_api.taking.tenant_shares import TenantShare

Row = tuple[Any, ...]


def fetch_rows(
    statement: str,
    marks: tuple[str, ...],
    room: Room,
    lease: UUID,
    *,
    further: tuple[str, ...] = (),
    shares: Collection[TenantShare] = (),
    **values: Any,
) -> list[Row]:
    values |= {
        "lease": lease,
        "term": settings.SCHEDULER_LEASE,
        "bytes": room.bytes,
        "places_each": room.places_each,
        "tenants": array(room.places_of.keys()),
        "places": array(room.places_of.values()),
        "asks": room.asks_for_limits,
        "over_quota": array(room.over_quota),
        "quota_day": room.quota_day,
        "sharers": array(share.tenant_id for share in shares),
        "shares": array(share.most for share in shares),
    }
    with prepared() as cursor:
        cursor.execute(with_limit(statement, room.limit), values)
        check_columns(cursor, marks + CLAIMED_RUN_COLUMNS + further)
        rows: list[Row] = cursor.fetchall()
    return rows


def unknown_tenants(rows: Iterable[Sequence[Any]], mark: int) -> frozenset[int]:
    """The tenants whose limits a worker has to ask for."""
    return frozenset(row[mark] for row in rows if row[mark] is not None)
