"""The methods of the client for runs, and for what became of a task's fire times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from scheduler_client import long_work
from scheduler_client.connection import MAX_PAGE_SIZE, ConnectionOwner
from scheduler_client.decoding import (
    decode,
    decode_account,
    decode_forecast,
    decode_run,
    decode_stats,
    decode_tenant_account,
    decode_why,
)
from scheduler_client.encoding import (
    TaskOrId,
    Timestamp,
    quote_segment,
    task_segment,
    to_task_id,
)
from scheduler_client.models import (
    Account,
    BackfillResult,
    CancelResult,
    Forecast,
    LaneForecast,
    RedriveResult,
    Run,
    Stats,
    TenantAccount,
)
from scheduler_client.why_models import Why


class RunMethods(ConnectionOwner):
    def list_runs(
        self,
        task: TaskOrId | None = None,
        *,
        states: Sequence[str] = (),
        since: Timestamp | None = None,
        until: Timestamp | None = None,
        notices: bool = False,
        reason: str | None = None,
        code: int | None = None,
        backfill: str | None = None,
        lane: str | None = None,
        page_size: int = MAX_PAGE_SIZE,
    ) -> Iterator[Run]:
        """List runs, the newest fire time first. Pages are fetched while you iterate.

        Without a task, the runs of notices are omitted; `notices` lists only those.
        """
        path = "/runs/" if task is None else f"/tasks/{task_segment(task)}/runs/"
        query = {
            "state": ",".join(states) or None,
            "from": since,
            "to": until,
            "notice": "true" if notices else None,
            "reason": reason,
            "code": code,
            "backfill": backfill,
            "lane": lane,
            "limit": page_size,
        }
        for item in self._connection.get_pages(path, "runs", query):
            yield decode_run(item)

    def get_run(self, run_id: str) -> Run:
        """Return a run with its attempts."""
        return decode_run(self._connection.get(f"{_run_path(run_id)}/").body)

    def get_account(
        self,
        task: TaskOrId,
        *,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
    ) -> Account:
        """Compare the planned fire times with the runs, by default those of a day."""
        path = f"/tasks/{task_segment(task)}/account/"
        return decode_account(
            self._connection.get(path, {"from": since, "to": until}).body
        )

    def why(self, task: TaskOrId, at: Timestamp | None = None) -> Why:
        """Ask what a task did, does or will do at a moment, and why; by default now."""
        path = f"/tasks/{task_segment(task)}/why/"
        return decode_why(self._connection.get(path, {"at": at}).body)

    def get_tenant_account(
        self, *, since: Timestamp | None = None, until: Timestamp | None = None
    ) -> TenantAccount:
        """Compare the planned fire times of all tasks with the runs, in closed hours."""
        query = {"from": since, "to": until}
        return decode_tenant_account(self._connection.get("/account/", query).body)

    def get_stats(
        self, *, since: Timestamp | None = None, until: Timestamp | None = None
    ) -> Stats:
        """Count the runs of each hour by state, by default those of a day."""
        query = {"from": since, "to": until}
        return decode_stats(self._connection.get("/stats/", query).body)

    def get_forecast(
        self,
        *,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
        bucket: int | None = None,
        by: str | None = None,
    ) -> Forecast:
        """Count the coming fire times in buckets of so many seconds, by default hours.

        `by` is `task`, `tag`, `host` or `lane` to count for each of those as well.
        """
        query = {"from": since, "to": until, "bucket": bucket, "by": by}
        return decode_forecast(self._connection.get("/forecast/", query).body)

    def get_lane_forecast(
        self,
        lane: str,
        *,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
        bucket: int | None = None,
    ) -> LaneForecast:
        """Count what all tasks of a lane bring, beside what it lets start."""
        path = f"/lanes/{quote_segment(lane)}/forecast/"
        query = {"from": since, "to": until, "bucket": bucket}
        return decode(LaneForecast, self._connection.get(path, query).body)

    def redrive_run(self, run_id: str, *, key: str | None = None) -> str:
        """Send a run again. Returns the id of the new run."""
        path = f"{_run_path(run_id)}/redrive/"
        return str(self._connection.create(path, None, key).body["run_id"])

    def redrive_runs(
        self,
        states: Sequence[str],
        *,
        task: TaskOrId | None = None,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
        reason: str | None = None,
        code: int | None = None,
        backfill: str | None = None,
        limit: int | None = None,
        key: str | None = None,
    ) -> RedriveResult:
        """Send the runs in these states again, the oldest first, at most `limit` runs."""
        only = {"from": since, "to": until, "reason": reason, "code": code}
        only["backfill"] = backfill
        body = _select_runs(states, task) | only | {"limit": limit}
        response = self._connection.create("/runs/redrive/", body, key)
        return decode(RedriveResult, response.body)

    def cancel_run(self, run_id: str, *, key: str | None = None) -> str:
        """Cancel an unfinished run. Returns its state.

        The state is `running` while its request is under way; the worker gives the
        request up within seconds. Raises Conflict if the run is over.
        """
        path = f"{_run_path(run_id)}/cancel/"
        return str(self._connection.create(path, None, key).body["state"])

    def cancel_runs(
        self,
        states: Sequence[str],
        *,
        task: TaskOrId | None = None,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
        reason: str | None = None,
        code: int | None = None,
        backfill: str | None = None,
        limit: int | None = None,
        key: str | None = None,
    ) -> CancelResult:
        """Cancel the unfinished runs in these states, the oldest first."""
        only = {"from": since, "to": until, "reason": reason, "code": code}
        only["backfill"] = backfill
        body = _select_runs(states, task) | only | {"limit": limit}
        response = self._connection.create("/runs/cancel/", body, key)
        return decode(CancelResult, response.body)

    def backfill_task(
        self,
        task: TaskOrId,
        *,
        since: Timestamp | None = None,
        until: Timestamp | None = None,
        which: str | None = None,
        pace: str | None = None,
        overlap: str | None = None,
        hash: str | None = None,
        dry_run: bool = False,
        key: str | None = None,
    ) -> BackfillResult:
        """Send what the fire times of some time would have sent, by default of a day.

        `which` is `missed` (the default) or `all`, and `pace` a number of runs such as
        `20/minute`. A dry run makes no run. With the `hash` of a dry run, raises
        Conflict if the plan is another one now.
        """
        body: dict[str, Any] = {"from": since, "to": until}
        body |= {"which": which, "pace": pace}
        body |= {"overlap": overlap, "hash": hash, "dry_run": dry_run or None}
        path = f"/tasks/{task_segment(task)}/backfill/"
        return decode(BackfillResult, self._connection.create(path, body, key).body)

    def complete_run(self, run_id: str, answer: Any = None) -> str:
        """End a run of long work as succeeded. Returns its state.

        `answer`, any JSON value, replaces the recorded response of the run's request.
        Raises Conflict if the run has ended otherwise, or its deadline has passed.
        """
        return long_work.complete(self._connection, _run_path(run_id), answer)

    def fail_run(self, run_id: str, reason: str = "", *, retry: bool = True) -> str:
        """End the attempt of a run of long work as failed. Returns the run's state.

        The state is `retrying` if the task has retries left and `retry` is true. This is
        not sent again after a network error: it could end the next attempt.
        """
        path = _run_path(run_id)
        return long_work.fail(self._connection, path, reason, retry, idempotent=False)

    def heartbeat_run(self, run_id: str) -> datetime | None:
        """Extend the deadline of long work. Returns the new deadline.

        It is None while the request that started the work has no response.
        """
        return long_work.heartbeat(self._connection, _run_path(run_id))


def _select_runs(states: Sequence[str], task: TaskOrId | None) -> dict[str, Any]:
    task_id = None if task is None else to_task_id(task)
    return {"state": states, "task_id": task_id}


def _run_path(run_id: str) -> str:
    return f"/runs/{quote_segment(run_id)}"
