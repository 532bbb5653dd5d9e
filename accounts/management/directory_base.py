"""Shared code of the commands that ask the directory of several cells."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandError

from accounts.management.base import AccountCommand


class DirectoryCommand(AccountCommand):
    # Most of these run beside a door, where there is no cell to check.
    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> str | None:
        if not settings.DIRECTORY_URL:
            raise CommandError("DIRECTORY_URL is not set, so there is no directory.")
        return super().execute(*args, **options)
