"""What the commands of the accounts have in common: they refuse in one sentence."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from accounts.services import AccountError


class AccountCommand(BaseCommand):
    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except AccountError as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(f"The database refused: {reason}") from None
