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


def moment_of(run_id: uuid.UUID) -> float:
    """The planned instant in a run's id, in seconds since the epoch."""
    return (run_id.int >> 80) / 1000


def tenant_bits(run_id: uuid.UUID) -> int:
    """The tenant in a run's id: what is left of its number when divided by TENANT_BITS_RANGE."""
    return run_id.int % TENANT_BITS_RANGE


def new_id() -> uuid.UUID:
    """For rows in the order of their making; within a process it is exact."""
    return uuid_utils.compat.uuid7()
