"""Shared code of the commands that move tenants."""

from __future__ import annotations

from typing import Any

from accounts.management.base import AccountCommand
from scheduler_service.db.direct import direct_as_default


class MoveCommand(AccountCommand):
    """A command that holds a lock, and reads from a snapshot, past any pooler."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        with direct_as_default():
            return super().execute(*args, **options)
