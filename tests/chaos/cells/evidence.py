"""What is observed in a round over cells, and the part of it that concerns one tenant.

A tenant is judged as the only one of one service: by the faults of the cells in which it
lived when they happened, and by its moves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tests.chaos.control_calls import AccountAnswer
from tests.chaos.evidence import (
    NEVER,
    Arrival,
    ClientCall,
    Evidence,
    Fault,
    RunRecord,
    TargetNote,
    group_by,
)
from tests.chaos.promptness import RECOVERY_SECONDS

# The events of reports in the notes of targets.
REPORTS = frozenset({"heartbeat", "complete", "fail"})
# The name of a client is its kind and the number of its tenant, and begins its marks.
_MARK = re.compile(r"[a-z]+(\d+)-\d+")


def tenant_number_in(mark: str) -> int:
    found = _MARK.match(mark)
    return int(found[1]) if found else 0


class Stay(NamedTuple):
    """A time in a cell. A tenant that moves is in both cells meanwhile."""

    cell: str
    since: float
    until: float = NEVER


class TenantRecord(NamedTuple):
    """A tenant, and where it lived when."""

    name: str
    number: int
    stays: tuple[Stay, ...]

    def cells(self, since: float, until: float) -> set[str]:
        return {
            stay.cell
            for stay in self.stays
            if stay.since <= until and since <= stay.until
        }


class PlacedFault(NamedTuple):
    """A fault of a cell, of a part that all cells share, or of a tenant that moves."""

    place: str
    fault: Fault

    def concerns(self, tenant: TenantRecord) -> bool:
        """Whether it, or its aftermath, may have delayed the tenant."""
        if self.place == tenant.name:
            return True
        fault = self.fault
        after = fault.repaired_at + RECOVERY_SECONDS
        return self.place in tenant.cells(fault.began_at, after)


class RoutedAnswer(NamedTuple):
    """An answer that a tenant got at the door, and the cell that it says it came from."""

    tenant: str
    sent_at: float
    answered_at: float
    status: int
    cell: str


class MoveRecord(NamedTuple):
    tenant: str
    source: str
    target: str
    began_at: float
    ended_at: float
    is_killed: bool
    is_taken_back: bool
    # What the commands that failed said last, each of which was said again.
    refusals: tuple[str, ...] = ()


class CellRows(NamedTuple):
    """What a cell had stored at the end."""

    cell: str
    # Whether each tenant is frozen, by its name: it is under way, or has moved away.
    tenants: Mapping[str, bool]
    # The tenant of each task, by its id.
    tasks: Mapping[str, str]
    runs: Sequence[RunRecord]

    @property
    def living_tenants(self) -> set[str]:
        return {name for name, is_frozen in self.tenants.items() if not is_frozen}

    @property
    def living_tasks(self) -> set[str]:
        living = self.living_tenants
        return {task for task, tenant in self.tasks.items() if tenant in living}

    @property
    def living_runs(self) -> list[RunRecord]:
        tasks = self.living_tasks
        return [run for run in self.runs if run.task_id in tasks]


@dataclass(frozen=True)
class GroupEvidence:
    """Everything that was observed in a round."""

    tenants: Sequence[TenantRecord]
    calls: Sequence[ClientCall]
    arrivals: Sequence[Arrival]
    rows: Sequence[CellRows]
    # The cell of each tenant, as the directory says at the end.
    routes: Mapping[str, str]
    faults: Sequence[PlacedFault] = ()
    moves: Sequence[MoveRecord] = ()
    answers: Sequence[RoutedAnswer] = ()
    notes: Sequence[TargetNote] = ()
    accounts: Sequence[AccountAnswer] = ()
    # Parts that ended by themselves, and moves that did not end.
    failures: Sequence[str] = ()
    seconds: float = 0.0

    @cached_property
    def runs(self) -> list[RunRecord]:
        """The runs of all tenants, each of them where its tenant lives."""
        return [run for rows in self.rows for run in rows.living_runs]

    @property
    def reports(self) -> list[TargetNote]:
        """What targets reported on long work, and how they were answered."""
        return [note for note in self.notes if note.event in REPORTS]

    @cached_property
    def arrivals_by_run(self) -> Mapping[str, list[Arrival]]:
        return group_by(self.arrivals, lambda arrival: arrival.run_id)

    def faults_of(self, tenant: TenantRecord) -> list[Fault]:
        return [each.fault for each in self.faults if each.concerns(tenant)]

    def of_tenant(self, tenant: TenantRecord) -> Evidence:
        number = tenant.number
        arrivals = self.arrivals_by_number.get(number, [])
        run_ids = {arrival.run_id for arrival in arrivals}
        return Evidence(
            self.calls_by_number.get(number, []),
            self.runs_by_number.get(number, []),
            arrivals,
            self.faults_of(tenant),
            notes=[note for note in self.notes if note.run_id in run_ids],
            seconds=self.seconds,
            accounts=self.accounts_by_number.get(number, []),
        )

    @cached_property
    def calls_by_number(self) -> Mapping[int, list[ClientCall]]:
        return group_by(self.calls, lambda call: tenant_number_in(call.mark))

    @cached_property
    def runs_by_number(self) -> Mapping[int, list[RunRecord]]:
        return group_by(self.runs, lambda run: tenant_number_in(run.mark))

    @cached_property
    def arrivals_by_number(self) -> Mapping[int, list[Arrival]]:
        return group_by(self.arrivals, lambda each: tenant_number_in(each.mark))

    @cached_property
    def accounts_by_number(self) -> Mapping[int, list[AccountAnswer]]:
        return group_by(self.accounts, lambda each: tenant_number_in(each.mark))
