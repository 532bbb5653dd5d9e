"""Print a new token of a user, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser
from django.db import transaction
from django.utils import timezone

from accounts import services
from accounts.management.base import AccountCommand


class Command(AccountCommand):
    help = "Print one new token; the tenant and the user are created if absent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--user", required=True)
        parser.add_argument("--name", default="", help="What the token is for.")
        parser.add_argument("--expires-in-days", type=int, metavar="DAYS")

    def handle(
        self,
        *args: Any,
        tenant: str,
        user: str,
        name: str,
        expires_in_days: int | None,
        **options: Any,
    ) -> str:
        expires_at = _in_days(expires_in_days)
        with transaction.atomic():
            owner = services.provision(tenant, user)
            return services.issue_token(owner, name=name, expires_at=expires_at)


def _in_days(days: int | None) -> datetime | None:
    if days is None:
        return None
    if days < 1:
        raise CommandError("A token has to live for a day at least.")
    try:
        return timezone.now() + timedelta(days=days)
    except OverflowError:
        raise CommandError("No calendar goes that far.") from None
