"""Send the requests of a tenant to another cell."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import directory
from accounts.management.directory_base import DirectoryCommand

# Seconds for the doors to follow.
PATIENCE = 10.0


class Command(DirectoryCommand):
    help = (
        "Send the requests of a tenant to another cell, where its rows are already. This "
        "moves no row."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("cell")

    def handle(self, *args: Any, tenant: str, cell: str, **options: Any) -> str:
        found = directory.find_tenant(tenant)
        if found is None:
            raise CommandError(f"The directory knows no tenant {tenant}.")
        version = directory.flip(found.id, cell)
        if behind := directory.wait_for_doors(version, timeout=PATIENCE):
            names = ", ".join(door.name for door in behind)
            raise CommandError(
                f"The directory has the tenant {tenant} in the cell {cell}, but these "
                f"doors do not follow: {names}. Does follow_directory run there?"
            )
        return f"The requests of {tenant} go to the cell {cell}."
