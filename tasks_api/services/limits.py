"""What the quotas of a tenant and the bounds of a token allow a caller to store.

Callers without either pay one look at their columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Count, Q

from accounts.models import TokenBounds, User
from accounts.services import quotas, token_bounds
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.exceptions import OutOfBounds, QuotaExceeded
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Task
from tasks_api.services.usage_statements import COUNT_LIVING_TASKS


def quotas_of_caller(user: User) -> quotas.Quotas:
    return quotas.quotas_of(user.tenant) if user.tenant else quotas.NO_QUOTAS


def next_day(now: datetime) -> datetime:
    """When the runs of a day are counted anew."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


def in_transaction(user: User) -> AbstractContextManager[None]:
    """A transaction if what the user stores is counted; most users need none."""
    if user.bounds is None and quotas_of_caller(user).tasks is None:
        return nullcontext()
    return transaction.atomic()


def admit_new(
    owner: User, specs: Sequence[TaskSpec], *, now: datetime
) -> list[TaskSpec]:
    """The specs of new tasks as they are to be stored, in a transaction of the caller.

    It must lie within `in_transaction`. Raises QuotaExceeded or OutOfBounds.
    """
    if owner.bounds is not None:
        specs = _bind(owner.bounds, specs, now=now)
        _require_places_of_token(owner.bounds, len(specs), now=now)
    own = quotas_of_caller(owner)
    _require_small(own.payload_bytes, [len(spec.body.encode()) for spec in specs])
    if own.tasks is not None and specs:
        locks.acquire(LockKind.QUOTA, owner.tenant_id or 0)
        used = count_tasks(owner.tenant_id)
        _require_places("tenant", own.tasks, used, len(specs))
    return list(specs)


def admit_changes(
    user: User, wanted: Sequence[tuple[Task, TaskSpec]], *, now: datetime
) -> list[tuple[Task, TaskSpec]]:
    """Changes of tasks as they are to be stored.

    A task keeps the bounds of the token that made it, whoever changes it.
    """
    most = quotas_of_caller(user).payload_bytes
    _require_small(most, [len(spec.body.encode()) for _, spec in wanted])
    ids = {task.bounds_id for task, _ in wanted if task.bounds_id is not None}
    if not ids:
        return list(wanted)
    found = token_bounds.load_bounds(ids)
    return [
        (task, _bind(_require_known(found, task.bounds_id), [spec], now=now)[0])
        if task.bounds_id is not None
        else (task, spec)
        for task, spec in wanted
    ]


def _require_known(found: dict[int, TokenBounds], bounds_id: int) -> TokenBounds:
    if bounds_id not in found:
        raise OutOfBounds("bounds", "they are gone, and nothing is known of them")
    return found[bounds_id]


def require_payloads(user: User, sizes: Collection[int]) -> None:
    """Raise QuotaExceeded if a message is larger than the tenant's quota."""
    _require_small(quotas_of_caller(user).payload_bytes, sizes)


def count_tasks(tenant_id: int | None) -> int:
    """The living tasks of a tenant, those that a beat is about to end included."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_LIVING_TASKS, {"tenant": tenant_id})
        return int(cursor.fetchone()[0])


def count_tasks_of(bounds: TokenBounds) -> int:
    """The living tasks that were made with a bounded token and those issued with it."""
    within = TokenBounds.objects.within(bounds)
    return Task.objects.filter(bounds__in=within, ended_at=None).count()


def count_tasks_of_many(rows: Collection[TokenBounds]) -> dict[int, int]:
    """The same of several bounds, by their ids, in two statements."""
    ids = {row.pk for row in rows}
    if not ids:
        return {}
    narrower = Q(pk__in=ids) | Q(lineage__overlap=list(ids))
    lineages = {
        row.pk: row.all_ids
        for row in TokenBounds.objects.filter(narrower).only("lineage")
    }
    counted = Task.objects.filter(bounds__in=lineages, ended_at=None).order_by()
    found = Counter(dict.fromkeys(ids, 0))
    for pk, count in counted.values_list("bounds").annotate(count=Count("pk")):
        found.update(dict.fromkeys(ids.intersection(lineages[pk]), count))
    return found


def _bind(
    row: TokenBounds, specs: Sequence[TaskSpec], *, now: datetime
) -> list[TaskSpec]:
    """The specs with the tags of the bounds, if these allow them."""
    bounds = token_bounds.bounds_of(row)
    _require_small(bounds.payload_bytes, [len(spec.body.encode()) for spec in specs])
    for spec in specs:
        _require_within(bounds, spec, now)
    return [_tagged(spec, bounds) for spec in specs]


def _require_within(bounds: Bounds, spec: TaskSpec, now: datetime) -> None:
    if spec.queue:
        raise OutOfBounds("queues", "what it makes calls a URL, and fills no queue")
    if not spec.url:
        raise OutOfBounds("hosts", "what it makes calls a URL of its own")
    bounds.require_request(spec.method, spec.url, spec.request.header_names)
    bounds.require_schedule(spec.schedule, spec.spread, now=now)


def _tagged(spec: TaskSpec, bounds: Bounds) -> TaskSpec:
    if set(bounds.tags) <= set(spec.tags):
        return spec
    return replace(spec, tags=tuple(dict.fromkeys((*spec.tags, *bounds.tags))))


def _require_places_of_token(row: TokenBounds, new: int, *, now: datetime) -> None:
    """Lock the bounds, so that no task is made while they lapse or another one counts."""
    locked = token_bounds.lock_bounds([row.pk])
    lapse = token_bounds.lapse_of(locked[row.pk], locked)
    if lapse is not None and lapse <= now:
        raise OutOfBounds(
            "renew_within", "nobody renewed them in time; renew the token first"
        )
    for each in locked.values():
        if each.max_tasks is not None:
            _require_places("token", each.max_tasks, count_tasks_of(each), new)


def _require_places(whose: str, most: int, used: int, new: int) -> None:
    if used + new > most:
        raise QuotaExceeded(
            "tasks",
            f"The quota of the {whose} is {most} tasks; it has {used}, and "
            f"{new} more would exceed it",
        )


def _require_small(most: int | None, sizes: Collection[int]) -> None:
    if most is not None and (largest := max(sizes, default=0)) > most:
        raise QuotaExceeded(
            "payload_bytes",
            f"The quota of a payload is {most} bytes; this one has {largest}",
        )
