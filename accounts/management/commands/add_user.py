"""Add a user to a tenant."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from accounts import services
from accounts.management.base import AccountCommand
from accounts.models import Role


class Command(AccountCommand):
    help = "Add a user to a tenant, which is created if absent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--role", choices=Role.values, default=Role.MEMBER)

    @transaction.atomic
    def handle(
        self, *args: Any, user: str, tenant: str, role: str, **options: Any
    ) -> str:
        owner, is_new = services.configure_tenant(tenant)
        if is_new:
            self.stderr.write(f"The tenant {tenant} is new.")
        added = services.add_user(owner, user, role=Role(role))
        return f"{added} is added, as {added.role}."
