"""Open the door to a deactivated user again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = (
        "Activate a user: their tokens and their password count again, and their tasks "
        "go on, but for those that were paused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="The name, or the username.")
        parser.add_argument("--tenant", help="Whose, if several tenants have one.")

    def handle(self, *args: Any, user: str, tenant: str | None, **options: Any) -> str:
        found = services.find_user(user, tenant=tenant)
        return f"{services.change_user(found, is_active=True)} is active."
