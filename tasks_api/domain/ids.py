"""Ids of rows, ordered by time; the id of a run holds its fire time and its tenant."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import uuid_utils.compat

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The number of values of an id's tenant bits; with more tenants, some share a value.
TENANT_BITS_RANGE = 2**20
# Milliseconds by which an id may be off from its fire time, because it is rounded.
ID_PRECISION = 2


def id_for(moment: datetime, tenant_id: int) -> uuid.UUID:
    """Return an unguessable UUIDv7 (RFC 9562) of a moment that ends with tenant bits.

    From the ids in a message alone, a worker knows when each run is due and which
    tenant it belongs to.
    """
    milliseconds = int(moment.timestamp() * 1000)
    random = uuid_utils.compat.uuid7(nanoseconds=milliseconds * 1_000_000).int
    return uuid.UUID(
        int=random - random % TENANT_BITS_RANGE + tenant_id % TENANT_BITS_RANGE
    )


def id_of_fire_time(
    key: bytes, task_id: uuid.UUID, moment: datetime, tenant_id: int
) -> uuid.UUID:
    """Return the id of the run of a task's fire time: always the same one.

    The layout is that of `id_for`, but a hash of task, moment and the installation's
    key takes the place of the random bits. So after an older backup was restored, the
    run of a fire time has again the id that its target knows.
    """
    microseconds = (moment - EPOCH) // timedelta(microseconds=1)
    said = key + task_id.bytes + microseconds.to_bytes(8, signed=True)
    # The input has a fixed length, so it cannot be extended, and needs no HMAC.
    drawn = hashlib.sha256(said).hexdigest()
    variant = "89ab"[int(drawn[-2:], 16) % 4]
    return uuid.UUID(
        f"{microseconds // 1000 % 2**48:012x}7{drawn[:3]}{variant}{drawn[3:13]}"
        f"{tenant_id % TENANT_BITS_RANGE:05x}"
    )


def moment_of(run_id: uuid.UUID) -> float:
    """Return the fire time in a run's id, in seconds since the epoch."""
    return (run_id.int >> 80) / 1000


def first_id_at(moment: datetime) -> uuid.UUID:
    """Return the lowest id that a run of this moment, to the millisecond, can have."""
    return _first_id(_milliseconds(moment))


def id_range(
    since: datetime | None, until: datetime | None
) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Return bounds of the ids of runs with fire times from `since` to before `until`.

    Runs of some milliseconds more are within the bounds.
    """
    first = None if since is None else _first_id(_milliseconds(since) - ID_PRECISION)
    last = None if until is None else _first_id(_milliseconds(until) + ID_PRECISION)
    return first, last


def _first_id(milliseconds: int) -> uuid.UUID:
    return uuid.UUID(int=max(milliseconds, 0) << 80)


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def tenant_bits(run_id: uuid.UUID) -> int:
    """Return the tenant's id modulo TENANT_BITS_RANGE, which a run's id ends with."""
    return run_id.int % TENANT_BITS_RANGE


def new_id() -> uuid.UUID:
    """Return an id by the time of its creation; the order is exact within a process."""
    return uuid_utils.compat.uuid7()
