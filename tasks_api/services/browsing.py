"""The list of tasks as people browse it: of all wire formats, the newest first.

As in the list of the API, a request examines a limited number of rows.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Q

from accounts.models import User
from scheduler_service.db.arrays import array
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.services import browsing_statements as statements
from tasks_api.services.listing import (
    MAX_ROWS_EXAMINED,
    MAX_ROWS_SEARCHED,
    TaskFilters,
    TaskPage,
    filter_values,
)

# The wire formats of clients.
FORMATS = tuple(surface for surface in Surface if surface != Surface.NOTICES)
MAX_ID = UUID(int=(1 << 128) - 1)
# Columns that may be large, and that no list shows.
UNSHOWN = ("body", "request", "retry", "following_fire_times")


def browse_tasks(
    user: User,
    filters: TaskFilters,
    *,
    formats: Collection[Surface] = FORMATS,
    owner: str = "",
    before: UUID | None,
    limit: int,
    now: datetime,
) -> TaskPage:
    """Return the newest living tasks that a user reaches, with schedules and owners.

    `owner` names a user, for those who reach the tenant. `before` is the cursor of a
    page. With filters, a page that is not the last one may be shorter than its limit.
    """
    values = {
        **filter_values(filters),
        "tenant": user.tenant_id,
        "owners": array(_owner_ids(user, owner)),
        "surfaces": array(surface.value for surface in formats),
        "before": before or MAX_ID,
        "limit": limit + 1,
        "rows_examined": _rows_examined(filters, limit),
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(_statement(filters), values)
        ids, last_examined = cursor.fetchone()
    if len(ids) > limit:
        return TaskPage(_read_tasks(ids[:limit]), after=ids[limit - 1])
    return TaskPage(_read_tasks(ids), after=last_examined)


def _rows_examined(filters: TaskFilters, limit: int) -> int:
    if not filters:
        return limit + 1
    return MAX_ROWS_SEARCHED if filters.search else MAX_ROWS_EXAMINED


def _statement(filters: TaskFilters) -> str:
    if filters.lane:
        return statements.BROWSE_LANE
    if filters.tags:
        return statements.BROWSE_TAGGED
    return statements.BROWSE_PAUSED if filters.is_paused else statements.BROWSE_ALL


def _owner_ids(user: User, owner: str) -> list[int]:
    if not user.reaches_tenant:
        return [user.pk]
    users = User.objects.filter(tenant=user.tenant_id)
    if owner:
        users = users.filter(Q(name=owner) | Q(username=owner))
    return list(users.order_by("pk").values_list("pk", flat=True))


def _read_tasks(ids: Collection[UUID]) -> list[Task]:
    rows = Task.objects.with_schedule().select_related("owner", "lane").defer(*UNSHOWN)
    return list(rows.filter(pk__in=ids).order_by("-pk")) if ids else []
