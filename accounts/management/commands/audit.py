"""Print who changed what in a tenant."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from accounts import audit
from accounts.management.base import AccountCommand, find_tenant
from accounts.management.durations import parse_duration
from scheduler_service.db import clock


class Command(AccountCommand):
    help = (
        "Print a tenant's audit log, the newest entry first, an object of JSON a line."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True)
        parser.add_argument(
            "--actor", default="", help="Only entries of this username."
        )
        parser.add_argument(
            "--action", default="", help="Such as task.pause; task. means all of them."
        )
        parser.add_argument("--object", default="", metavar="ID")
        parser.add_argument(
            "--last",
            type=parse_duration,
            metavar="DURATION",
            help="Only entries this young, such as 7d.",
        )
        parser.add_argument("--limit", type=int, default=1000)

    def handle(
        self,
        *args: Any,
        tenant: str,
        actor: str,
        action: str,
        last: timedelta | None,
        limit: int,
        **options: Any,
    ) -> None:
        entries = audit.find_entries(
            find_tenant(tenant).pk,
            actor=actor,
            action=action,
            object_id=options["object"],
            since=clock.now() - last if last else None,
        )
        for entry in entries[: max(limit, 0)].iterator():
            self.stdout.write(json.dumps(audit.to_dict(entry), ensure_ascii=False))
