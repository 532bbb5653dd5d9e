"""Split this cell: its standby becomes a new one, in which some of the tenants live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from accounts.management.base import AccountCommand, find_tenant
from tasks_api.moving import splitting


class Command(AccountCommand):
    help = (
        "Promote a standby of this cell's database to be a new cell, and let some of the "
        "tenants live there. Repeat the command if it was cut off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("cell", help="The new cell, as add_cell has named it.")
        parser.add_argument(
            "--to",
            metavar="URL",
            help="The standby: postgresql://user:password@host:5432/name",
        )
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--tenants", nargs="+", metavar="TENANT", help="The tenants that go."
        )
        which.add_argument(
            "--half",
            action="store_true",
            help="Let half of the tenants go, by their tasks and their runs.",
        )
        parser.add_argument(
            "--plan", action="store_true", help="Print the tenants that go; do nothing."
        )
        parser.add_argument(
            "--promoted-elsewhere",
            action="store_true",
            help="Wait until the standby is promoted by another tool.",
        )
        parser.add_argument(
            "--abort",
            action="store_true",
            help="Take the split back, unless the new cell is open.",
        )

    def handle(
        self,
        *args: Any,
        cell: str,
        to: str | None,
        tenants: Sequence[str] | None,
        half: bool,
        plan: bool,
        **options: Any,
    ) -> str:
        if options["abort"]:
            splitting.abort_split(to, self.stderr.write)
            return "All tenants live here. Do not use the standby any more."
        if plan:
            return self._describe_half()
        if to is None:
            raise CommandError("Say the standby as --to.")
        promotes = not options["promoted_elsewhere"]
        wanted = splitting.Plan(cell, to, _choose(tenants, half=half), promotes)
        splitting.split_cell(wanted, self.stderr.write)
        return (
            f"The tenants live in the cell {cell} now. Say `forget_moved_tenant --all "
            "--yes` in both cells when you need the room of what is left."
        )

    def _describe_half(self) -> str:
        lines = [
            f"tenant={each.id} tasks={each.tasks} runs={each.runs}"
            for each in splitting.choose_half()
        ]
        return "\n".join(lines) or "There is nothing to split."


def _choose(names: Sequence[str] | None, *, half: bool) -> list[int] | None:
    if splitting.find_split() is not None:
        # Those that were chosen when it began.
        return None
    if half:
        return [each.id for each in splitting.choose_half()]
    return [find_tenant(name).pk for name in names or ()]
