"""Notice edits of schedules in the admin or a shell, and follow them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tasks_api.scheduler import isolation
from tasks_api.storage import schedule_edits

# Edited tasks that are followed at once.
BATCH_SIZE = 1000


class EditFollower:
    """Makes tasks follow edits of their schedules in the admin, a shell or the ORM."""

    def __init__(self) -> None:
        self._followed: object = self  # equals no date, so the first call follows all

    def follow(self, edited_at: datetime | None) -> bool:
        """Follow the edits up to a moment; return whether there may have been any."""
        if edited_at == self._followed:
            return False
        before: set[UUID] = set()
        while drifted := schedule_edits.find_edited_task_ids(limit=BATCH_SIZE):
            if before.issuperset(drifted) or not isolation.sync_admin_edits(drifted):
                # Another beat has locked them, or their schedules cannot be read.
                return True
            before.update(drifted)
        self._followed = edited_at
        return True
