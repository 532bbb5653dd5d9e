"""Let a tenant live here that another service has written into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from tasks_api.management.moving_base import MoveCommand
from tasks_api.moving import files


class Command(MoveCommand):
    help = (
        "Import a tenant from a file of export_tenant. It lives here from then on, so "
        "import it in one place only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> str:
        name = files.import_tenant(file, self.stderr.write)
        return f"The tenant {name} lives here now."
