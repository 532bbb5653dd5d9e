"""Keep the maps of a door as the directory says."""

from __future__ import annotations

import signal
import threading
from typing import Any

from accounts.management.directory_base import DirectoryCommand
from scheduler_service.door.follower import local_follower


class Command(DirectoryCommand):
    help = (
        "Copy each change of the directory into the maps in DOOR_DIR, and through "
        "DOOR_SOCKET into the running HAProxy, until SIGTERM. One runs beside each door."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        local_follower().follow(is_stopping=stopping.is_set)
