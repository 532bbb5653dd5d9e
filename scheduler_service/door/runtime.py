"""Change the maps of a running HAProxy, through its runtime API."""

from __future__ import annotations

import csv
import socket
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from scheduler_service.door.config import BACKEND_PREFIX
from scheduler_service.door.maps import Changes, Map

# Commands of a line, which must fit into a buffer of 16 KiB.
COMMANDS_PER_LINE = 50
TIMEOUT = 10.0


class DoorError(Exception):
    """HAProxy does not answer, or refuses a change."""


class Runtime:
    """The runtime API, at the stats socket of HAProxy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, command: str) -> str:
        """What HAProxy answers. Raises DoorError."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(TIMEOUT)
                client.connect(str(self._path))
                client.sendall(f"{command}\n".encode())
                return b"".join(iter(lambda: client.recv(65536), b"")).decode()
        except OSError as error:
            raise DoorError(f"HAProxy does not answer at {self._path}: {error}") from (
                error
            )

    def process_id(self) -> str:
        """The process that answers; another one has read its maps from their files."""
        lines = dict(
            line.split(": ", 1)
            for line in self.ask("show info").splitlines()
            if ": " in line
        )
        if "Pid" not in lines:
            raise DoorError(f"What answers at {self._path} is no HAProxy.")
        return lines["Pid"]

    def read_map(self, file: Path) -> Map:
        lines = self.ask(f"show map {file}").splitlines()
        entries = [line.split(" ", 2) for line in lines if line.startswith("0x")]
        return {key: value for _, key, value in entries}

    def change_map(self, file: Path, known: Map, changes: Changes) -> None:
        """Make changes in a map with these entries. Each of them is atomic."""
        commands = list(_commands(file, known, changes))
        for start in range(0, len(commands), COMMANDS_PER_LINE):
            some = commands[start : start + COMMANDS_PER_LINE]
            if problem := self.ask(";".join(some)).strip():
                raise DoorError(f"HAProxy refuses a change of {file.name}: {problem}")

    def count_servers(self) -> dict[str, int]:
        """The servers of each cell that HAProxy reaches."""
        rows = csv.DictReader(StringIO(self.ask("show stat").lstrip("# ")))
        found: dict[str, int] = {}
        for row in rows:
            backend, server = row["pxname"], row["svname"]
            if backend.startswith(BACKEND_PREFIX) and server != "BACKEND":
                cell = backend.removeprefix(BACKEND_PREFIX)
                is_up = row["status"].startswith("UP")
                found[cell] = found.get(cell, 0) + is_up
        return found


def _commands(file: Path, known: Map, changes: Changes) -> Iterator[str]:
    for key, value in changes.items():
        if value is None:
            if key in known:
                yield f"del map {file} {key}"
        elif key in known:
            yield f"set map {file} {key} {value}"
        else:
            yield f"add map {file} {key} {value}"
