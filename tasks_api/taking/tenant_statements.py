"""The SQL that finds the tenants of which something is due."""

from __future__ import annotations

from typing import NamedTuple

from tasks_api.taking.statements import WAITS

# Finds tenants in the order of their ids, after one of them, whose rows meet a condition,
# and whether something of theirs is due. It steps from tenant to tenant in an index, and
# reads the first row of each one only.
_FIND_TENANTS = """
    WITH RECURSIVE tenant AS (
        (SELECT tenant_id AS id, {moment} AS first FROM {table}
            WHERE {in_index} AND tenant_id > %(after)s
            ORDER BY tenant_id, {moment} LIMIT 1)
        UNION ALL
        SELECT next.id, next.first FROM tenant CROSS JOIN LATERAL (
            SELECT tenant_id AS id, {moment} AS first FROM {table}
            WHERE {in_index} AND tenant_id > tenant.id
            ORDER BY tenant_id, {moment} LIMIT 1
        ) AS next
    )
    SELECT id, first <= now() FROM tenant LIMIT {limit}
"""
# Random moments at which tenants are looked for.
_PLACES = 100
# Finds tenants of which something is due: those of the rows that are due for longest, of
# those that came due just now, and of rows at moments in between.
_FIND_DUE_TENANTS = f"""
    WITH due AS MATERIALIZED (
        SELECT min({{moment}}) AS since FROM {{table}} WHERE {{in_index}}
    ), place AS MATERIALIZED (
        SELECT due.since + random() * (now() - due.since) AS moment
        FROM due, generate_series(1, {_PLACES})
    )
    SELECT DISTINCT tenant_id FROM (
        (SELECT tenant_id FROM {{table}} WHERE {{in_index}} AND {{moment}} <= now()
            ORDER BY {{moment}} LIMIT {{limit}})
        UNION ALL
        (SELECT tenant_id FROM {{table}} WHERE {{in_index}} AND {{moment}} <= now()
            ORDER BY {{moment}} DESC LIMIT {{limit}})
        UNION ALL
        SELECT (SELECT tenant_id FROM {{table}} WHERE {{in_index}}
            AND {{moment}} >= place.moment AND {{moment}} <= now()
            ORDER BY {{moment}} LIMIT 1)
        FROM place
    ) AS found WHERE tenant_id IS NOT NULL
"""


class TenantSearch(NamedTuple):
    """Two ways to find tenants of which something is due.

    `in_turn` looks at tenants one after the other, and misses none. If very many of them
    have rows for later only, it finds few; `by_moment` then finds what came due.
    """

    in_turn: str
    by_moment: str


def _search(table: str, *, in_index: str, moment: str) -> TenantSearch:
    parts = {"table": table, "in_index": in_index, "moment": moment}
    in_turn, by_moment = _FIND_TENANTS, _FIND_DUE_TENANTS
    for name, part in parts.items():
        in_turn = in_turn.replace(f"{{{name}}}", part)
        by_moment = by_moment.replace(f"{{{name}}}", part)
    return TenantSearch(in_turn, by_moment)


TENANTS_OF_TASKS = _search(
    "tasks_api_task", in_index="next_fire_at IS NOT NULL", moment="next_fire_at"
)
TENANTS_OF_RUNS = _search("tasks_api_run_live", in_index=WAITS, moment="wake_at")
