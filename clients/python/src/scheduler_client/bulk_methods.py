"""The methods of the client for the tasks of a filter."""

from __future__ import annotations

from typing import Any

from scheduler_client.bulk_models import ChangePlan, NamedTask, SelectedTasks
from scheduler_client.connection import ConnectionOwner
from scheduler_client.decoding import decode
from scheduler_client.encoding import Fields, Timestamp
from scheduler_client.models import PlanStep


class BulkMethods(ConnectionOwner):
    """A `filter` has the names of the filters of `list_tasks`, with `tag` for its tags."""

    def pause_many(
        self,
        filter: Fields,
        *,
        reason: str | None = None,
        until: Timestamp | None = None,
        catch_up: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        plan: str | SelectedTasks | None = None,
    ) -> SelectedTasks:
        """Pause the oldest 10,000 tasks of a filter, or `limit`, all of them or none.

        `catch_up` is none, latest or all: which fire times of the pause they make up for.
        With the `plan` of a dry run, this raises Conflict if the tasks are others by now.
        """
        hold = {"reason": reason, "until": until, "catch_up": catch_up, "limit": limit}
        return self._change_many("/tasks/pause/", filter, hold, dry_run, plan)

    def resume_many(
        self,
        filter: Fields,
        *,
        catch_up: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        plan: str | SelectedTasks | None = None,
    ) -> SelectedTasks:
        """Resume the paused tasks of a filter, as pause_many() pauses them."""
        more = {"catch_up": catch_up, "limit": limit}
        return self._change_many("/tasks/resume/", filter, more, dry_run, plan)

    def plan_change(self, filter: Fields, changes: Fields) -> ChangePlan:
        """Return what `change_tasks` would do, without doing it."""
        body = {"filter": filter, "set": changes, "dry_run": True}
        response = self._connection.post("/tasks/change/", body, idempotent=True)
        return _decode_change_plan(response.body)

    def change_tasks(
        self,
        filter: Fields,
        changes: Fields,
        *,
        plan: str | ChangePlan,
        key: str | None = None,
    ) -> ChangePlan:
        """Change the tasks of a filter as a plan of `plan_change` says, or none of them.

        `changes` has the fields of `change_task`, and `set_headers`, `add_tags`,
        `remove_tags` and `url_host`. Raises Conflict if one of the tasks has changed.
        """
        body = {"filter": filter, "set": changes, "hash": _hash_of(plan)}
        response = self._connection.create("/tasks/change/", body, key)
        return _decode_change_plan(response.body)

    def _change_many(
        self,
        path: str,
        filter: Fields,
        more: Fields,
        dry_run: bool,
        plan: str | SelectedTasks | None,
    ) -> SelectedTasks:
        body = {"filter": filter, "dry_run": dry_run, "hash": _hash_of(plan), **more}
        # A plan does not hold any more once it was done.
        idempotent = dry_run or plan is None
        response = self._connection.post(path, body, idempotent=idempotent)
        tasks = [decode(NamedTask, item) for item in response.body["tasks"]]
        return decode(SelectedTasks, response.body, tasks=tasks)


def _hash_of(plan: str | SelectedTasks | ChangePlan | None) -> str | None:
    return plan.hash if isinstance(plan, SelectedTasks | ChangePlan) else plan


def _decode_change_plan(data: Any) -> ChangePlan:
    steps = [decode(PlanStep, item, action="change") for item in data["tasks"]]
    return decode(ChangePlan, data, steps=steps)
