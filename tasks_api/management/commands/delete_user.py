"""Delete a user of a tenant, and their tasks or the ownership of them."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand
from tasks_api.services import erasure


class Command(AccountCommand):
    help = (
        "Delete a user with their tokens, and put a pseudonym in the audit log. Repeat "
        "the command if it was cut off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="The name, or the username.")
        parser.add_argument("--tenant", help="Whose, if several tenants have one.")
        tasks = parser.add_mutually_exclusive_group()
        tasks.add_argument(
            "--transfer-to", metavar="USER", help="Who has the tasks from now on."
        )
        tasks.add_argument(
            "--remove-tasks",
            action="store_true",
            help="Delete the tasks as well, with their history.",
        )
        parser.add_argument(
            "--yes", action="store_true", help="It cannot be taken back."
        )

    def handle(
        self,
        *args: Any,
        user: str,
        tenant: str | None,
        transfer_to: str | None,
        remove_tasks: bool,
        yes: bool,
        **options: Any,
    ) -> str:
        found = services.find_user(user, tenant=tenant)
        own = found.tenant.name if found.tenant else None
        heir = services.find_user(transfer_to, tenant=own) if transfer_to else None
        if not yes:
            raise CommandError(f"Say --yes to delete {found} for good.")
        erasure.erase_user(
            found, heir=heir, removes_tasks=remove_tasks, report=self.stderr.write
        )
        return f"{found} is deleted."
