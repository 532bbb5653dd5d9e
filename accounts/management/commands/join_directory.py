"""Tell the directory of the tenants of this cell."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandError

from accounts import services
from accounts.management.directory_base import DirectoryCommand

NO_MOVES = (
    "No tenant moves between this cell and others: it has tasks already, and makes the "
    "ids of their runs with another key."
)


class Command(DirectoryCommand):
    help = (
        "Tell the directory of the tenants of this cell, SCHEDULER_CELL, and of tokens and "
        "secrets that name no tenant. May be repeated."
    )

    def handle(self, *args: Any, **options: Any) -> str:
        if not settings.SCHEDULER_CELL:
            raise CommandError("SCHEDULER_CELL does not say which cell this is.")
        joined = services.join_directory()
        text = (
            f"The directory knows {joined.tenants} tenants of {settings.SCHEDULER_CELL} "
            f"and {joined.credentials} old tokens and shared secrets. New rows have ids "
            f"from {joined.first_id} on."
        )
        return text if joined.shares_run_key else f"{text} {NO_MOVES}"
