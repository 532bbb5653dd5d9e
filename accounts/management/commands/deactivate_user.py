"""Deactivate a user."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = (
        "Deactivate a user: their tokens and their password are no longer accepted, and "
        "their tasks wait until activate_user or transfer_tasks."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="Its name or username.")
        parser.add_argument(
            "--tenant", help="Its tenant, if several tenants have a user of this name."
        )

    def handle(self, *args: Any, user: str, tenant: str | None, **options: Any) -> str:
        deactivated = services.deactivate_user(user, tenant=tenant)
        return f"{deactivated} is deactivated."
