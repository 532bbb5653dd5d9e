"""Delete a tenant with all that there is of it."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts.management.base import AccountCommand, find_tenant
from tasks_api.services import erasure


class Command(AccountCommand):
    help = (
        "Delete a tenant: users, tokens, secrets, tasks, history, messages and its audit "
        "log. Repeat the command if it was cut off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument(
            "--yes", action="store_true", help="It cannot be taken back."
        )

    def handle(self, *args: Any, tenant: str, yes: bool, **options: Any) -> str:
        found = find_tenant(tenant)
        if not yes:
            users, tasks = found.users.count(), found.tasks.count()
            raise CommandError(
                f"{found} has {users} users and {tasks} tasks, living and ended. "
                "Say --yes to delete them for good."
            )
        erasure.erase_tenant(found, report=self.stderr.write)
        return f"The tenant {tenant} is deleted."
