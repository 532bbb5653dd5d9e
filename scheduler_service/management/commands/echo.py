"""`manage.py echo`: the echo target on its own."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from scheduler_service.local import echo


class Command(BaseCommand):
    help = "Run the echo target: it prints every request it gets, until SIGTERM."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        # Exit with 0, so that make reports no error.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        port = int(os.environ.get("ECHO_PORT") or settings.PORT + 1)
        try:
            echo.serve(port, self.stdout)
        except OSError as error:
            raise CommandError(
                f"Port {port} cannot be used ({error.strerror}): set ECHO_PORT to another one."
            ) from error
