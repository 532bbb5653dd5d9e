"""`manage.py flower`: Flower with a password, configured by its environment."""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from scheduler_service.local import state_files


class Command(BaseCommand):
    help = "Run Flower, which shows workers, queues and runs, until SIGTERM."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        environment = os.environ | {
            "FLOWER_ADDRESS": settings.HOST,
            "FLOWER_PORT": str(settings.FLOWER_PORT),
            # Not an argument: the process list shows those to every user.
            "FLOWER_BASIC_AUTH": basic_auth(),
            "FLOWER_READ_ONLY": "true",
            "FLOWER_MAX_TASKS": "20000",
            # The arguments of a run are the host of its target and the ids of its owners.
            "FLOWER_TASKS_COLUMNS": "uuid,args,state,result,received,runtime,worker",
            "FLOWER_PERSISTENT": "true",
            "FLOWER_DB": str(settings.STATE_DIR / "flower"),
            "FLOWER_STATE_SAVE_INTERVAL": "60000",
            # A restarted worker has a new name, so the old one is removed.
            "FLOWER_PURGE_OFFLINE_WORKERS": "60",
        }
        environment.pop("FLOWER_UNAUTHENTICATED_API", None)
        settings.STATE_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
        os.umask(0o077)
        os.execve(  # noqa: S606 (a fixed command)
            sys.executable,
            [sys.executable, "-m", "scheduler_service.flower"],
            environment,
        )


def basic_auth() -> str:
    """FLOWER_BASIC_AUTH, or a password that is generated once and stored."""
    given: str = settings.FLOWER_BASIC_AUTH
    if given:
        if not all(name and password for name, _, password in _pairs(given)):
            raise CommandError("FLOWER_BASIC_AUTH must be user:password.")
        return given
    path = settings.STATE_DIR / "flower_basic_auth"
    try:
        return state_files.load_or_create_secret(
            path, lambda: f"flower:{secrets.token_urlsafe(12)}"
        )
    except state_files.LocalSetupError as error:
        raise CommandError(str(error)) from error


def _pairs(given: str) -> list[tuple[str, str, str]]:
    return [pair.partition(":") for pair in given.split(",")]
