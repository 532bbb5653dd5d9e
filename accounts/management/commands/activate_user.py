"""Activate a deactivated user again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = (
        "Activate a user: their tokens and their password are accepted again, and their "
        "tasks run again, except for paused ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="Its name or username.")
        parser.add_argument(
            "--tenant", help="Its tenant, if several tenants have a user of this name."
        )

    def handle(self, *args: Any, user: str, tenant: str | None, **options: Any) -> str:
        found = services.find_user(user, tenant=tenant)
        return f"{services.change_user(found, is_active=True)} is active."
