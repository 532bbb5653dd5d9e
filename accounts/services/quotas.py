"""The quotas of tenants: their own, and those of their plans."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import Q
from django.db.models.functions import Coalesce

from accounts.models import Tenant


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


def load_run_quotas() -> dict[int, int]:
    """The runs a day of each tenant that has such a quota."""
    some = Tenant.objects.filter(
        Q(plan__isnull=False) | Q(max_runs_per_day__isnull=False)
    )
    most = Coalesce("max_runs_per_day", "plan__max_runs_per_day")
    rows = some.annotate(runs_per_day=most).values_list("pk", "runs_per_day")
    return {pk: runs for pk, runs in rows if runs is not None}
