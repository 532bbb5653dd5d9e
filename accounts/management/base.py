"""What the commands of the accounts share: the log knows them, and they refuse briefly."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from accounts import audit
from accounts.models import Tenant
from accounts.services import AccountError


class AccountCommand(BaseCommand):
    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            with audit.acting_as(audit.COMMAND_LINE):
                return super().execute(*args, **options)
        except AccountError as refusal:
            raise CommandError(str(refusal)) from None
        except DatabaseError as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(f"The database refused: {reason}") from None


STDIN = "-"


def read_secret(argument: str) -> str:
    """A secret that was given, or what stands on a line of standard input instead of it.

    Whoever is logged in to the machine sees the arguments of commands.
    """
    if argument != STDIN:
        return argument
    if sys.stdin.isatty():
        return getpass()
    return sys.stdin.readline().rstrip("\r\n")


def find_tenant(name: str) -> Tenant:
    tenant = Tenant.objects.filter(name=name).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {name}.")
    return tenant
