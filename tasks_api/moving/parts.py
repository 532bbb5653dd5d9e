"""What belongs to a tenant, as parts that are copied one after the other.

A part is what a SELECT reads at the source and the table that it goes into at the target.
All tables whose rows name their tenant are parts, so a new one needs no change here. The
tables of libraries, whose rows belong to a user or a task, are named below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.apps import apps
from django.db.models import Model

from accounts.models import AuditEntry, Plan, Tenant, User
from tasks_api.models import FurtherAttempt, Run, Task
from tasks_api.moving import part_statements as statements

TENANT, PLAN, USER, TASK, RUN, ATTEMPT = (
    model._meta.db_table for model in (Tenant, Plan, User, Task, Run, FurtherAttempt)
)
SCHEDULES = "schedules"
# The tables of libraries whose rows belong to a user. Their ids mean nothing, so the rows
# get new ones.
TABLES_OF_USERS = (
    "account_emailaddress",
    "mfa_authenticator",
    "socialaccount_socialaccount",
)
# They have most rows, so that everything that may be refused is copied before them.
LARGE = [model._meta.db_table for model in (AuditEntry, FurtherAttempt, Run)]
# At the target the tenant has no destination, and its users are no staff.
REPLACED: Mapping[tuple[str, str], str] = {
    (TENANT, "moves_to"): "''::varchar(255)",
    (TENANT, "moved_at"): "NULL::timestamptz",
    (USER, "is_staff"): "false",
    (USER, "is_superuser"): "false",
    (RUN, "stage"): "CASE stage WHEN 'before' THEN 'late' ELSE stage END",
}
# The same for a tenant that lives there from its arrival on: it is not frozen either.
REPLACED_AT_ONCE: Mapping[tuple[str, str], str] = {
    **REPLACED,
    (TENANT, "frozen_at"): "NULL::timestamptz",
    (TASK, "is_parked"): "false",
    (
        TASK,
        "next_fire_at",
    ): "CASE WHEN is_parked THEN parked_fire_at ELSE next_fire_at END",
    (TASK, "parked_fire_at"): "NULL::timestamptz",
    (
        RUN,
        "stage",
    ): "CASE stage WHEN 'parked' THEN 'live' WHEN 'before' THEN 'late' ELSE stage END",
}
# Columns with ids of rows that have other ids at the target.
MAPPED = {(TASK, "periodic_task_id"), (TENANT, "plan_id")}
# Tasks get the ids of their schedules at the target, and tenants that of their plan.
STAGED = {TENANT: "moving_tenant", PLAN: "moving_plan", TASK: "moving_task"}


class Column(NamedTuple):
    name: str
    type: str


# The columns of each table, in the order of their names.
Columns = Mapping[str, Sequence[Column]]


class Part(NamedTuple):
    """Rows of a tenant: the SELECT that reads them, and where they are copied to.

    `compared` reads what must be the same at the source and at the target.
    """

    name: str
    select: str
    compared: str
    columns: Sequence[str]
    into: str


def tables_of_tenants() -> list[str]:
    """The tables whose rows name their tenant, the largest last."""
    names = [model._meta.db_table for model in apps.get_models() if _has_tenant(model)]
    return sorted(names, key=lambda name: (_place_among_large(name), name))


def _place_among_large(name: str) -> int:
    return LARGE.index(name) + 1 if name in LARGE else 0


def _has_tenant(model: type[Model]) -> bool:
    fields = model._meta.concrete_fields
    return model._meta.managed and any(field.attname == "tenant_id" for field in fields)


def tables() -> list[str]:
    """All tables that parts are read from or written to."""
    return [
        *tables_of_tenants(),
        *TABLES_OF_USERS,
        TENANT,
        PLAN,
        *statements.BEAT_TABLES,
    ]


class Journey(NamedTuple):
    """How a tenant travels."""

    # The hours of runs before this moment were copied ahead; None: none were.
    closed_until: datetime | None = None
    # It arrives as it is put aside, and is thawed when its requests are sent there.
    stays_frozen: bool = False


# As a whole, to where the tenant lives from then on.
AT_ONCE = Journey()


def list_parts(
    tenant_id: int, columns: Columns, journey: Journey = AT_ONCE
) -> Iterator[Part]:
    """The parts of a tenant, in the order in which they are copied."""
    of_tenant = f"tenant_id = {tenant_id:d}"
    table = _Tables(columns, REPLACED if journey.stays_frozen else REPLACED_AT_ONCE)
    yield table.part(PLAN, statements.is_plan_of(tenant_id))
    yield table.part(TENANT, f"id = {tenant_id:d}")
    yield table.part(USER, of_tenant)
    for name in TABLES_OF_USERS:
        condition = statements.is_of_user_of(tenant_id)
        yield table.part(name, condition, without=("id",))
    periodic = [each.name for each in columns[statements.PERIODIC]]
    beat = statements.BeatColumns.of(periodic)
    select = beat.select(tenant_id)
    yield Part(SCHEDULES, select, select, beat.names, statements.STAGED_SCHEDULES)
    for name in tables_of_tenants():
        if name == RUN and journey.closed_until is not None:
            yield table.other_runs(of_tenant, journey.closed_until)
        elif name == ATTEMPT and journey.closed_until is not None:
            is_closed = statements.is_closed_attempt(journey.closed_until)
            yield table.part(name, f"{of_tenant} AND NOT ({is_closed})")
        elif name != USER:
            yield table.part(name, of_tenant)


def closed_runs(
    tenant_id: int, columns: Columns, since: datetime, until: datetime
) -> Part:
    """The runs of a time that were over soon after their fire times."""
    table = _Tables(columns, REPLACED)
    condition = statements.are_runs_between(since, until)
    found = f"tenant_id = {tenant_id:d} AND {condition}"
    return table.part(RUN, found, source=statements.RUNS_OVER)


def further_attempts(
    tenant_id: int, columns: Columns, until: datetime | None = None
) -> Part:
    """The further attempts of all such runs before a moment; without one, of all runs."""
    is_meant = f"tenant_id = {tenant_id:d}"
    if until is not None:
        is_meant += f" AND {statements.is_closed_attempt(until)}"
    return _Tables(columns, REPLACED).part(ATTEMPT, is_meant)


class _Tables(NamedTuple):
    """The tables that parts are made from."""

    columns: Columns
    replaced: Mapping[tuple[str, str], str]

    def part(
        self,
        table: str,
        condition: str,
        *,
        without: Sequence[str] = (),
        source: str = "",
    ) -> Part:
        """The rows of a condition; `source` is the partition that has them all."""
        names = [each.name for each in self.columns[table] if each.name not in without]
        values = {
            name: f"{self.replaced.get((table, name), name)} AS {name}"
            for name in names
        }
        compared = [
            value for name, value in values.items() if (table, name) not in MAPPED
        ]
        return Part(
            table,
            statements.select(values.values(), source or table, condition),
            statements.select(compared, source or table, condition),
            names,
            STAGED.get(table, table),
        )

    def other_runs(self, of_tenant: str, closed_until: datetime) -> Part:
        """The runs of a tenant that are not of closed hours."""
        later = statements.are_runs_between(closed_until, None)
        parts = (
            self.part(RUN, f"{of_tenant} AND stage <> 'over'"),
            self.part(RUN, f"{of_tenant} AND {later}", source=statements.RUNS_OVER),
        )
        select = " UNION ALL ".join(part.select for part in parts)
        return parts[0]._replace(select=select, compared=select)
