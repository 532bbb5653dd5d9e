"""Delete what is left here of a tenant that has moved."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts.management.base import find_tenant
from tasks_api.management.moving_base import MoveCommand
from tasks_api.moving import forgetting


class Command(MoveCommand):
    help = (
        "Delete the rows of a tenant that lives in another database now. Repeat the "
        "command if it was cut off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("tenant", nargs="?")
        which.add_argument(
            "--all", action="store_true", help="All tenants that have moved."
        )
        parser.add_argument(
            "--yes", action="store_true", help="It cannot be taken back."
        )
        parser.add_argument(
            "--imported",
            action="store_true",
            help="The tenant went into a file, and the file was imported elsewhere.",
        )

    def handle(
        self,
        *args: Any,
        tenant: str | None,
        yes: bool,
        imported: bool,
        **options: Any,
    ) -> str:
        found = None if tenant is None else find_tenant(tenant)
        if not yes:
            whom = found or "all tenants that have moved"
            raise CommandError(
                f"Say --yes to delete for good what is left here of {whom}."
            )
        if found is None:
            count = forgetting.forget_all(self.stderr.write)
            return f"Nothing is left here of {count} tenants."
        forgetting.forget_tenant(found, self.stderr.write, was_imported=imported)
        return f"Nothing is left here of the tenant {tenant}."
