"""The audit log: every change writes an entry, in its own transaction.

The edges set the actor once for each request or command (`set_actor`); the core records
what was done (`record`). A trigger of the database lets entries be deleted only by `prune`
and with their tenant, and changed only to give a deleted user a pseudonym.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts import statements, url_credentials
from accounts.models import AuditEntry, Via
from scheduler_service.db.statements import prepared

# Shown instead of a secret value.
REDACTED = "…"
# The action of most entries.
TASK_CREATE = "task.create"
PAGE_SIZE = 50
# Rows that one statement deletes.
BATCH_SIZE = 1000
# Fields by which a person is known, as entries about a user have them.
PERSONAL_FIELDS = ("username", "name", "first_name", "last_name", "email")


class Actor(NamedTuple):
    """A username or the name of a part of the service, the way it acts, and its token."""

    name: str
    via: Via
    token_prefix: str = ""


# The actor unless an edge has set one: a beat or a worker on its own account.
SERVICE = Actor("the service", Via.SERVICE)
COMMAND_LINE = Actor("command line", Via.COMMAND)

_actor: ContextVar[Actor] = ContextVar("actor", default=SERVICE)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Let this actor act in the block, until `set_actor` names another one."""
    before = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(before)


def set_actor(actor: Actor) -> None:
    """Let this actor act until the end of the enclosing `acting_as`."""
    _actor.set(actor)


Changes = Mapping[str, tuple[Any, Any]]


def record(
    tenant_id: int | None,
    action: str,
    objects: Collection[object],
    changes: Changes | None = None,
) -> None:
    """Write one entry: the actor did this to all of these objects of a tenant.

    `action` is the kind of the objects and a verb, such as `task.pause`. `changes` holds
    the old and the new value of each field, as JSON, with REDACTED for secrets. Uses one
    statement for any number of objects, and none if there are none.
    """
    if objects:
        with prepared() as cursor:
            cursor.execute(
                statements.INSERT_ENTRY,
                entry_values(tenant_id, action, objects, changes),
            )


def record_of_each(
    names: Mapping[int, str], action: str, changes: Changes | None = None
) -> None:
    """Write one entry to the log of each of these tenants, about the tenant itself."""
    actor = _actor.get()
    what = json.dumps(changes) if changes else None
    with connection.cursor() as cursor:
        cursor.execute(
            statements.INSERT_ENTRY_OF_EACH,
            [
                actor.name,
                actor.via.value,
                actor.token_prefix,
                action,
                what,
                list(names),
                list(names.values()),
            ],
        )


def entry_values(
    tenant_id: int | None,
    action: str,
    objects: Collection[object],
    changes: Changes | None = None,
) -> list[Any]:
    """The parameters of INSERT_ENTRY for an entry about one object or more; see `record`."""
    actor = _actor.get()
    ids = [str(each) for each in objects]
    several = len(ids) > 1
    return [
        tenant_id,
        actor.name,
        actor.via.value,
        actor.token_prefix,
        action,
        "" if several else ids[0],
        json.dumps(ids) if several else None,
        len(ids),
        json.dumps(changes) if changes else None,
    ]


def find_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """The fields whose values differ, with both values."""
    return {
        name: (before.get(name), value)
        for name, value in after.items()
        if before.get(name) != value
    }


def mask_if_url(value: Any) -> Any:
    """A URL without its credentials; any other value as it is."""
    return url_credentials.mask(value) if isinstance(value, str) else value


def find_entries(
    tenant_id: int,
    *,
    actor: str = "",
    action: str = "",
    object_id: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> Any:
    """A tenant's entries, the newest first; `since` is included, `until` is not.

    `action` may end in a dot, for all verbs of a kind.
    """
    found = AuditEntry.objects.filter(tenant=tenant_id).order_by("-id")
    if actor:
        found = found.filter(actor=actor)
    if action.endswith("."):
        found = found.filter(action__startswith=action)
    elif action:
        found = found.filter(action=action)
    if action and not TASK_CREATE.startswith(action):
        # It changes no result, and lets PostgreSQL use the index without these entries.
        found = found.exclude(action=TASK_CREATE)
    if object_id:
        found = found.of_object(object_id)
    if since:
        found = found.filter(at__gte=since)
    if until:
        found = found.filter(at__lt=until)
    return found


class EntryPage(NamedTuple):
    """Entries, the newest first; `after` is None on the last page."""

    entries: Sequence[AuditEntry]
    after: UUID | None


def list_entries(
    tenant_id: int, *, after: UUID | None = None, **filters: Any
) -> EntryPage:
    """A page of a tenant's entries after a cursor; the filters are those of find_entries."""
    found = find_entries(tenant_id, **filters)
    if after is not None:
        found = found.filter(pk__lt=after)
    entries = list(found[: PAGE_SIZE + 1])
    is_last = len(entries) <= PAGE_SIZE
    return EntryPage(
        entries[:PAGE_SIZE], None if is_last else entries[PAGE_SIZE - 1].pk
    )


def to_dict(entry: AuditEntry) -> dict[str, Any]:
    """An entry as the API and the command line show it, ready for JSON."""
    return {
        "id": str(entry.pk),
        "at": entry.at.isoformat().replace("+00:00", "Z"),
        "actor": entry.actor,
        "via": entry.via,
        "token": entry.token_prefix,
        "action": entry.action,
        "objects": entry.object_ids or [entry.object_id],
        "changes": {
            name: {"from": old, "to": new}
            for name, (old, new) in (entry.changes or {}).items()
        },
    }


def prune(*, now: datetime) -> int:
    """Delete entries older than their retention, in batches; returns how many."""
    before = now - timedelta(days=settings.SCHEDULER_AUDIT_RETENTION_DAYS)
    pruned = 0
    while deleted := _prune(before):
        pruned += deleted
    return pruned


@transaction.atomic
def _prune(before: datetime) -> int:
    # Ids begin with the time, so no index of times is needed.
    oldest_kept = UUID(int=int(before.timestamp() * 1000) << 80)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL scheduler.prunes_audit = 'on'")
        cursor.execute(statements.PRUNE_ENTRIES, [oldest_kept, BATCH_SIZE])
        return int(cursor.rowcount)


@transaction.atomic
def delete_tenant_entries(tenant_id: int, *, limit: int) -> int:
    """Delete a batch of the entries of a deleted tenant; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL scheduler.prunes_audit = 'on'")
        cursor.execute(statements.DELETE_TENANT_ENTRIES, [tenant_id, limit])
        return int(cursor.rowcount)


@transaction.atomic
def pseudonymize_user(
    tenant_id: int | None, username: str, name: str, pseudonym: str, *, limit: int
) -> int:
    """Replace a user's name by a pseudonym in a batch of entries; returns how many.

    Everything else of the entries stays.
    """
    names = {
        "tenant": tenant_id,
        "username": username,
        "name": name,
        "pseudonym": pseudonym,
        "limit": limit,
        "personal": list(PERSONAL_FIELDS),
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL scheduler.erases_audit = 'on'")
        cursor.execute(statements.PSEUDONYMIZE_USER, names)
        return int(cursor.rowcount)
