"""Ids of rows, in the order of time; those of runs say when, and for whom."""

from __future__ import annotations

import uuid
from datetime import datetime

import uuid_utils.compat

# So many tenants have a lane of their own; those after them share.
LANES = 2**20


def id_for(moment: datetime, tenant_id: int) -> uuid.UUID:
    """An unguessable UUIDv7 (RFC 9562) of a moment, which ends with a tenant's lane.

    A run's id carries its planned instant and whose it is, so that a message of ids is
    enough for a worker to know when to start, and whom to let pass first.
    """
    milliseconds = int(moment.timestamp() * 1000)
    random = uuid_utils.compat.uuid7(nanoseconds=milliseconds * 1_000_000).int
    return uuid.UUID(int=random - random % LANES + tenant_id % LANES)


# The same in SQL. A random UUID of version 4 has its variant where version 7 has it.
ID_FOR = f"""
    (lpad(to_hex(floor(extract(epoch FROM {{moment}}) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14, 14)
        || lpad(to_hex(mod({{tenant_id}}, {LANES})), 5, '0'))::uuid
"""


def moment_of(run_id: uuid.UUID) -> float:
    """The planned instant in a run's id, in seconds since the epoch."""
    return (run_id.int >> 80) / 1000


def lane_of(run_id: uuid.UUID) -> int:
    """The tenant in a run's id: what is left of its number when divided by LANES."""
    return run_id.int % LANES


def new_id() -> uuid.UUID:
    """For rows in the order of their making; within a process it is exact."""
    return uuid_utils.compat.uuid7()
