"""Split a cell: its standby is promoted to be a new cell, for some of the tenants.

    (none) ──► freezing ──► ready ──► opening ──► open ──► (none)
       ▲           │          │          │
       └───────────┴──────────┴──────────┘ --abort, unless the new cell is open

The stage stands in the row of OwnCell. Each step can be repeated, so a split that was
interrupted goes on when the command is said again. The tenants live here until the copy
takes the name of the new cell, and from then on there: that is one commit, in the copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from accounts import directory, directory_statements
from accounts.directory import CELL_BITS
from accounts.models import OwnCell, SplitStage, Tenant
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from scheduler_service.db.timeouts import without_limits
from tasks_api.moving import databases, freezing, halves, many_tenants, standbys
from tasks_api.moving import split_statements as statements
from tasks_api.moving.databases import as_default
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.halves import TenantWeight

Report = Callable[[str], object]

# Seconds.
LOCK_PATIENCE = 3.0
REPLAY_PATIENCE = 120.0
# For whoever promotes the standby with another tool.
PROMOTION_PATIENCE = 600.0
DOOR_PATIENCE = 10.0


class Plan(NamedTuple):
    """What the operator asks for."""

    cell: str
    # The standby's.
    url: str
    # None: those of a split that is under way.
    tenants: Sequence[int] | None
    promotes: bool = True


def find_split() -> OwnCell | None:
    """The split that is under way."""
    return OwnCell.objects.filter(split_id__isnull=False).first()


def choose_half() -> list[TenantWeight]:
    """The tenants of one half of this cell."""
    with connection.cursor() as cursor:
        cursor.execute(statements.WEIGH_TENANTS)
        weights = [TenantWeight._make(row) for row in cursor.fetchall()]
    chosen = set(halves.choose_half(weights))
    return [each for each in weights if each.id in chosen]


def split_cell(plan: Plan, report: Report) -> None:
    """Split this cell, or go on with its split. Raises MoveRefused."""
    with _alone():
        own = find_split() or _begin(plan, report)
        if own.splits_to != plan.cell:
            raise MoveRefused(
                f"This cell is being split into {own.splits_to}. Say that cell, or take "
                "the split back with --abort first."
            )
        if own.stage == SplitStage.FREEZING:
            _make_ready(own, report)
        if own.stage == SplitStage.READY:
            _promote(own, plan, report)
        if own.stage == SplitStage.OPENING:
            _open(own, plan.url, report)
        _send_requests(own, report)
        _finish(own, plan.url, report)


def abort_split(url: str | None, report: Report) -> None:
    """Take a split back, unless the new cell is open. Raises MoveRefused if it is."""
    with _alone():
        own = find_split()
        if own is None:
            raise MoveRefused("This cell is not being split.")
        if own.stage == SplitStage.OPEN:
            raise MoveRefused(_is_open(own))
        if own.stage == SplitStage.OPENING:
            _refuse_copy(own, url)
        with transaction.atomic():
            many_tenants.thaw(own.tenants, "tenant.thaw")
        many_tenants.set_fence(is_on=False)
        _forget_split(own)
        report("thawed")


def _is_open(own: OwnCell) -> str:
    return (
        f"The cell {own.splits_to} is open, and its tenants live there. Say split_cell "
        "again to finish the split."
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the split for this process, and let statements take their time."""
    own: Any = connections[DEFAULT_DB_ALIAS]
    with without_limits(own):
        deadline = time.monotonic() + LOCK_PATIENCE
        # A beat holds it for moments, and the session of a dead process may end first.
        while not locks.try_acquire_for_session(own, LockKind.SPLIT):
            if time.monotonic() > deadline:
                raise MoveRefused("Another process splits this cell at this moment.")
            time.sleep(freezing.POLL_SECONDS)
        try:
            yield
        finally:
            if own.connection is not None and own.is_usable():
                locks.release(own, LockKind.SPLIT)


def _begin(plan: Plan, report: Report) -> OwnCell:
    tenants = _require_tenants(plan)
    _require_cells(plan, tenants)
    standbys.check_standby(plan.url)
    split_id = uuid4()
    values = {
        "name": settings.SCHEDULER_CELL,
        "split": split_id,
        "splits_to": plan.cell,
        "tenants": tenants,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.BEGIN_SPLIT, values)
        many_tenants.freeze(tenants, _name_of(plan.cell), split_id)
    report(f"frozen: {len(tenants)} tenants")
    return OwnCell.objects.get()


def _name_of(cell: str) -> str:
    """The name of a cell as the destination of tenants."""
    return f"the cell {cell}"


def _require_tenants(plan: Plan) -> list[int]:
    if not plan.tenants:
        raise MoveRefused("Say which tenants go: --tenants, or --half.")
    frozen = Tenant.objects.filter(pk__in=plan.tenants, frozen_at__isnull=False).first()
    if frozen is not None:
        raise MoveRefused(f"{frozen} moves to {frozen.moves_to}, or lives there.")
    return list(plan.tenants)


def _require_cells(plan: Plan, tenants: Sequence[int]) -> None:
    if not settings.SCHEDULER_CELL or not directory.is_used():
        raise MoveRefused(
            "Set SCHEDULER_CELL and DIRECTORY_URL, and say join_directory."
        )
    old, new = map(directory.find_cell, (settings.SCHEDULER_CELL, plan.cell))
    if new.number <= old.number or new.tenants:
        raise MoveRefused(
            f"{plan.cell} is no new cell. Add one with add_cell: its rows are numbered "
            "from a range that no cell had before."
        )
    own = OwnCell.objects.first()
    if own is not None and own.name != old.name:
        raise MoveRefused(f"This database is of the cell {own.name}.")
    if not directory.tenants_of(old.name).issuperset(tenants):
        raise MoveRefused(
            f"The directory does not have all of these tenants in {old.name}. Say "
            "join_directory first."
        )


