"""Revoke a token."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand, read_secret
from scheduler_service.db import clock


class Command(AccountCommand):
    help = "Revoke a token, given in clear text."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("token", help="The clear text; - reads it from stdin.")

    def handle(self, *args: Any, token: str, **options: Any) -> str:
        if not services.revoke_token(read_secret(token), now=clock.now()):
            raise CommandError("There is no such token.")
        return "The token is revoked."
