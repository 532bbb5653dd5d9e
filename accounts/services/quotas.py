"""The quotas of tenants: their own, and those of their plans."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from accounts.models import Tenant
from accounts.statements import READ_DELIVERY_LIMITS
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared


class Quotas(NamedTuple):
    """None is no quota."""

    tasks: int | None = None
    runs_per_day: int | None = None
    requests_per_minute: int | None = None
    payload_bytes: int | None = None


NO_QUOTAS = Quotas()
# The columns of a tenant and of a plan.
QUOTA_NAMES = tuple(f"max_{name}" for name in Quotas._fields)


def quotas_of(tenant: Tenant) -> Quotas:
    """Reads the plan, if the tenant has one."""
    own = _columns(tenant)
    if tenant.plan_id is None or tenant.plan is None:
        return own
    of_plan = _columns(tenant.plan)
    pairs = zip(own, of_plan, strict=True)
    return Quotas(*(theirs if mine is None else mine for mine, theirs in pairs))


def _columns(row: object) -> Quotas:
    return Quotas(*(getattr(row, f"max_{name}") for name in Quotas._fields))


class DeliveryLimits(NamedTuple):
    """What bounds the deliveries of a tenant; None is what holds for all tenants."""

    # Runs that one worker holds.
    max_in_flight: int | None = None
    # Runs that begin in a day; None is no quota.
    runs_per_day: int | None = None


def load_delivery_limits(tenant_ids: Collection[int]) -> dict[int, DeliveryLimits]:
    """The limits of some tenants, of those that have any."""
    if not tenant_ids:
        return {}
    with prepared() as cursor:
        cursor.execute(READ_DELIVERY_LIMITS, [array(tenant_ids)])
        return {row[0]: DeliveryLimits(*row[1:]) for row in cursor.fetchall()}
