"""The SQL that finds the tenants of a turn, of those that have some rows."""

from __future__ import annotations


def tenants_with_rows(source: str) -> str:
    """Return parts of a WITH RECURSIVE: `seen` has the ids of the tenants of a turn.

    `source` is a table with a condition, and has an index that begins with the tenant. The
    statement steps from tenant to tenant there, so rows of the same tenant cost nothing.
    """
    return f"""
        found AS (
            (SELECT tenant_id AS id FROM {source} AND tenant_id > %(after)s
                ORDER BY tenant_id LIMIT 1)
            UNION ALL
            SELECT (SELECT tenant_id FROM {source} AND tenant_id > found.id
                ORDER BY tenant_id LIMIT 1)
            FROM found WHERE found.id IS NOT NULL
        ), seen AS (
            SELECT id FROM found WHERE id IS NOT NULL LIMIT %(most)s
        )
    """
