"""Starts cells with their tenants behind one door, and stops them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex

import psycopg
import requests

from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, Harness, eventually, free_port
from tests.chaos.cells.cell import Cell
from tests.chaos.cells.evidence import MoveRecord, Stay, TenantRecord
from tests.chaos.cells.group_door import GroupDoor
from tests.chaos.cluster import kill_group

# Half of the tenants of a cell stay there.
TENANTS_PER_CELL = 2
# How many commands run side by side.
COMMANDS = 2

_ROUTES = "SELECT name, cell FROM directory_tenant WHERE cell IS NOT NULL"


def first_homes(count: int) -> dict[str, str]:
    """The cell of each tenant at the beginning, of so many cells."""
    return {
        f"tenant-{number + 1}": f"cell-{number % count + 1}"
        for number in range(count * TENANTS_PER_CELL)
    }


class CellTenant:
    """A tenant of a round, as its user and its operator know it."""

    def __init__(self, number: int, name: str, cell: str, url: str) -> None:
        self.number = number
        self.name = name
        self.url = url
        self.api = requests.Session()
        self._stays = [Stay(cell, 0.0)]

    @property
    def home(self) -> str:
        return self._stays[-1].cell

    @property
    def token(self) -> str:
        return str(self.api.headers["Authorization"]).removeprefix("Bearer ")

    @token.setter
    def token(self, token: str) -> None:
        self.api.headers["Authorization"] = f"Bearer {token}"

    def settle(self, move: MoveRecord) -> None:
        """Note that a move brought the tenant to another cell."""
        self._stays[-1] = self._stays[-1]._replace(until=move.ended_at)
        self._stays.append(Stay(move.target, move.began_at))

    def is_routed_home(self) -> bool:
        """Whether the door sends the tenant to its cell, which answers."""
        try:
            answer = self.api.get(f"{self.url}/tasks/?limit=1", timeout=5)
        except (requests.ConnectionError, requests.ReadTimeout):
            return False
        return answer.ok and answer.headers.get("X-Scheduler-Cell") == self.home

    def record(self) -> TenantRecord:
        return TenantRecord(self.name, self.number, tuple(self._stays))


class CellGroup:
    """Cells, their directory and their door, and the target of their tasks."""

    def __init__(self, home: Path, count: int) -> None:
        home.chmod(0o711)
        self.home = home
        self.door = GroupDoor(_make_directory(home / "door"))
        self.target_log = home / "arrivals.log"
        settings = {
            "DIRECTORY_URL": self.door.directory_url,
            "SECRET_KEY": token_hex(32),
            "SCHEDULER_PUBLIC_URL": self.door.url,
        }
        # It encrypts the URLs of the databases of cells.
        self.door.environment["SECRET_KEY"] = settings["SECRET_KEY"]
        homes = first_homes(count)
        self.cells = {
            name: Cell(home / name, name, settings)
            for name in dict.fromkeys(homes.values())
        }
        self.tenants = {
            name: CellTenant(number, name, cell, self.door.url)
            for number, (name, cell) in enumerate(homes.items(), start=1)
        }
        self.moves: list[MoveRecord] = []
        self.failures: list[str] = []
        self._target: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._start_target()
        self.door.start_directory()
        for cell in self.cells.values():
            # One after the other, so that the number of a cell is that of its name.
            database = ("--database", cell.postgres.url)
            self.door.manage("add_cell", cell.name, "--server", cell.address, *database)
        migrated = _migrate(self.home / "migrated")
        for cell in self.cells.values():
            cell.start_servers(migrated.postgres)
        _run_side_by_side(
            _set_up(cell, self.tenants_of(cell.name)) for cell in self.cells.values()
        )
        for cell in self.cells.values():
            cell.start_parts()
        self.door.start()
        eventually(self.is_whole, timeout=240)

    def _start_target(self) -> None:
        port = free_port()
        for cell in self.cells.values():
            cell.target_url = f"http://127.0.0.1:{port}"
            cell.target_log = self.target_log
        arguments = [str(port), str(self.target_log)]
        self._target = spawn(
            [sys.executable, "-m", "tests.chaos.scripted_target", *arguments], cwd=ROOT
        )

    @property
    def target_url(self) -> str:
        return self.a_cell.target_url

    @property
    def a_cell(self) -> Cell:
        """Any cell: all of them have the same target."""
        return next(iter(self.cells.values()))

    def tenants_of(self, cell: str) -> list[CellTenant]:
        return [each for each in self.tenants.values() if each.home == cell]

    def is_whole(self) -> bool:
        return all(cell.is_whole() for cell in self.cells.values()) and all(
            tenant.is_routed_home() for tenant in self.tenants.values()
        )

    def is_drained(self) -> bool:
        return all(cell.is_drained() for cell in self.cells.values())

    def restart_dead_parts(self) -> None:
        for cell in self.cells.values():
            cell.restart_dead_parts()
        self.failures += self.door.restart_dead_parts()

    def all_failures(self) -> list[str]:
        of_cells = [each for cell in self.cells.values() for each in cell.part_failures]
        return [*self.failures, *of_cells]

    def read_routes(self) -> dict[str, str]:
        with psycopg.connect(self.door.directory_url) as connection:
            return dict(connection.execute(_ROUTES).fetchall())

    def stop(self) -> None:
        for cell in self.cells.values():
            cell.stop_all()
        self.door.stop()
        if self._target is not None:
            kill_group(self._target)


def _make_directory(path: Path) -> Path:
    path.mkdir()
    return path


def _migrate(home: Path) -> Harness:
    """A database without tenants. Its copies make ids of runs with one key."""
    made = Harness(_make_directory(home), durable=True)
    made.start_postgres()
    made.manage("migrate", "--verbosity", "0")
    made.stop_process(made.postgres_process, made.postgres.stop_signal)
    return made


def _set_up(cell: Cell, tenants: list[CellTenant]) -> Callable[[], None]:
    def set_up() -> None:
        cell.manage("join_directory")
        for tenant in tenants:
            user = ("--tenant", tenant.name, "--user", "ann")
            tenant.token = cell.manage("issue_token", *user)

    return set_up


def _run_side_by_side(actions: Iterable[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(COMMANDS) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()
