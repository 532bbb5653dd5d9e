"""Add a cell to the directory, or change where its servers are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts import directory
from accounts.management.base import read_secret
from accounts.management.directory_base import DirectoryCommand


class Command(DirectoryCommand):
    help = "Add a cell to the directory, or change its servers and its host."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cell", help="Its name: small letters, digits, hyphens.")
        parser.add_argument(
            "--server",
            action="append",
            required=True,
            metavar="HOST:PORT",
            help="A web of the cell, as the door reaches it; may be given several times.",
        )
        parser.add_argument(
            "--host", default="", help="The host name of the pages of this cell."
        )
        parser.add_argument(
            "--database",
            default="",
            metavar="URL",
            help="Its database past any pooler, so that tenants move there by the name of "
            "the cell; - reads it from standard input. Stored encrypted with SECRET_KEY; "
            "without this option, what is stored stays.",
        )

    def handle(
        self,
        *args: Any,
        cell: str,
        server: list[str],
        host: str,
        database: str,
        **options: Any,
    ) -> str:
        added = directory.put_cell(cell, server, host.lower(), read_secret(database))
        return (
            f"The cell {added.name} has the number {added.number} and {len(server)} "
            "servers. Doors know it after `manage.py write_door` and a reload."
        )
