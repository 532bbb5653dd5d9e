"""Print a new signing secret of a tenant, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from accounts import services
from accounts.management.base import AccountCommand, find_tenant
from accounts.management.durations import parse_duration
from scheduler_service.db import clock


class Command(AccountCommand):
    help = "Print a new signing secret; the old one signs too for the overlap."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument(
            "--overlap",
            type=parse_duration,
            default=services.DEFAULT_OVERLAP,
            metavar="DURATION",
            help="How long the old one signs too; a day by default.",
        )

    def handle(
        self, *args: Any, tenant: str, overlap: timedelta, **options: Any
    ) -> str:
        return services.rotate_signing_secret(
            find_tenant(tenant), now=clock.now(), overlap=overlap
        )
