"""The runs that one call changes: chosen by a filter or by their ids, the oldest first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import with_limit
from tasks_api.domain.states import RunState


@dataclass(frozen=True)
class RunSelection:
    """Which runs a call changes; None lets all of them through."""

    states: Collection[RunState]
    task_id: UUID | None = None
    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    # The reason as the sums of hours name it, and the status of the last answer.
    reason: str | None = None
    code: int | None = None
    # A part of the task's name, in lower case.
    name: str | None = None
    run_ids: Collection[UUID] | None = None
    backfill_id: UUID | None = None

    def find(self, statement: str, user: User, *, limit: int) -> list[UUID]:
        """Return the ids of the runs that the user reaches, by one of the statements."""
        with connection.cursor() as cursor:
            cursor.execute(with_limit(statement, limit), self._values(user))
            return [run_id for (run_id,) in cursor.fetchall()]

    def _values(self, user: User) -> dict[str, Any]:
        return {
            "owner": user.pk,
            "reaches_all": user.reaches_tenant,
            "tenant": user.tenant_id,
            "states": array(sorted(self.states)),
            "task": self.task_id,
            "since": self.since,
            "until": self.until,
            "reason": self.reason,
            "code": self.code and str(self.code),
            "name": self.name,
            "backfill": self.backfill_id,
            "runs": None if self.run_ids is None else array(self.run_ids),
        }
