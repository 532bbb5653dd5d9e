"""Print the tasks whose next fire time differs by the current rules of time zones."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.core.management import BaseCommand
from django.core.management.base import CommandParser

from scheduler_service.process import time_zones
from tasks_api.domain.timestamps import format_optional_timestamp, format_timestamp
from tasks_api.services import recompute


class Command(BaseCommand):
    help = (
        "Print the tasks whose stored next fire time differs by the current rules of time "
        "zones, one a line; with --apply, write it anew."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="Write them anew.")

    def handle(self, *args: Any, apply: bool, **options: Any) -> None:
        found = recompute.find_changed()
        count = changed = 0
        while page := list(islice(found, recompute.BATCH_SIZE)):
            for each in page:
                self.stdout.write(_line(each))
            count += len(page)
            if apply:
                changed += recompute.write_changed([each.task_id for each in page])
        rules = time_zones.use_newest_rules()
        text = f"{count} tasks differ by IANA {rules.version} ({rules.source})"
        self.stderr.write(
            f"{text}, {changed} were written anew." if apply else f"{text}."
        )


def _line(found: recompute.ChangedFireTime) -> str:
    return "\t".join(
        (
            str(found.task_id),
            found.tenant,
            found.name or "-",
            found.zone,
            format_timestamp(found.stored),
            format_optional_timestamp(found.computed) or "never",
        )
    )
