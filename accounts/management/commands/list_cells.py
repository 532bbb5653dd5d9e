"""Print the cells of the directory."""

from __future__ import annotations

from typing import Any

from accounts import directory
from accounts.management.directory_base import DirectoryCommand


class Command(DirectoryCommand):
    help = (
        "Print each cell of the directory with its tenants, its servers and its host."
    )

    def handle(self, *args: Any, **options: Any) -> str:
        return "\n".join(map(_describe, directory.list_cells())) or "There is no cell."


def _describe(cell: directory.Cell) -> str:
    servers, host = ",".join(cell.servers), cell.host or "-"
    return f"{cell.number} {cell.name} tenants={cell.tenants} servers={servers} host={host}"
