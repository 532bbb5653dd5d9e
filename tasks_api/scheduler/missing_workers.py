"""Notice dead workers by their presence, and spare leases after a database outage."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from django.conf import settings

from scheduler_service.db.direct import direct
from tasks_api.monitoring import heartbeats
from tasks_api.taking import leases

logger = logging.getLogger(__name__)

WORKER_CHECK_INTERVAL = 0.5
# Seconds without a presence after which a worker counts as dead. A worker that only
# lost its session reconnects sooner.
WORKER_GONE_AFTER = 2.0
# Seconds that workers get to reconnect after a restart of PostgreSQL.
RECONNECT_GRACE = 5.0


class OutageGuard:
    """Spares leases that no worker could renew, because the database was away.

    Each beat notices an outage by itself, because its tick takes long. Until workers
    had time to reconnect, only leases that had expired before the outage count as
    expired.
    """

    def __init__(self) -> None:
        # A beat that has just started cannot know whether there was an outage.
        self._until = datetime.min.replace(tzinfo=UTC)
        self._answered_at: float | None = None
        self._settled_at = 0.0

    def leases_until(self, now: datetime, at: float) -> datetime:
        """Return the moment, by the database's clock, up to which leases may expire.

        The caller must read `now` (the database's clock) and `at` (ours) before it
        judges leases: if the server freezes in between, the judgement is by the earlier
        clocks.
        """
        before, self._answered_at = self._answered_at, at
        if before is None:
            self._settled_at = at + RECONNECT_GRACE
        elif at - before > max(settings.SCHEDULER_LEASE / 2, WORKER_GONE_AFTER):
            self._settled_at = at + RECONNECT_GRACE
            logger.warning(
                "A tick took %.1f seconds, as when the database is away; leases are "
                "judged again in %.0f seconds.",
                at - before,
                RECONNECT_GRACE,
            )
        if at >= self._settled_at:
            self._until = now
        return self._until


class MissingWorkers:
    """Notices dead workers, so that their runs need not wait for their leases."""

    def __init__(self) -> None:
        self._missing_since: dict[int, float] = {}
        self._looked_at = 0.0
        self._session: object = None
        self._connected_at = 0.0

    def check(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < WORKER_CHECK_INTERVAL:
            return
        # The pooler's session would hide a restart of PostgreSQL.
        connection = direct()
        connection.ensure_connection()
        is_new = self._session is not connection.connection
        # A beat that has not looked for a while may have missed reconnected workers.
        if is_new or now - self._looked_at > WORKER_GONE_AFTER:
            self._missing_since.clear()
        if is_new:
            self._session, self._connected_at = connection.connection, now
        self._looked_at = now
        if now - self._connected_at >= RECONNECT_GRACE:
            self._look(now)

    def _look(self, now: float) -> None:
        since = self._missing_since
        self._missing_since = {
            presence: since.get(presence, now) for presence in heartbeats.find_absent()
        }
        gone = [
            key
            for key, at in self._missing_since.items()
            if now - at >= WORKER_GONE_AFTER
        ]
        if not gone:
            return
        if runs := leases.release(gone):
            logger.warning("A worker is gone, and %d runs were under way there.", runs)
        heartbeats.remove_absent(gone)
