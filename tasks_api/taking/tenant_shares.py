"""Share one batch among the tenants that have something due, in turns."""

from __future__ import annotations

from typing import NamedTuple

from scheduler_service.db.statements import prepared, with_limit
from tasks_api.taking.room import Room

# Tenants that one look steps over in the index. With more, the next look goes on there.
MAX_TENANTS = 1000


class TenantShare(NamedTuple):
    """The most due rows of a tenant that one batch may take."""

    tenant_id: int
    most: int


class TenantShares:
    """Divides batches, for as long as more is due than a batch takes.

    Without a crowd, the earliest rows are taken, whosever they are, and no tenant is
    asked for.
    """

    def __init__(self, find_tenants: str) -> None:
        self._find_tenants = with_limit(find_tenants, MAX_TENANTS)
        self._after = 0
        # Whether batches are divided among tenants.
        self.is_crowded = False
        # After the last batch: whether more may be due, and whether only room lacks.
        self.is_full = False
        self.lacks_room = False

    def choose(self, room: Room) -> list[TenantShare] | None:
        """The shares of the next batch; None: the earliest rows, whosever they are."""
        return self.divide(room) if self.is_crowded else None

    def note_batch(
        self, shares: list[TenantShare] | None, room: Room, *, due: int, left: int
    ) -> None:
        """Take note of a batch that saw so many due rows, some of which had no room."""
        self.is_full = due >= room.limit if shares is None else due > 0
        self.lacks_room = left > 0 or shares == []
        self.is_crowded = self.is_full or self.lacks_room

    def note_unfinished(self) -> None:
        """Take note that more is due, though the batch was not full."""
        self.is_full = self.is_crowded = True

    def note_nothing_due(self) -> None:
        self.is_full = self.lacks_room = self.is_crowded = False

    def divide(self, room: Room) -> list[TenantShare]:
        """The shares of the next tenants, at most as many as there are places."""
        ready = [
            tenant_id
            for tenant_id in self._find_ready()
            if room.places_for(tenant_id) > 0
        ][: room.limit]
        if len(ready) == room.limit:
            self._after = ready[-1]
        part = max(1, room.limit // max(1, len(ready)))
        return [TenantShare(each, min(part, room.places_for(each))) for each in ready]

    def _find_ready(self) -> list[int]:
        """Tenants with due rows; a full round of them, if they are few."""
        rows = self._read(self._after)
        if len(rows) < MAX_TENANTS:
            # The round ends here, so it begins anew.
            after, self._after = self._after, 0
            if after:
                rows += [row for row in self._read(0) if row[0] <= after]
        else:
            self._after = rows[-1][0]
        return [tenant_id for tenant_id, is_due in rows if is_due]

    def _read(self, after: int) -> list[tuple[int, bool]]:
        with prepared() as cursor:
            cursor.execute(self._find_tenants, {"after": after})
            rows: list[tuple[int, bool]] = cursor.fetchall()
        return rows
