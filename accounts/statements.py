"""The SQL of the accounts: audit entries, live tokens and encrypted columns."""

from __future__ import annotations

from psycopg import sql

# A UUIDv7 (RFC 9562) of this moment, with the fraction of a millisecond in 12 bits. The
# random rest is of a UUIDv4, whose variant stands at the same place.
NEW_ENTRY_ID = """
    (SELECT (lpad(to_hex(floor(at)::bigint), 12, '0') || '7'
            || lpad(to_hex(floor((at - floor(at)) * 4096)::int), 3, '0')
            || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid
        FROM (SELECT extract(epoch FROM clock_timestamp()) * 1000) AS moment(at))
"""

# Writes one entry; also a part of the statement that makes the change.
INSERT_ENTRY = f"""
    INSERT INTO accounts_auditentry (id, tenant_id, at, actor, via, token_prefix, action,
        object_id, object_ids, count, changes)
    VALUES ({NEW_ENTRY_ID}, %s::bigint, now(), %s::text, %s::text, %s::text, %s::text,
        %s::text, %s::jsonb, %s::int, %s::jsonb)
"""

# PostgreSQL reads the clock once for all rows, unless the moment depends on the row.
_NEW_ENTRY_ID_OF_TENANT = NEW_ENTRY_ID.replace(
    "clock_timestamp()", "clock_timestamp() + tenant.id * interval '0'"
)
# Writes an entry about each of these tenants into its own log.
INSERT_ENTRY_OF_EACH = f"""
    INSERT INTO accounts_auditentry (id, tenant_id, at, actor, via, token_prefix, action,
        object_id, count, changes)
    SELECT {_NEW_ENTRY_ID_OF_TENANT}, id, now(), %s::text, %s::text, %s::text, %s::text, name, 1,
        %s::jsonb
    FROM unnest(%s::bigint[], %s::text[]) AS tenant (id, name)
"""

# Deletes a batch of entries that are older than a moment, given as an id of it.
PRUNE_ENTRIES = """
    DELETE FROM accounts_auditentry WHERE id IN (
        SELECT id FROM accounts_auditentry WHERE id < %s
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
"""

# Deletes a batch of the entries of a tenant.
DELETE_TENANT_ENTRIES = """
    DELETE FROM accounts_auditentry WHERE id IN (
        SELECT id FROM accounts_auditentry WHERE tenant_id = %s LIMIT %s)
"""

# Replaces the name of a user in a batch of entries: as actor, as object, and in changes
# of other objects. Entries about the user lose the personal fields.
PSEUDONYMIZE_USER = """
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

# Deletes what the admin has logged about rows of one model.
DELETE_ADMIN_LOG = """
    DELETE FROM django_admin_log
    WHERE content_type_id = %s AND object_id = ANY(%s::text[])
"""

# Finds a live token by its digest, with its user and tenant; `authentication` puts their
# columns in. If Django composed it and read its rows, a request would cost twice as much.
LOAD_CALLER = """
    SELECT clock_timestamp(), {columns} FROM accounts_token
    JOIN accounts_user ON accounts_user.id = accounts_token.user_id
    JOIN accounts_tenant ON accounts_tenant.id = accounts_user.tenant_id
    WHERE accounts_token.digest = %(digest)s AND accounts_token.revoked_at IS NULL
        AND (accounts_token.expires_at IS NULL OR accounts_token.expires_at > clock_timestamp())
        AND accounts_user.is_active
"""

_LIMITS = """
    tenant.max_in_flight, coalesce(tenant.max_runs_per_day, plan.max_runs_per_day)
"""
_WITH_LIMITS = """
    accounts_tenant tenant LEFT JOIN accounts_plan plan ON plan.id = tenant.plan_id
"""
_HAS_LIMITS = """
    (tenant.max_in_flight IS NOT NULL
        OR coalesce(tenant.max_runs_per_day, plan.max_runs_per_day) IS NOT NULL)
"""
# Reads the limits of some tenants that bound their deliveries.
READ_DELIVERY_LIMITS = f"""
    SELECT tenant.id, {_LIMITS} FROM {_WITH_LIMITS}
    WHERE tenant.id = ANY(%s::bigint[]) AND {_HAS_LIMITS}
"""


def has_delivery_limits(tenant_id: str) -> str:
    """Return SQL for whether a tenant has such limits; NULL if it has none."""
    return f"""
        (SELECT true FROM {_WITH_LIMITS} WHERE tenant.id = {tenant_id} AND {_HAS_LIMITS})
    """


# Reads a batch of the values of an encrypted column, in the order of the keys.
READ_VALUES = sql.SQL("""
    SELECT {key} AS key, {column}::text AS stored FROM {table}
    WHERE {column}::text <> '' AND (%(last)s::text IS NULL OR {key} > %(last)s)
    ORDER BY {key} LIMIT %(limit)s
""")

# The same of a column of URLs, of which only those with credentials are encrypted. The
# LIKE comes first: it is quick also for a million rows.
READ_URLS = sql.SQL("""
    SELECT {key} AS key, {column} AS stored FROM {table}
    WHERE {column} LIKE '%%@%%' AND {column} ~* %(pattern)s
        AND (%(last)s::text IS NULL OR {key} > %(last)s)
    ORDER BY {key} LIMIT %(limit)s
""")

# Replaces values, except those that have changed since they were read.
REPLACE_VALUES = sql.SQL("""
    UPDATE {table} SET {column} = new.value::{type}
    FROM unnest(%(keys)s::{key_type}[], %(stored)s::text[], %(values)s::text[])
        AS new(key, stored, value)
    WHERE {table}.{key} = new.key AND {table}.{column}::text = new.stored
""")
