"""Compares what all cells stored and what clients were told at the door.

Each tenant is judged by the referee of one service, as if it were alone there. What only
several cells can break is judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.chaos.cells.evidence import GroupEvidence, TenantRecord, tenant_number_in
from tests.chaos.cells.group_door import HAPROXY
from tests.chaos.cells.lateness import SETTLE_SECONDS, check_isolation, is_near
from tests.chaos.evidence import ClientCall, Violation, group_by
from tests.chaos.invariants import find_violations

# The answers of a cell to a target that reports on a run of another cell.
REFUSED_REPORTS = frozenset({401, 403, 404})
# What a move that was verified never says.
DIFFERENCES = ("is not the same", "rows, but")


def find_group_violations(evidence: GroupEvidence) -> list[Violation]:
    """Each broken promise, with enough detail to find its cause."""
    found = [
        Violation("a part died by itself", "", failure) for failure in evidence.failures
    ]
    for tenant in evidence.tenants:
        found += find_violations(evidence.of_tenant(tenant))
        found += _check_home(tenant, evidence)
    found += [*_check_rows(evidence), *_check_strangers(evidence)]
    found += [*_check_routes(evidence), *_check_reports(evidence)]
    found += _check_unanswered(evidence)
    found += [*_check_moves(evidence), *check_isolation(evidence)]
    return found


def _check_home(tenant: TenantRecord, evidence: GroupEvidence) -> Iterator[Violation]:
    """A tenant lives in one cell, to which the directory sends its requests."""
    homes = [rows.cell for rows in evidence.rows if tenant.name in rows.living_tenants]
    if len(homes) != 1:
        yield Violation("a tenant does not live in one cell", tenant.name, str(homes))
    elif evidence.routes.get(tenant.name) != homes[0]:
        detail = f"lives in {homes[0]}, not in {evidence.routes.get(tenant.name)}"
        yield Violation("the directory names another cell", tenant.name, detail)


def _check_rows(evidence: GroupEvidence) -> Iterator[Violation]:
    tasks = [(task, rows.cell) for rows in evidence.rows for task in rows.living_tasks]
    for task, cells in _in_several_cells(tasks):
        yield Violation("a task is in several cells", task, str(cells))
    runs = [
        (run.run_id, rows.cell) for rows in evidence.rows for run in rows.living_runs
    ]
    for run_id, cells in _in_several_cells(runs):
        yield Violation("a run is in several cells", run_id, str(cells))


def _in_several_cells(
    placed: Iterable[tuple[str, str]],
) -> Iterator[tuple[str, list[str]]]:
    for row_id, places in group_by(placed, lambda pair: pair[0]).items():
        if len(places) > 1:
            yield row_id, [cell for _, cell in places]


def _check_strangers(evidence: GroupEvidence) -> Iterator[Violation]:
    """Nothing is stored, and nothing arrives, that belongs to no tenant of the round."""
    known = {tenant.number for tenant in evidence.tenants}
    for number, runs in evidence.runs_by_number.items():
        if number not in known:
            yield Violation("a run of nobody", runs[0].mark, str(runs[:5]))
    for number, arrivals in evidence.arrivals_by_number.items():
        if number not in known:
            yield Violation("an arrival of nobody", arrivals[0].mark, str(arrivals[:5]))


def _check_routes(evidence: GroupEvidence) -> Iterator[Violation]:
    """Each answer comes from a cell in which the tenant lived meanwhile."""
    tenants = {tenant.name: tenant for tenant in evidence.tenants}
    for answer in evidence.answers:
        tenant = tenants[answer.tenant]
        if answer.cell not in tenant.cells(answer.sent_at, answer.answered_at):
            detail = f"{answer} {tenant.stays}"
            yield Violation("an answer of a wrong cell", tenant.name, detail)


def _check_unanswered(evidence: GroupEvidence) -> Iterator[Violation]:
    """Each call is answered, unless the cell or the door of its tenant was broken."""
    tenants = {tenant.number: tenant for tenant in evidence.tenants}
    for call in evidence.calls:
        tenant = tenants.get(tenant_number_in(call.mark))
        if tenant and call.is_uncertain and not _has_reason(call, tenant, evidence):
            rule = "a call failed though nothing of its own was broken"
            yield Violation(rule, call.mark, str(call))


def _has_reason(
    call: ClientCall, tenant: TenantRecord, evidence: GroupEvidence
) -> bool:
    return any(
        is_near(placed, at, SETTLE_SECONDS)
        and (placed.place == HAPROXY or placed.concerns(tenant))
        for placed in evidence.faults
        for at in (call.sent_at, call.answered_at)
    )


def _check_reports(evidence: GroupEvidence) -> Iterator[Violation]:
    """No cell refuses what a target reports as if it did not know the run."""
    for note in evidence.reports:
        if note.value in REFUSED_REPORTS:
            yield Violation("a report was refused", note.run_id, str(note))


def _check_moves(evidence: GroupEvidence) -> Iterator[Violation]:
    for move in evidence.moves:
        for refusal in move.refusals:
            if any(words in refusal for words in DIFFERENCES):
                yield Violation("a move brought other rows", move.tenant, str(move))
