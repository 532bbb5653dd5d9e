"""Write a tenant with all that there is of it into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from accounts.management.base import find_tenant
from tasks_api.management.moving_base import MoveCommand
from tasks_api.moving import files


class Command(MoveCommand):
    help = (
        "Freeze a tenant and write it into a file, for import_tenant. It stays frozen: "
        "take that back with `move_tenant --abort` if the file is not imported."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, tenant: str, file: Path, **options: Any) -> str:
        files.export_tenant(find_tenant(tenant), file, self.stderr.write)
        return f"The tenant {tenant} is in {file}, and frozen here."
