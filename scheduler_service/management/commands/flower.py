"""`manage.py flower`: Flower with a password, configured by its environment."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from scheduler_service.management.flower_login import basic_auth


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
