"""The door of a round, with its follower and its directory, each of which can be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.door import Door
from tests.chaos.cluster import kill_group

HAPROXY, FOLLOWER, DIRECTORY = "haproxy", "follower", "directory"


class GroupDoor(Door):
    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.environment["SCHEDULER_STATE_DIR"] = str(home)

    @property
    def directory_url(self) -> str:
        return self.postgres.url

    def start(self) -> None:
        self.manage("write_door")
        self.start_haproxy()
        self.start_follower()

    def start_part(self, name: str) -> None:
        match name:
            case "haproxy":
                self.start_haproxy()
            case "follower":
                self.start_follower()
            case "directory":
                self.start_directory()

    def kill_part(self, name: str) -> None:
        kill_group(self._processes.pop(name))

    def restart_dead_parts(self) -> Iterator[str]:
        """Start what ended by itself, as systemd would; yields what that was."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                yield f"{name} ended by itself, with {process.returncode}"
                self.kill_part(name)
                self.start_part(name)
