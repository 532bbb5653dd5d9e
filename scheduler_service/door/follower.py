"""Keep the maps of a door, in files and in HAProxy, as the directory says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings

from accounts import directory
from accounts.directory import DirectoryError, Routes
from accounts.directory_statements import LISTEN
from scheduler_service.door import maps
from scheduler_service.door.maps import CREDENTIALS, TENANTS, Map
from scheduler_service.door.runtime import DoorError, Runtime

logger = logging.getLogger(__name__)

# Seconds between two looks at the directory if it tells of nothing, and of a door that
# is away.
INTERVAL = 1.0


class Follower:
    """Copies each change of the directory into the maps of one door."""

    def __init__(self, name: str, folder: Path, runtime: Runtime) -> None:
        self._name = name
        self._folder = folder
        self._runtime = runtime
        self._version = 0
        # What the directory says, and what HAProxy has.
        self._maps: dict[str, Map] = {CREDENTIALS: {}, TENANTS: {}}
        self._held: dict[str, Map] = {}
        # The process of HAProxy that has them; empty: none surely has.
        self._process = ""

    def follow(self, *, is_stopping: Callable[[], bool]) -> None:
        """Follow until told to stop, whatever is away meanwhile."""
        while not is_stopping():
            try:
                self._follow_connected(is_stopping)
            except (DirectoryError, DoorError) as error:
                logger.warning("The door keeps its maps: %s", error)
                time.sleep(INTERVAL)

    def _follow_connected(self, is_stopping: Callable[[], bool]) -> None:
        with directory.open_directory() as connection:
            # Reading and waiting are no transaction.
            connection.autocommit = True
            connection.execute(LISTEN)
            while not is_stopping():
                self.update(connection)
                # Returns at the first notification, and drops further ones.
                list(connection.notifies(timeout=INTERVAL, stop_after=1))

    def update(self, connection: psycopg.Connection[Any]) -> None:
        """Copy what has changed since the last call; everything at the first one."""
        routes = directory.load_routes(connection, self._version)
        self.write_files(routes)
        self._version = routes.version
        self._update_runtime(routes)
        servers_up = self._runtime.count_servers()
        directory.record_door(connection, self._name, self._version, servers_up)

    def write_files(self, routes: Routes) -> None:
        """Write the files first: HAProxy reads them if it is restarted at this moment."""
        for file, changes in maps.changes_of(routes):
            maps.apply_changes(self._maps[file], changes)
            if changes or not self._version:
                maps.write_map(self._folder / file, self._maps[file])

    def _update_runtime(self, routes: Routes) -> None:
        process = self._runtime.process_id()
        is_known, self._process = process == self._process, ""
        for file, changes in maps.changes_of(routes):
            path = self._folder / file
            if not is_known:
                self._held[file] = self._runtime.read_map(path)
                changes = maps.difference(self._held[file], self._maps[file])
            if changes:
                self._runtime.change_map(path, self._held[file], changes)
                maps.apply_changes(self._held[file], changes)
        self._process = process


def local_follower() -> Follower:
    """The follower of the door of this machine."""
    runtime = Runtime(settings.DOOR_SOCKET)
    return Follower(settings.DOOR_NAME, settings.DOOR_DIR, runtime)
