"""What the commands of the accounts share: the log knows them, and they refuse briefly."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from accounts import audit
from accounts.models import Tenant
from accounts.services import AccountError


class AccountCommand(BaseCommand):
    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            with audit.acting(audit.COMMAND_LINE):
                return super().execute(*args, **options)
        except AccountError as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(f"The database refused: {reason}") from None


def tenant_of(name: str) -> Tenant:
    tenant = Tenant.objects.filter(name=name).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {name}.")
    return tenant
