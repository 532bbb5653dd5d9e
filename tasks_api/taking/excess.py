"""Pass over new runs that would wait for a quota or for bounds beside too many others."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from tasks_api.domain.states import RunState
from tasks_api.services import waiting_limits
from tasks_api.storage.run_rows import NewRun
from tasks_api.taking.decisions import DueTask

REASON = "As many runs of its {whose} waited for the {limit} as may do so."


def pass_over_excess(
    tasks: Sequence[DueTask], runs: Sequence[NewRun], over_quota: Collection[int]
) -> list[NewRun]:
    """The runs, those in excess as missed ones."""
    bounds_of = {task.task_id: task.bounds_id for task in tasks if task.bounds_id}
    if not bounds_of and not over_quota:
        return list(runs)
    places: dict[Hashable, int] = {
        ("token", pk): left
        for pk, left in waiting_limits.places_of_bounds(set(bounds_of.values())).items()
    }
    for tenant_id in {run.tenant_id for run in runs} & set(over_quota):
        left = waiting_limits.places_of_tenant(tenant_id)
        places["tenant", tenant_id] = left
    return [_sort(run, bounds_of.get(run.task_id), places) for run in runs]


def _sort(run: NewRun, bounds_id: int | None, places: dict[Hashable, int]) -> NewRun:
    if run.state != RunState.PENDING:
        return run
    keys = [
        key
        for key in (("token", bounds_id), ("tenant", run.tenant_id))
        if key in places
    ]
    for whose, key in keys:
        places[whose, key] -= 1
        if places[whose, key] < 0:
            limit = "runs a day" if whose == "token" else "quota of runs a day"
            return run._replace(
                state=RunState.MISSED,
                reason=REASON.format(whose=whose, limit=limit),
                finished_at=run.wake_at,
                wake_at=None,
                exclusive=False,
                is_next=False,
            )
    return run
