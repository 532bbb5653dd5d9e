"""Let a user who lost a phone or a key log in with the password alone."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = (
        "Remove the authenticator app, the passkeys and the recovery codes of a user."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="Its name or username.")
        parser.add_argument(
            "--tenant", help="Its tenant, if several tenants have a user of this name."
        )

    def handle(self, *args: Any, user: str, tenant: str | None, **options: Any) -> str:
        found = services.find_user(user, tenant=tenant)
        count = services.remove_second_factors(found)
        return f"{count} second factors of {found} are removed."
