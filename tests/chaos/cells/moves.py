"""Moves a tenant to another cell, as an operator does who says a command again until it works.

A move may be killed once at a moment that the plan says. Then it is said again, or taken
back if it has not arrived.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence

from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT
from tests.chaos.cells.cell import Cell
from tests.chaos.cells.cell_group import CellGroup, CellTenant
from tests.chaos.cells.evidence import MoveRecord
from tests.chaos.cells.plan import PlannedMove
from tests.chaos.cluster import kill_group
from tests.chaos.steps import FaultSteps

# Seconds between two looks at a command, and before it is said again.
POLL_INTERVAL, RETRY_DELAY = 0.05, 0.5
# Seconds in which a move must end, whatever is broken meanwhile: requests that are under
# way may take 20, and faults some more.
PATIENCE = 180.0
# Seconds in which clients give a request up that was under way when its tenant moved.
FORGET_DELAY = 10.0
# Commands yield to the cells, as they would on a machine of their own.
NICE = ("nice", "-n", "10")
# What commands say that were carried out before.
HAS_ARRIVED, DOES_NOT_MOVE = "has arrived at", "does not move"
IS_GONE = "There is no tenant"

# How many seconds to wait; returns whether the command succeeded.
CommandSteps = Generator[float, None, bool]


def move(group: CellGroup, planned: PlannedMove) -> FaultSteps:
    tenant = group.tenants[planned.tenant]
    mover = _Mover(group, tenant, _target(group, tenant, planned))
    yield from mover.move(planned)


def _target(group: CellGroup, tenant: CellTenant, planned: PlannedMove) -> Cell:
    """The planned cell, or the next one if the tenant is there.

    It may be: a move that was to be taken back may have arrived.
    """
    names = list(group.cells)
    if planned.cell != tenant.home:
        return group.cells[planned.cell]
    return group.cells[names[(names.index(planned.cell) + 1) % len(names)]]


class _Mover:
    def __init__(self, group: CellGroup, tenant: CellTenant, target: Cell) -> None:
        self._group, self._tenant = group, tenant
        self._source, self._target = group.cells[tenant.home], target
        self._began_at = time.time()
        self._until = time.monotonic() + PATIENCE
        self._is_killed = False
        self._refusals: list[str] = []
        name = f"move-{len(group.moves) + 1}-{tenant.name}.log"
        self._log = group.home / name

    def move(self, planned: PlannedMove) -> FaultSteps:
        command = ("move_tenant", self._tenant.name, "--to", self._target.name)
        is_done = yield from self._run(command, planned)
        is_taken_back = not is_done and planned.is_taken_back
        if is_taken_back and (yield from self._take_back((*command, "--abort"))):
            self._note(is_taken_back=True)
            return
        if not is_done:
            yield from self._repeat(command)
        self._note(is_taken_back=False)
        # The source still answers requests that were under way.
        yield FORGET_DELAY
        forget = ("forget_moved_tenant", self._tenant.name, "--yes")
        yield from self._repeat(forget, IS_GONE)

    def _note(self, *, is_taken_back: bool) -> None:
        record = MoveRecord(
            self._tenant.name,
            self._source.name,
            self._target.name,
            self._began_at,
            time.time(),
            self._is_killed,
            is_taken_back,
            tuple(self._refusals),
        )
        self._group.moves.append(record)
        if not is_taken_back:
            self._tenant.settle(record)

    def _take_back(self, command: Sequence[str]) -> CommandSteps:
        """Whether the tenant lives at the source again; it may have arrived."""
        while not (yield from self._run(command)):
            if HAS_ARRIVED in self._refusals[-1] or self._is_late(command):
                return False
            if DOES_NOT_MOVE in self._refusals[-1]:
                break
            yield RETRY_DELAY
        return True

    def _repeat(self, command: Sequence[str], done: str = "") -> FaultSteps:
        """Say a command until it succeeds, or says that it was carried out before."""
        while not (yield from self._run(command)):
            was_done = bool(done) and done in self._refusals[-1]
            if was_done or self._is_late(command):
                return
            yield RETRY_DELAY

    def _is_late(self, command: Sequence[str]) -> bool:
        is_late = time.monotonic() > self._until
        if is_late:
            self._group.failures.append(
                f"{command} does not succeed: {self._last_line()}"
            )
        return is_late

    def _run(
        self, command: Sequence[str], planned: PlannedMove | None = None
    ) -> CommandSteps:
        before = self._read_log()
        process = self._spawn(command)
        while process.poll() is None:
            yield POLL_INTERVAL
            said = self._read_log()[len(before) :].splitlines()
            if planned and planned.kill_after and planned.kill_after in said:
                yield planned.kill_delay
                break
            if time.monotonic() > self._until:
                break
        if process.poll() is None:
            kill_group(process)
        if process.returncode:
            self._refusals.append(self._last_line())
        self._is_killed |= process.returncode == -signal.SIGKILL
        return process.returncode == 0

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            return spawn(
                [*NICE, sys.executable, "manage.py", *command],
                cwd=ROOT,
                env=self._source.environment | {"PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=log,
            )

    def _read_log(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def _last_line(self) -> str:
        return self._read_log().strip().rpartition("\n")[2]
