"""Hand a user's tasks over to another user of the tenant."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand
from tasks_api.services import owners


class Command(AccountCommand):
    help = (
        "Hand all tasks of a user over to another one, living and ended, with their "
        "history. Tasks that were suspended with their user are resumed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", metavar="FROM", help="The name, or the username.")
        parser.add_argument("target", metavar="TO", help="The same.")
        parser.add_argument("--tenant", help="Whose, if several tenants have them.")

    def handle(
        self, *args: Any, source: str, target: str, tenant: str | None, **options: Any
    ) -> str:
        giver = services.find_user(source, tenant=tenant)
        own = giver.tenant.name if giver.tenant else None
        taker = services.find_user(target, tenant=own)
        count = owners.transfer_tasks(giver, taker)
        return f"{count} tasks of {giver} are {taker}'s."
