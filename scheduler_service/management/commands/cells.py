"""`manage.py cells`: several cells behind a door on this machine, to try them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from scheduler_service.local.ports import check_port, free_port
from scheduler_service.local.state_files import (
    LocalSetupError,
    check_state_dir,
    hold_run_lock,
)
from scheduler_service.management.local_cells import LocalCells
from scheduler_service.management.own_web import status_of
from scheduler_service.process.supervisor import STOP_TIMEOUT, Supervisor

MAX_CELLS = 16
# Seconds for each cell: they start side by side, and migrate their databases.
START_TIMEOUT = 120.0
# A cell stops its own parts first.
GRACE = STOP_TIMEOUT + 15.0


class Command(BaseCommand):
    help = (
        "Run several cells with their directory and their door on this machine. A cell "
        "takes some 450 MB of memory."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=4, help="The number of cells.")

    def handle(self, *args: Any, count: int, **options: Any) -> None:
        if not 1 <= count <= MAX_CELLS:
            raise CommandError(f"There may be from 1 to {MAX_CELLS} cells.")
        home = settings.STATE_DIR / "cells"
        try:
            check_state_dir(home)
            with hold_run_lock(home):
                self._run(LocalCells(home, count, settings.PORT))
        except LocalSetupError as error:
            raise CommandError(str(error)) from error

    def _run(self, cells: LocalCells) -> None:
        for port in (cells.port, *(cell.port for cell in cells.cells)):
            check_port("127.0.0.1", port, "PORT")
        cells.directory.refuse_if_taken()
        width = len("directory")
        with Supervisor(self.stdout, width=width, grace=GRACE) as supervisor:
            self._start_cells(cells, supervisor)
            if not supervisor.stopping:
                self._open_door(cells, supervisor)
            supervisor.run()
            self.stdout.write("Stopping; Ctrl-C again stops at once.")

    def _start_cells(self, cells: LocalCells, supervisor: Supervisor) -> None:
        supervisor.start(cells.directory_program())
        self._expect(supervisor, cells.directory.is_ready, "the directory")
        for cell in cells.cells:
            if not supervisor.stopping:
                web = ("--server", cell.address, "--host", cell.host)
                database = ("--database", cell.database_url)
                cells.manage("add_cell", cell.name, *web, *database)
        supervisor.start(*cells.cell_programs())
        for cell in cells.cells:
            self._expect(supervisor, partial(is_ready, cell.url), cell.name)

    def _open_door(self, cells: LocalCells, supervisor: Supervisor) -> None:
        tokens = [self._join(cells, number) for number in range(len(cells.cells))]
        cells.manage("write_door")
        echo_port = free_port(cells.port + len(cells.cells) + 1)
        supervisor.start(*cells.door_programs(), cells.echo_program(echo_port))
        self._expect(supervisor, partial(is_ready, cells.url), "the door")
        if not supervisor.stopping:
            self.stdout.write(cells.welcome_text(tokens, echo_port))
            self.stdout.flush()

    def _join(self, cells: LocalCells, number: int) -> str:
        """The token of the tenant to try a cell with."""
        cell = cells.cells[number]
        cells.manage("join_directory", cell=cell)
        names = ("--tenant", f"tenant-{number + 1}", "--user", "demo")
        return cells.manage("issue_token", *names, cell=cell)

    def _expect(
        self, supervisor: Supervisor, condition: Callable[[], bool], what: str
    ) -> None:
        if supervisor.wait_until(condition, timeout=START_TIMEOUT):
            return
        if not supervisor.stopping:
            raise CommandError(
                f"No sign of life from {what} within {START_TIMEOUT:.0f} s; see above."
            )


def is_ready(url: str) -> bool:
    return status_of(f"{url}/readyz") == 200
