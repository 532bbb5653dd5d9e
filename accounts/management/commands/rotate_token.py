"""Print a new token that replaces another one, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand, read_secret
from accounts.management.durations import parse_duration
from accounts.models import Token, digest
from scheduler_service.db import clock


class Command(AccountCommand):
    help = "Print a new token; the one that it replaces stays valid for the overlap."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("token", help="The clear text; - reads it from stdin.")
        parser.add_argument(
            "--overlap",
            type=parse_duration,
            default=services.DEFAULT_OVERLAP,
            metavar="DURATION",
            help="How long the old one stays valid; a day by default.",
        )

    def handle(self, *args: Any, token: str, overlap: timedelta, **options: Any) -> str:
        found = Token.objects.filter(digest=digest(read_secret(token))).first()
        if found is None:
            raise CommandError("There is no such token.")
        _, clear_text = services.rotate_token(found, now=clock.now(), overlap=overlap)
        return clear_text
