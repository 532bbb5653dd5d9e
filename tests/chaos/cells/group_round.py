"""Runs a round over cells: breaks what the plan says, repairs it, and gathers the evidence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.acceptance.harness import eventually
from tests.chaos import observations
from tests.chaos.agenda import POLL_INTERVAL, FaultAgenda, RunningFault
from tests.chaos.cells.cell import Cell
from tests.chaos.cells.cell_group import CellGroup
from tests.chaos.cells.evidence import CellRows, GroupEvidence, PlacedFault
from tests.chaos.cells.faults import CELL_KIND_BY_NAME, SHARED_KIND_BY_NAME
from tests.chaos.cells.group_clients import AnswerLog, make_group_clients
from tests.chaos.cells.moves import move
from tests.chaos.cells.plan import PlannedItem, PlannedMove, split_victims
from tests.chaos.clients import CallLog, ChaosClient
from tests.chaos.control_calls import AccountAnswer
from tests.chaos.evidence import Fault
from tests.chaos.faults import record_fault
from tests.chaos.orchestrator import (
    DRAIN_TIMEOUT,
    REPAIR_TIMEOUT,
    PrintLine,
    delete_unknown_tasks,
)
from tests.chaos.steps import FaultSteps

# Seconds at the end in which nothing is broken.
FINAL_CALM = 12.0
# Seconds for the accounts of each tenant.
ACCOUNT_SECONDS = 8.0

_TENANTS = "SELECT name, frozen_at IS NOT NULL FROM accounts_tenant"
_TASKS = """
    SELECT task.id::text, tenant.name FROM tasks_api_task task
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
"""


class GroupOrchestrator(FaultAgenda[PlannedItem]):
    """Breaks the parts of cells and what they share, and moves tenants."""

    def __init__(
        self, group: CellGroup, planned: Sequence[PlannedItem], print_line: PrintLine
    ) -> None:
        super().__init__(planned)
        self.group = group
        self.faults: list[PlacedFault] = []
        self._print_line = print_line

    def start_again(self) -> None:
        self.group.restart_dead_parts()

    def begin(self, planned: PlannedItem) -> FaultSteps:
        at = time.monotonic() - self.began
        self._print_line(f"{at:7.2f} s  {planned.description}")
        if isinstance(planned, PlannedMove):
            return move(self.group, planned)
        if planned.kind in SHARED_KIND_BY_NAME:
            return SHARED_KIND_BY_NAME[planned.kind].action(self.group, planned.seconds)
        cell, parts = split_victims(planned.victims)
        action = CELL_KIND_BY_NAME[planned.kind].action
        return action(self.group.cells[cell], parts, planned.seconds)

    def end(self, fault: RunningFault[PlannedItem]) -> None:
        planned = fault.planned
        place, parts = split_victims(planned.victims)
        if planned.kind in CELL_KIND_BY_NAME:
            kind = CELL_KIND_BY_NAME[planned.kind]
            found = record_fault(kind, parts, fault.began_at, time.time())
        else:
            # To a tenant that moves, it is as if its database were away.
            victims = ("postgres",) if isinstance(planned, PlannedMove) else (place,)
            found = Fault(planned.kind, victims, fault.began_at, time.time())
        self.faults.append(PlacedFault(place, found))


@dataclass(frozen=True)
class GroupResult:
    evidence: GroupEvidence
    # Seconds until every part was alive again, and until nothing was left to do.
    repair_seconds: float
    drain_seconds: float


def run_group_round(
    group: CellGroup,
    planned: Sequence[PlannedItem],
    *,
    seed: int,
    seconds: float,
    print_line: PrintLine,
) -> GroupResult:
    """Run clients and faults on started cells."""
    call_log, answer_log = CallLog(), AnswerLog()
    tenants = list(group.tenants.values())
    clients = make_group_clients(tenants, seed, group.target_url, call_log, answer_log)
    for client in _all_of(clients):
        client.start()
    orchestrator = GroupOrchestrator(group, planned, print_line)
    orchestrator.run_until(orchestrator.began + seconds)
    print_line("All faults are over.")
    repaired_at = time.monotonic()
    eventually(group.is_whole, timeout=REPAIR_TIMEOUT)
    repair_seconds = time.monotonic() - repaired_at
    time.sleep(FINAL_CALM)
    stopped_at = time.monotonic()
    _drain(group, clients)
    drain_seconds = time.monotonic() - stopped_at
    group.restart_dead_parts()
    evidence = _gather(group, orchestrator, call_log, answer_log)
    return GroupResult(evidence, repair_seconds, drain_seconds)


def _gather(
    group: CellGroup,
    orchestrator: GroupOrchestrator,
    call_log: CallLog,
    answer_log: AnswerLog,
) -> GroupEvidence:
    rows = [_read_rows(cell) for cell in group.cells.values()]
    return GroupEvidence(
        [tenant.record() for tenant in group.tenants.values()],
        call_log.calls,
        observations.read_arrivals(group.a_cell),
        rows,
        group.read_routes(),
        orchestrator.faults,
        group.moves,
        answer_log.answers,
        observations.read_notes(group.a_cell),
        _ask_accounts(group, rows),
        group.all_failures(),
        time.monotonic() - orchestrator.began,
    )


def _all_of(clients: dict[str, list[ChaosClient]]) -> list[ChaosClient]:
    return [client for of_tenant in clients.values() for client in of_tenant]


def _drain(group: CellGroup, clients: dict[str, list[ChaosClient]]) -> None:
    for client in _all_of(clients):
        client.stop()
    for client in _all_of(clients):
        client.join()
    for client in _all_of(clients):
        client.clean_up()
    for name, of_tenant in clients.items():
        home = group.cells[group.tenants[name].home]
        delete_unknown_tasks(home, of_tenant[0], name)
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while not group.is_drained() and time.monotonic() < deadline:
        # A run that is not over by then is a violation.
        time.sleep(POLL_INTERVAL)


def _read_rows(cell: Cell) -> CellRows:
    return CellRows(
        cell.name,
        dict(cell.query(_TENANTS)),
        dict(cell.query(_TASKS)),
        observations.read_runs(cell),
    )


def _ask_accounts(group: CellGroup, rows: Sequence[CellRows]) -> list[AccountAnswer]:
    """The accounts of the tasks of each tenant, as the door's cell computes them."""
    found = []
    for of_cell in rows:
        for name in of_cell.living_tenants & group.tenants.keys():
            runs = [run for run in of_cell.runs if of_cell.tasks[run.task_id] == name]
            tenant = group.tenants[name]
            found += observations.ask_accounts(tenant, runs, ACCOUNT_SECONDS)
    return found
