"""Who changed what: the log that every change writes to, in its own transaction.

The edges say who acts, once for each request or command (`act_as`); the core says what
was done (`record`). Entries are deleted only by `prune` and with their tenant, and
changed only where a user who is deleted gets a pseudonym; a trigger of the database sees
to that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts import url_credentials
from accounts.models import AuditEntry, Via
from scheduler_service.db.statements import prepared

# What stands for a value that nobody may read in the log.
REDACTED = "…"
# What most entries tell of.
TASK_CREATE = "task.create"
# Rows in one statement of the pruning.
BATCH_SIZE = 1000


class Actor(NamedTuple):
    """Who acts: a username, or what is no user; how; and by which token, if any."""

    name: str
    via: Via
    token_prefix: str = ""


# Who acts where no edge has said it: a beat or a worker, on its own account.
SERVICE = Actor("the service", Via.SERVICE)
COMMAND_LINE = Actor("command line", Via.COMMAND)

_actor: ContextVar[Actor] = ContextVar("actor", default=SERVICE)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Everything that is done within is done by this actor, or whom `act_as` names."""
    before = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(before)


def set_actor(actor: Actor) -> None:
    """From here to the end of the enclosing `acting`."""
    _actor.set(actor)


Changes = Mapping[str, tuple[Any, Any]]

# A UUIDv7 (RFC 9562) of the moment, which has its fraction of a millisecond in 12 bits. A
# random UUID of version 4 has its variant where version 7 has it.
ID = """
    (SELECT (lpad(to_hex(floor(at)::bigint), 12, '0') || '7'
            || lpad(to_hex(floor((at - floor(at)) * 4096)::int), 3, '0')
            || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid
        FROM (SELECT extract(epoch FROM clock_timestamp()) * 1000) AS moment(at))
"""
# One entry, for its `values`; also as a part of the statement that makes the change.
INSERT = f"""
    INSERT INTO accounts_auditentry (id, tenant_id, at, actor, via, token_prefix, action,
        object_id, object_ids, count, changes)
    VALUES ({ID}, %s::bigint, now(), %s::text, %s::text, %s::text, %s::text,
        %s::text, %s::jsonb, %s::int, %s::jsonb)
"""  # noqa: S608 (a constant)


def record(
    tenant_id: int | None,
    action: str,
    objects: Collection[object],
    changes: Changes | None = None,
) -> None:
    """Log that the actor did this to all of these objects of a tenant, as one entry.

    `action` is the kind of the objects and a verb, such as `task.pause`. `changes` says
    of each field what it was and is, as JSON, with REDACTED in the place of secrets. It
    costs one statement whatever the number of objects, and none if there are none.
    """
    if objects:
        with prepared() as cursor:
            cursor.execute(INSERT, entry_values(tenant_id, action, objects, changes))


def entry_values(
    tenant_id: int | None,
    action: str,
    objects: Collection[object],
    changes: Changes | None = None,
) -> list[Any]:
    """The parameters of INSERT for an entry about one object or more; see `record`."""
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
    """A value as an entry may tell it: a URL without its credentials."""
    return url_credentials.mask_credentials(value) if isinstance(value, str) else value


def find_entries(
    tenant_id: int,
    *,
    actor: str = "",
    action: str = "",
    object_id: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> Any:
    """A tenant's entries, the newest first; `since` counts, `until` does not.

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
        # It goes without saying, and lets PostgreSQL use the index that leaves them out.
        found = found.exclude(action=TASK_CREATE)
    if object_id:
        found = found.of_object(object_id)
    if since:
        found = found.filter(at__gte=since)
    if until:
        found = found.filter(at__lt=until)
    return found


def to_dict(entry: AuditEntry) -> dict[str, Any]:
    """An entry as its tenant reads it, in the API and on the command line, for JSON."""
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
    """Delete entries older than their retention, in bites; returns how many."""
    before = now - timedelta(days=settings.SCHEDULER_AUDIT_RETENTION_DAYS)
    pruned = 0
    while deleted := _prune(before):
        pruned += deleted
    return pruned


@transaction.atomic
def _prune(before: datetime) -> int:
    # Ids are in the order of their making, so no index of times is needed.
    oldest_kept = UUID(int=int(before.timestamp() * 1000) << 80)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL scheduler.prunes_audit = 'on'")
        cursor.execute(
            """
            DELETE FROM accounts_auditentry WHERE id IN (
                SELECT id FROM accounts_auditentry WHERE id < %s
                ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
            """,
            [oldest_kept, BATCH_SIZE],
        )
        return int(cursor.rowcount)


@transaction.atomic
def delete_tenant_entries(tenant_id: int, *, limit: int) -> int:
    """Delete entries of a tenant that is deleted; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL scheduler.prunes_audit = 'on'")
        cursor.execute(
            """
            DELETE FROM accounts_auditentry WHERE id IN (
                SELECT id FROM accounts_auditentry WHERE tenant_id = %s LIMIT %s)
            """,
            [tenant_id, limit],
        )
        return int(cursor.rowcount)


@transaction.atomic
def pseudonymize_user(
    tenant_id: int | None, username: str, name: str, pseudonym: str, *, limit: int
) -> int:
    """Put a pseudonym in the place of a user's name, in some entries; returns how many.

    What was done, when and to what stays; only whom it names is another word.
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
        cursor.execute(_RENAME, names)
        return int(cursor.rowcount)


# Fields of a user that say who it is, as entries about a change of the user have them.
PERSONAL_FIELDS = ("username", "name", "first_name", "last_name", "email")
_RENAME = """
    WITH named AS MATERIALIZED (
        SELECT id, actor = %(username)s AS is_actor,
            action LIKE 'user.%%' AND object_id = %(name)s AS is_object
        FROM accounts_auditentry
        WHERE tenant_id = %(tenant)s AND (actor = %(username)s
            OR action LIKE 'user.%%' AND object_id = %(name)s
            OR changes -> 'user' @> jsonb_build_array(%(name)s::text))
        LIMIT %(limit)s
    )
    UPDATE accounts_auditentry entry SET
        actor = CASE WHEN is_actor THEN %(pseudonym)s ELSE actor END,
        object_id = CASE WHEN is_object THEN %(pseudonym)s ELSE object_id END,
        changes = CASE
            WHEN is_object THEN changes - %(personal)s::text[]
            WHEN changes -> 'user' @> jsonb_build_array(%(name)s::text)
                THEN jsonb_set(changes, '{user}', (
                    SELECT jsonb_agg(CASE WHEN each = to_jsonb(%(name)s::text)
                        THEN to_jsonb(%(pseudonym)s::text) ELSE each END ORDER BY place)
                    FROM jsonb_array_elements(changes -> 'user')
                        WITH ORDINALITY AS named(each, place)))
            ELSE changes END
    FROM named WHERE entry.id = named.id
"""
