"""Print the cell in which a tenant lives."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts import directory
from accounts.management.directory_base import DirectoryCommand


class Command(DirectoryCommand):
    help = "Print the cell in which a tenant lives."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")

    def handle(self, *args: Any, tenant: str, **options: Any) -> str:
        found = directory.find_tenant(tenant)
        if found is None or found.cell is None:
            raise CommandError(f"The directory knows no tenant {tenant}.")
        return found.cell
