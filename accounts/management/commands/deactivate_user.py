"""Close the door to a user."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = (
        "Deactivate a user: no token and no password of theirs is accepted any more, "
        "and their tasks wait until activate_user or transfer_tasks."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="The name, or the username.")
        parser.add_argument("--tenant", help="Whose, if several tenants have one.")

    def handle(self, *args: Any, user: str, tenant: str | None, **options: Any) -> str:
        deactivated = services.deactivate_user(user, tenant=tenant)
        return f"{deactivated} is deactivated."