def _make_ready(own: OwnCell, report: Report) -> None:
    freezing.await_older_transactions()
    many_tenants.put_urgent_aside(report)
    # The standby gets it, too.
    many_tenants.set_fence(is_on=True)
    many_tenants.put_urgent_aside(report)
    report("put aside")
    _advance(own, SplitStage.READY)


def _promote(own: OwnCell, plan: Plan, report: Report) -> None:
    _wait_until(
        lambda: standbys.has_replayed(plan.url, _id_of(own)),
        REPLAY_PATIENCE,
        "The standby has not replayed what was committed here. See that it streams, and "
        "say the command again; or take the split back with --abort.",
    )
    report("replayed")
    if standbys.is_standby(plan.url):
        if plan.promotes:
            standbys.promote(plan.url)
        else:
            report("promote the standby now")
    _wait_until(
        lambda: not standbys.is_standby(plan.url),
        PROMOTION_PATIENCE,
        "The standby was not promoted. Say the command again, or take the split back "
        "with --abort.",
    )
    report("promoted")
    _advance(own, SplitStage.OPENING)


def _wait_until(condition: Callable[[], bool], patience: float, refusal: str) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise MoveRefused(refusal)
        many_tenants.put_urgent_tasks_aside()
        time.sleep(freezing.POLL_SECONDS)


def _open(own: OwnCell, url: str, report: Report) -> None:
    """Let the tenants live in the copy, and note here that they do."""
    number = directory.find_cell(own.splits_to).number
    with databases.open_copy(url) as copy, as_default(copy):
        if not _is_opened(own):
            home = _name_of(own.name)
            many_tenants.put_others_aside(own.tenants, home, _id_of(own))
            _number_rows(number)
            report("prepared")
            _open_copy(own)
    report("opened")
    with transaction.atomic():
        many_tenants.mark_as_moved(own.tenants)
        _advance(own, SplitStage.OPEN)
    report("moved")


def _id_of(own: OwnCell) -> UUID:
    assert own.split_id is not None
    return own.split_id


def _is_opened(own: OwnCell) -> bool:
    """Whether the copy is the new cell. Raises MoveRefused if it is of no use for that."""
    found = OwnCell.objects.get()
    if found.split_id != own.split_id:
        raise MoveRefused("The copy is of another split. Build a new standby.")
    return found.name == own.splits_to


def _number_rows(number: int) -> None:
    with connection.cursor() as cursor:
        given = {"first": number << CELL_BITS}
        cursor.execute(directory_statements.RAISE_SEQUENCES, given)


@transaction.atomic
def _open_copy(own: OwnCell) -> None:
    found = OwnCell.objects.select_for_update().get(split_id=own.split_id)
    many_tenants.thaw(own.tenants, "tenant.arrive")
    found.name, found.stage = own.splits_to, SplitStage.OPEN
    found.save(update_fields=["name", "stage"])


def _refuse_copy(own: OwnCell, url: str | None) -> None:
    """Let nobody open the copy any more. Raises MoveRefused if it is open."""
    if url is None:
        raise MoveRefused("Say the URL of the copy as --to: it may be open already.")
    with databases.open_copy(url) as copy, as_default(copy), transaction.atomic():
        found = OwnCell.objects.select_for_update().get()
        if found.split_id == own.split_id and found.name == own.splits_to:
            raise MoveRefused(_is_open(own))
        _forget_split(found)


def _send_requests(own: OwnCell, report: Report) -> None:
    """Flip the tenants, all at once. Raises MoveRefused if a door does not follow."""
    version = directory.flip_all(own.tenants, own.splits_to)
    if behind := directory.wait_for_doors(version, timeout=DOOR_PATIENCE):
        names = ", ".join(door.name for door in behind)
        raise MoveRefused(
            f"The directory has the tenants in {own.splits_to}, but these doors do not "
            f"follow: {names}. Does follow_directory run there? Say the command again."
        )
    seconds = many_tenants.seconds_frozen(own.tenants)
    report(f"flipped, {seconds:.1f} s after the freeze")


def _finish(own: OwnCell, url: str, report: Report) -> None:
    """Put aside on both sides what fires later, so that no fence is needed."""
    others = Tenant.objects.exclude(pk__in=own.tenants)
    with databases.open_copy(url) as copy, as_default(copy):
        _put_rest_aside(list(others.values_list("pk", flat=True)))
        _forget_split(OwnCell.objects.get())
    _put_rest_aside(own.tenants)
    _forget_split(own)
    report("finished")


def _put_rest_aside(tenant_ids: Sequence[int]) -> None:
    # Beats put aside what fires soon meanwhile.
    for tenant_id in tenant_ids:
        freezing.put_aside(tenant_id, lambda _: None)
    many_tenants.set_fence(is_on=False)


def _advance(own: OwnCell, stage: SplitStage) -> None:
    found = OwnCell.objects.filter(split_id=own.split_id)
    if not found.update(stage=stage):
        raise MoveRefused("Another process has taken the split back.")
    own.stage = stage


def _forget_split(own: OwnCell) -> None:
    own.split_id, own.stage, own.splits_to, own.tenants = None, "", "", []
    own.save()
