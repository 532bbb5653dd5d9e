"""`manage.py forget_timelines`: accept an older copy of the database again."""

from __future__ import annotations

from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError

from scheduler_service.db import shared_timelines


class Command(BaseCommand):
    help = (
        "Forget which timelines of PostgreSQL were seen, to return to an older copy of "
        "the database on purpose. Stop all other processes first: each remembers them."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = shared_timelines.forget()
        except (redis.RedisError, OSError) as error:
            raise CommandError(f"Redis does not answer: {error}") from error
        self.stdout.write(f"Forgot the timelines of {count} systems.")
