"""The lanes of stored tasks: refuse unknown names, and follow changes of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Lane, Task
from tasks_api.storage.lane_statements import ASSIGN_LANES_OF_TASKS, LEAVE_OLD_LANES


def require_lanes(tenant_id: int | None, specs: Sequence[TaskSpec]) -> None:
    """Raise InvalidTask if tasks name lanes that the tenant does not have."""
    names = {spec.lane_name for spec in specs if spec.lane_name}
    if not names:
        return
    found = Lane.objects.filter(tenant=tenant_id, name__in=names)
    if unknown := names - set(found.values_list("name", flat=True)):
        raise InvalidTask("lane", f"There is no lane {min(unknown)}")


def assign_lanes(tasks: Sequence[Task]) -> None:
    """Give tasks that were changed their lanes."""
    with prepared() as cursor:
        cursor.execute(ASSIGN_LANES_OF_TASKS, [array(task.pk for task in tasks)])
    leave_old_lanes(tasks)


def leave_old_lanes(tasks: Sequence[Task]) -> None:
    """Let runs that wait leave the lanes that are not their tasks' any more."""
    if ids := [task.pk for task in tasks if task.lane_id is not None]:
        with prepared() as cursor:
            cursor.execute(LEAVE_OLD_LANES, [array(ids)])
