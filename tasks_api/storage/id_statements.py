"""The SQL that computes ids of runs, as `domain/ids.py` does."""

from __future__ import annotations

from tasks_api.domain.ids import TENANT_BITS_RANGE

# id_for() in SQL. A random UUID of version 4 has its variant where version 7 has it.
ID_FOR = f"""
    (lpad(to_hex(floor(extract(epoch FROM {{moment}}) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14, 14)
        || lpad(to_hex(mod({{tenant_id}}, {TENANT_BITS_RANGE})), 5, '0'))::uuid
"""

# Read the key of run ids. Where an operator has deleted it, each read is random.
READ_RUN_KEY = (
    "coalesce((SELECT key FROM tasks_api_runidkey), uuid_send(gen_random_uuid()))"
)
# id_of_fire_time() in SQL. OFFSET makes PostgreSQL compute the hash once a row.
ID_OF_FIRE_TIME = f"""
    (SELECT (lpad(to_hex(floor(extract(epoch FROM {{moment}}) * 1000)::bigint), 12, '0')
            || '7' || left(encode(drawn, 'hex'), 3)
            || to_hex(8 + (get_byte(drawn, 31) & 3)) || substr(encode(drawn, 'hex'), 4, 10)
            || lpad(to_hex(mod({{tenant_id}}, {TENANT_BITS_RANGE})), 5, '0'))::uuid
        FROM (SELECT sha256({READ_RUN_KEY} || uuid_send({{task_id}})
            || int8send((extract(epoch FROM {{moment}}) * 1000000)::bigint)) OFFSET 0
        ) AS hash(drawn))
"""


def free_id(named: str, *, task_id: str, moment: str, tenant_id: str) -> str:
    """Return SQL for an id of a run, or for a random one if another run has that id.

    NULL if the run of this fire time has the id already, live or in history. So a fire
    time that is repeated has no second run. The names of columns must be qualified.
    """
    random = ID_FOR.format(moment=moment, tenant_id=tenant_id)
    return f"""
        (SELECT CASE
            WHEN known.task_id IS NULL THEN {named}
            WHEN known.task_id <> {task_id} OR known.scheduled_for <> {moment} THEN {random}
            END
        FROM (SELECT) AS here LEFT JOIN LATERAL (
            SELECT task_id, scheduled_for FROM tasks_api_run WHERE id = {named} LIMIT 1
        ) AS known ON true)
    """


def free_id_of_fire_time(*, task_id: str, moment: str, tenant_id: str) -> str:
    """Return SQL for the id of the run of a fire time, as `free_id` does."""
    wanted = ID_OF_FIRE_TIME.format(task_id=task_id, moment=moment, tenant_id=tenant_id)
    free = free_id("wanted.named", task_id=task_id, moment=moment, tenant_id=tenant_id)
    return f"(SELECT {free} FROM (SELECT {wanted} OFFSET 0) AS wanted(named))"
