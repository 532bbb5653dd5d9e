"""Move a tenant with all that there is of it to another cell, or to another database."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts.management.base import find_tenant
from tasks_api.management.moving_base import MoveCommand
from tasks_api.moving import moves, taking_back


class Command(MoveCommand):
    help = (
        "Move a tenant to another cell, or to another database of this release. Meanwhile "
        "nobody changes it, and nothing of it is sent. Repeat the command if it was cut off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument(
            "--to",
            metavar="CELL|URL",
            help="A cell of the directory, to which the tenant's requests go as well; or a "
            "database: postgresql://user:password@host:5432/name",
        )
        parser.add_argument(
            "--abort",
            action="store_true",
            help="Take the move back, unless the tenant has arrived.",
        )

    def handle(
        self, *args: Any, tenant: str, to: str | None, abort: bool, **options: Any
    ) -> str:
        found = find_tenant(tenant)
        if abort:
            taking_back.abort_move(found, to, self.stderr.write)
            return f"The tenant {tenant} lives here again."
        if to is None:
            raise CommandError("Say the cell or the other database as --to.")
        destination = moves.move_tenant(found, to, self.stderr.write)
        return (
            f"The tenant {tenant} lives at {destination.name} now. Say "
            f"`forget_moved_tenant {tenant} --yes` when you need its room here."
        )
