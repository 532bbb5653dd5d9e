"""Ids of rows, in the order of time; those of runs say when, and for whom."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import uuid_utils.compat

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# So many values have the bits of an id that say the tenant; more tenants share them.
TENANT_BITS_RANGE = 2**20


def id_for(moment: datetime, tenant_id: int) -> uuid.UUID:
    """An unguessable UUIDv7 (RFC 9562) of a moment, which ends with bits of the tenant.

    A run's id carries its planned instant and whose it is, so that a message of ids is
    enough for a worker to know when to start, and whom to let pass first.
    """
    milliseconds = int(moment.timestamp() * 1000)
    random = uuid_utils.compat.uuid7(nanoseconds=milliseconds * 1_000_000).int
    return uuid.UUID(
        int=random - random % TENANT_BITS_RANGE + tenant_id % TENANT_BITS_RANGE
    )


# The same in SQL. A random UUID of version 4 has its variant where version 7 has it.
ID_FOR = f"""
    (lpad(to_hex(floor(extract(epoch FROM {{moment}}) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14, 14)
        || lpad(to_hex(mod({{tenant_id}}, {TENANT_BITS_RANGE})), 5, '0'))::uuid
"""


def id_of_fire_time(
    key: bytes, task_id: uuid.UUID, moment: datetime, tenant_id: int
) -> uuid.UUID:
    """The id of the run of a task's fire time: the same one whenever it is made.

    Laid out as `id_for` does it; but what is random there follows from task, moment and
    an installation's key here. So a fire time that is made again, because an older
    backup was restored, has the id that its target knows.
    """
    microseconds = (moment - EPOCH) // timedelta(microseconds=1)
    said = key + task_id.bytes + microseconds.to_bytes(8, signed=True)
    # What is said has a fixed length, so nothing can be added to it: no HMAC is needed.
    drawn = hashlib.sha256(said).hexdigest()
    variant = "89ab"[int(drawn[-2:], 16) % 4]
    return uuid.UUID(
        f"{microseconds // 1000 % 2**48:012x}7{drawn[:3]}{variant}{drawn[3:13]}"
        f"{tenant_id % TENANT_BITS_RANGE:05x}"
    )


# The key in SQL. One that somebody has deleted is random, each time.
READ_RUN_KEY = (
    "coalesce((SELECT key FROM tasks_api_runidkey), uuid_send(gen_random_uuid()))"
)
# The same in SQL. The hash is drawn once for each row, for which OFFSET stands.
ID_OF_FIRE_TIME = f"""
    (SELECT (lpad(to_hex(floor(extract(epoch FROM {{moment}}) * 1000)::bigint), 12, '0')
            || '7' || left(encode(drawn, 'hex'), 3)
            || to_hex(8 + (get_byte(drawn, 31) & 3)) || substr(encode(drawn, 'hex'), 4, 10)
            || lpad(to_hex(mod({{tenant_id}}, {TENANT_BITS_RANGE})), 5, '0'))::uuid
        FROM (SELECT sha256({READ_RUN_KEY} || uuid_send({{task_id}})
            || int8send((extract(epoch FROM {{moment}}) * 1000000)::bigint)) OFFSET 0
        ) AS hash(drawn))
"""  # noqa: S608 (constants)


def free_id(named: str, *, moment: str, tenant_id: str) -> str:
    """SQL for an id of a run, and a random one where some run has that one already.

    Whether a fire time has a run is for its constraint to say, which never looks at ids.
    """
    random = ID_FOR.format(moment=moment, tenant_id=tenant_id)
    return f"""
        CASE WHEN (SELECT true FROM tasks_api_run WHERE id = {named} LIMIT 1)
            THEN {random} ELSE {named} END
    """  # noqa: S608 (names of columns)


def free_id_of_fire_time(*, task_id: str, moment: str, tenant_id: str) -> str:
    """SQL for the id of the run of a fire time, as far as it is free."""
    wanted = ID_OF_FIRE_TIME.format(task_id=task_id, moment=moment, tenant_id=tenant_id)
    free = free_id("named", moment=moment, tenant_id=tenant_id)
    return f"(SELECT {free} FROM (SELECT {wanted} OFFSET 0) AS wanted(named))"  # noqa: S608 (as above)


def moment_of(run_id: uuid.UUID) -> float:
    """The planned instant in a run's id, in seconds since the epoch."""
    return (run_id.int >> 80) / 1000


def tenant_bits(run_id: uuid.UUID) -> int:
    """The tenant in a run's id: what is left of its number when divided by TENANT_BITS_RANGE."""
    return run_id.int % TENANT_BITS_RANGE


def new_id() -> uuid.UUID:
    """For rows in the order of their making; within a process it is exact."""
    return uuid_utils.compat.uuid7()
