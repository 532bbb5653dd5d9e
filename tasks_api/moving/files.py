"""Export a tenant into a file, and import it from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from django.db import connection

from accounts.models import Tenant
from scheduler_service.db.timeouts import without_limits
from tasks_api.moving import archive, arrival, freezing, sources
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.moves import FILE, alone

Report = Callable[[str], object]


def export_tenant(tenant: Tenant, path: Path, report: Report) -> None:
    """Freeze a tenant and write it into a file; it stays frozen.

    Raises MoveRefused.
    """
    if path.exists():
        raise MoveRefused(f"There is a file {path} already.")
    with alone(tenant):
        freeze = freezing.freeze(tenant, FILE, uuid4())
        report("frozen")
        freezing.await_older_transactions()
        freezing.put_aside(tenant.pk, report)
        report("put aside")
        with sources.snapshot_of(tenant, freeze.move_id) as source:
            size = archive.write_archive(source, path)
        report(f"written: {size} bytes before they were compressed")


def import_tenant(path: Path, report: Report) -> str:
    """Let the tenant of a file live in this database; returns its name.

    A second call changes nothing. Raises MoveRefused, and then nothing is stored.
    """
    with without_limits(connection), archive.open_archive(path) as source:
        report("checked")
        if not arrival.has_arrived(source.traveller):
            arrival.check_target(source.schema)
            arrival.prepare_target(source.run_key)
            arrival.prepare_history(source.oldest_run)
            arrival.arrive(source, report, before_commit=lambda: None)
        report("arrived")
        return source.traveller.name
