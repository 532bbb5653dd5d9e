"""Number the rows of this database from a range of its own."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts.management.base import AccountCommand
from tasks_api.moving import numbering


class Command(AccountCommand):
    help = (
        "Let the ids of new rows begin at NUMBER times 2**40, so that tenants of other "
        "databases can move here. Give each database another number, before its first "
        "tenant."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int)

    def handle(self, *args: Any, number: int, **options: Any) -> str:
        try:
            sequences = numbering.number_rows(number)
        except ValueError as error:
            raise CommandError(str(error)) from None
        return f"{sequences} sequences begin at {number} << 40, or are further already."
