"""Share one batch among the tenants that have something due, in turns."""

from __future__ import annotations

from typing import NamedTuple

from scheduler_service.db.statements import prepared, with_limit
from tasks_api.taking.room import Room
from tasks_api.taking.tenant_statements import TenantSearch

# Tenants that one look steps over in the index. With more, the next look goes on there.
MAX_TENANTS = 1000
# Rows at each end of what is due whose tenants a look finds where there are more tenants.
MAX_ROWS = 500


class TenantShare(NamedTuple):
    """The most due rows of a tenant that one batch may take."""

    tenant_id: int
    most: int


class TenantShares:
    """Divides batches, for as long as more is due than a batch takes.

    Without a crowd, the earliest rows are taken, whosever they are, and no tenant is
    asked for.
    """

    def __init__(self, search: TenantSearch) -> None:
        self._find_in_turn = with_limit(search.in_turn, MAX_TENANTS)
        self._find_by_moment = with_limit(search.by_moment, MAX_ROWS)
        # The next turn begins after this tenant.
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
        began = self._after
        ready = [
            tenant_id
            for tenant_id in self._find_ready()
            if room.places_for(tenant_id) > 0
        ]
        if len(ready) >= room.limit:
            ready = ready[: room.limit]
            self._end_turn(began, last=ready[-1])
        part = max(1, room.limit // max(1, len(ready)))
        return [TenantShare(each, min(part, room.places_for(each))) for each in ready]

    def _end_turn(self, began: int, *, last: int) -> None:
        """Begin the next turn after the last tenant that has a share.

        If that lies beyond the tenants of this turn, they all have their shares.
        """
        is_full_round = self._after == 0
        if is_full_round or began < last < self._after:
            self._after = last

    def _find_ready(self) -> list[int]:
        """Tenants with due rows: a full round of them, if they are few.

        The tenants of this turn come first.
        """
        began = self._after
        ready = {tenant_id for tenant_id, is_due in self._read_turn() if is_due}
        if self._after:
            ready |= self._read_by_moment()
        return sorted(ready, key=lambda tenant_id: (tenant_id <= began, tenant_id))

    def _read_turn(self) -> list[tuple[int, bool]]:
        rows = self._read(self._after)
        if len(rows) < MAX_TENANTS:
            # The round ends here, so it begins anew.
            after, self._after = self._after, 0
            if after:
                rows += [row for row in self._read(0) if row[0] <= after]
        else:
            self._after = rows[-1][0]
        return rows

    def _read(self, after: int) -> list[tuple[int, bool]]:
        with prepared() as cursor:
            cursor.execute(self._find_in_turn, {"after": after})
            rows: list[tuple[int, bool]] = cursor.fetchall()
        return rows

    def _read_by_moment(self) -> set[int]:
        with prepared() as cursor:
            cursor.execute(self._find_by_moment, {})
            return {tenant_id for (tenant_id,) in cursor.fetchall()}
