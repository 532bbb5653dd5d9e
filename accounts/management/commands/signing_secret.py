"""Print the secret with which the targets of a tenant verify requests."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand, find_tenant
from scheduler_service.db import clock


class Command(AccountCommand):
    help = "Print the newest live signing secret of a tenant."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument(
            "--rotate",
            action="store_true",
            help="Create a new one first; the old one stays live for a day.",
        )

    def handle(self, *args: Any, tenant: str, rotate: bool, **options: Any) -> str:
        now, owner = clock.now(), find_tenant(tenant)
        if rotate:
            return services.rotate_signing_secret(owner, now=now)
        secrets = services.load_signing_secrets(owner.pk, now)
        if not secrets:
            raise CommandError(f"{tenant} has no live secret; --rotate makes one.")
        return secrets[0]
