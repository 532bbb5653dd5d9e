"""Copy what the directory says into the maps of a door, once."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandError

from accounts import directory
from accounts.management.directory_base import DirectoryCommand
from scheduler_service.door.follower import local_follower
from scheduler_service.door.runtime import DoorError


class Command(DirectoryCommand):
    help = (
        "Copy what the directory says into the maps in DOOR_DIR, and through DOOR_SOCKET "
        "into the running HAProxy; follow_directory does so all the time."
    )

    def handle(self, *args: Any, **options: Any) -> str:
        follower = local_follower()
        try:
            with directory.open_directory() as connection:
                connection.autocommit = True
                follower.update(connection)
        except DoorError as error:
            raise CommandError(str(error)) from None
        return f"The door {settings.DOOR_NAME} routes as the directory says."
