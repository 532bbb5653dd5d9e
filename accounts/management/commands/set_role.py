"""Make a user an administrator of their tenant, or a member again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand
from accounts.models import Role


class Command(AccountCommand):
    help = "Give a user another role."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="Its name or username.")
        parser.add_argument("role", choices=Role.values)
        parser.add_argument(
            "--tenant", help="Its tenant, if several tenants have a user of this name."
        )

    def handle(
        self, *args: Any, user: str, role: str, tenant: str | None, **options: Any
    ) -> str:
        found = services.find_user(user, tenant=tenant)
        changed = services.change_user(found, role=Role(role))
        return f"{changed} is {changed.role}."
