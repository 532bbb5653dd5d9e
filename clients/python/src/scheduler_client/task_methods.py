"""The methods of the client for tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scheduler_client.connection import MAX_PAGE_SIZE, ConnectionOwner, Response
from scheduler_client.decoding import decode_fire_times, decode_plan, decode_task
from scheduler_client.encoding import (
    Fields,
    TaskOrId,
    Timestamp,
    if_match_header,
    quote_segment,
    task_segment,
    to_task_id,
)
from scheduler_client.models import CreatedTask, FireTimes, Plan, Task


class TaskMethods(ConnectionOwner):
    def create_task(
        self, task: Fields | None = None, /, *, key: str | None = None, **fields: Any
    ) -> CreatedTask:
        """Create a task from a mapping, from keywords, or from both.

        Datetimes must be aware; a timedelta is sent in seconds. `key` is the idempotency
        key, a random one by default: pass your own to be safe beyond this call.
        """
        response = self._connection.create("/tasks/", {**(task or {}), **fields}, key)
        replayed = response.headers.get("Idempotency-Replayed") == "true"
        return CreatedTask(response.body["id"], response.etag, replayed)

    def create_tasks(
        self, tasks: Sequence[Fields], *, key: str | None = None
    ) -> list[str]:
        """Create up to 10,000 tasks, all of them or none. Returns their ids in order."""
        response = self._connection.create("/tasks/bulk/", {"tasks": tasks}, key)
        return [str(task_id) for task_id in response.body["ids"]]

    def get_task(self, task_id: str) -> Task:
        return _read_task(self._connection.get(_task_path(task_id)))

    def get_task_by_name(self, name: str) -> Task:
        return _read_task(self._connection.get(_named_task_path(name)))

    def list_tasks(
        self,
        *,
        name: str | None = None,
        name_prefix: str | None = None,
        host: str | None = None,
        search: str | None = None,
        lane: str | None = None,
        tags: Sequence[str] = (),
        state: str | None = None,
        task_type: str | None = None,
        created_after: Timestamp | None = None,
        created_before: Timestamp | None = None,
        next_run_after: Timestamp | None = None,
        next_run_before: Timestamp | None = None,
        owner: str | None = None,
        outcomes: int | None = None,
        page_size: int = MAX_PAGE_SIZE,
    ) -> Iterator[Task]:
        """List your tasks, the oldest first. Pages are fetched while you iterate.

        `outcomes` is the number of its last runs that each task shows.
        """
        query = {
            "name": name,
            "name_prefix": name_prefix,
            "host": host,
            "search": search,
            "lane": lane,
            "outcomes": outcomes,
            "tag": tags,
            "state": state,
            "task_type": task_type,
            "created_after": created_after,
            "created_before": created_before,
            "next_run_after": next_run_after,
            "next_run_before": next_run_before,
            "owner": owner,
            "limit": page_size,
        }
        for item in self._connection.get_pages("/tasks/", "tasks", query, cursor=""):
            yield decode_task(item)

    def count_tasks(self) -> int:
        return int(self._connection.get("/tasks/", {"limit": 1}).body["count"])

    def change_task(
        self,
        task: TaskOrId,
        changes: Fields | None = None,
        /,
        *,
        if_match: str | None = None,
        **fields: Any,
    ) -> Task:
        """Change some fields of a task; None removes an optional one.

        A Task brings its ETag along: if the task has changed since you read it, this
        raises PreconditionFailed. With an id, pass `if_match` for the same check.
        """
        etag = if_match or (task.etag if isinstance(task, Task) else "")
        response = self._connection.request(
            "PATCH",
            _task_path(task),
            body={**(changes or {}), **fields},
            headers=if_match_header(etag),
            # The first attempt may have changed the ETag, and a second one would fail.
            idempotent=not etag,
        )
        return _read_task(response)

    def put_task_by_name(
        self,
        name: str,
        task: Fields | None = None,
        /,
        *,
        if_match: str | None = None,
        if_none_match: str | None = None,
        **fields: Any,
    ) -> Task:
        """Create the task with this name, or replace all of its fields."""
        headers = if_match_header(if_match)
        if if_none_match:
            headers["If-None-Match"] = if_none_match
        response = self._connection.request(
            "PUT",
            _named_task_path(name),
            body={**(task or {}), **fields},
            headers=headers,
            idempotent=not headers,
        )
        return _read_task(response)

    def remove_task(self, task: TaskOrId, *, if_match: str | None = None) -> None:
        headers = if_match_header(if_match)
        path = _task_path(task)
        self._connection.request("DELETE", path, headers=headers, idempotent=True)

    def remove_task_by_name(self, name: str, *, if_match: str | None = None) -> None:
        headers = if_match_header(if_match)
        path = _named_task_path(name)
        self._connection.request("DELETE", path, headers=headers, idempotent=True)

    def pause_task(
        self,
        task: TaskOrId,
        *,
        reason: str | None = None,
        until: Timestamp | None = None,
        catch_up: str | None = None,
    ) -> None:
        """Pause a task; it resumes by itself at `until`, if that is given.

        `catch_up` is none, latest or all: which fire times of the pause it makes up for.
        """
        path = f"/tasks/{task_segment(task)}/pause/"
        body = {"reason": reason, "until": until, "catch_up": catch_up}
        self._connection.post(path, body, idempotent=True)

    def pause_tasks(
        self,
        tasks: Sequence[TaskOrId],
        *,
        reason: str | None = None,
        until: Timestamp | None = None,
        catch_up: str | None = None,
    ) -> None:
        """Pause all of these tasks, or none, as pause_task() does."""
        ids = [to_task_id(task) for task in tasks]
        hold = {"reason": reason, "until": until, "catch_up": catch_up}
        body = {"ids": ids, **hold}
        self._connection.post("/tasks/pause/", body, idempotent=True)

    def resume_task(self, task: TaskOrId, *, catch_up: str | None = None) -> None:
        """Resume a task; by default, it makes up for what its pause said."""
        path = f"/tasks/{task_segment(task)}/resume/"
        self._connection.post(path, {"catch_up": catch_up}, idempotent=True)

    def resume_tasks(
        self, tasks: Sequence[TaskOrId], *, catch_up: str | None = None
    ) -> None:
        """Resume all of these tasks, or none, as resume_task() does."""
        body = {"ids": [to_task_id(task) for task in tasks], "catch_up": catch_up}
        self._connection.post("/tasks/resume/", body, idempotent=True)

    def run_task(self, task: TaskOrId, *, key: str | None = None) -> str:
        """Run a task now, beside its schedule. Returns the id of the run."""
        path = f"/tasks/{task_segment(task)}/run/"
        return str(self._connection.create(path, None, key).body["run_id"])

    def next_fire_times(self, task: TaskOrId, n: int = 20) -> FireTimes:
        path = f"/tasks/{task_segment(task)}/next/"
        return decode_fire_times(self._connection.get(path, {"n": n}).body)

    def preview_task(
        self,
        task: Fields | None = None,
        /,
        *,
        n: int = 20,
        since: Timestamp | None = None,
        copies: int | None = None,
        **fields: Any,
    ) -> FireTimes:
        """Return the fire times that a task would have, without creating it.

        `copies` asks the lane of the task whether so many such tasks fit.
        """
        body = {**(task or {}), **fields, "n": n, "from": since, "copies": copies}
        response = self._connection.post("/tasks/preview/", body, idempotent=True)
        return decode_fire_times(response.body)

    def plan_tasks(self, tag: str, tasks: Sequence[Fields]) -> Plan:
        """Return what `apply_tasks` would do, without doing it."""
        body = {"tag": tag, "tasks": tasks, "dry_run": True}
        response = self._connection.post("/tasks/apply/", body, idempotent=True)
        return decode_plan(response.body)

    def apply_tasks(
        self,
        tag: str,
        tasks: Sequence[Fields],
        *,
        plan: str | Plan | None = None,
        key: str | None = None,
    ) -> Plan:
        """Make the tasks with a tag equal to a list, all of them or none.

        With a `plan` that `plan_tasks` returned, this raises PreconditionFailed if the
        changes would now be different ones.
        """
        fingerprint = plan.plan if isinstance(plan, Plan) else plan
        body = {"tag": tag, "tasks": tasks, "plan": fingerprint}
        return decode_plan(self._connection.create("/tasks/apply/", body, key).body)


def _read_task(response: Response) -> Task:
    return decode_task(response.body, response.etag)


def _task_path(task: TaskOrId) -> str:
    return f"/tasks/id/{task_segment(task)}"


def _named_task_path(name: str) -> str:
    # A name may end with slashes; the last slash here belongs to the path.
    return f"/tasks/by-name/{quote_segment(name)}/"
