"""Shared code of the accounts' commands: the actor, short errors and arguments."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import DatabaseError

from accounts import audit
from accounts.directory import DirectoryError
from accounts.models import Tenant
from accounts.services import AccountError


class AccountCommand(BaseCommand):
    # All others are of the source, which was tested, and would load every view.
    requires_system_checks: tuple[str, ...] = ("settings",)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            with audit.acting_as(audit.COMMAND_LINE):
                return super().execute(*args, **options)
        except (AccountError, DirectoryError) as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(f"The database refused: {reason}") from None


STDIN = "-"


def read_secret(argument: str) -> str:
    """The argument itself, or a line of standard input if the argument is `-`.

    Every user of the machine can see the arguments of commands.
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
