"""Write the maps of a door and the cells for its HAProxy."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from accounts import directory
from accounts.management.directory_base import DirectoryCommand
from scheduler_service.door import maps
from scheduler_service.door.config import write_config


class Command(DirectoryCommand):
    help = (
        "Write cells.cfg and the maps of a door into DOOR_DIR: before HAProxy starts, and "
        "before it is reloaded because of a new cell."
    )

    def handle(self, *args: Any, **options: Any) -> str:
        cells = directory.list_cells()
        settings.DOOR_DIR.mkdir(parents=True, exist_ok=True)
        write_config(settings.DOOR_DIR, cells)
        with directory.open_directory() as connection:
            routes = directory.load_routes(connection)
        for file, changes in maps.changes_of(routes):
            maps.write_map(settings.DOOR_DIR / file, maps.kept_entries(changes))
        return f"{settings.DOOR_DIR} has {len(cells)} cells and {len(routes.cells)} tenants."
