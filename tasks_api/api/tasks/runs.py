"""The views of runs, of the account of a task, of redrives and cancellations."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from tasks_api.api import fields, pagination
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import runs_openapi as schema
from tasks_api.api.tasks.base import TasksView, parse_run_id
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import UNDELIVERED_STATES, UNFINISHED_STATES, RunState
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.models import Attempt, Run, Task
from tasks_api.services import cancellation, finding, reconciliation, redrive, runs
from tasks_api.services.account import Account, FireTimeOutcome
from tasks_api.services.bell import announce_after_commit, ring_after_commit
from tasks_api.services.run_selection import RunSelection
from tasks_api.services.runs import RunCursor, RunFilter, RunSummary

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_CHANGED_RUNS = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_REDRIVEN_RUNS = 1000


class RunsView(TasksView):
    error_messages: ClassVar[dict[int, str]] = {
        **{
            status: text
            for status, text in TasksView.error_messages.items()
            if status != 404
        },
        403: "Forbidden: Run does not belong to this user",
    }


class RunList(RunsView):
    @schema.list_runs
    def get(self, request: Request) -> Response:
        query = fields.query_parameters(request)
        task_id = _task_id(query["task"]) if "task" in query else None
        return _list_runs(self, request, query, task_id)


class TaskRunList(RunsView):
    bounded_methods: ClassVar = ("GET",)

    @schema.list_runs_of_task
    def get(self, request: Request, task_id: str) -> Response:
        query = fields.query_parameters(request)
        return _list_runs(self, request, query, finding.parse_id(task_id))


class RunDetail(RunsView):
    bounded_methods: ClassVar = ("GET",)

    @schema.get_run
    def get(self, request: Request, run_id: str) -> Response:
        run, attempts = runs.get_run(self.user, parse_run_id(run_id))
        shown = _render_run_fields(run, run.task)
        shown["attempts"] = [_render_attempt(each) for each in attempts]
        return Response(shown)


class RedriveRun(RunsView):
    bounded_methods: ClassVar = ("POST",)

    @schema.redrive_run
    @idempotent
    def post(self, request: Request, run_id: str) -> Response:
        redriven = redrive.redrive_run(self.user, parse_run_id(run_id))
        ring_after_commit()
        return Response({"run_id": str(redriven.run_ids[0])}, status=202)


class RedriveRuns(RunsView):
    @schema.redrive_runs
    @idempotent
    def post(self, request: Request) -> Response:
        redriven = _redrive_runs(self.user, fields.require_object(request.data))
        ring_after_commit()
        ids = list(map(str, redriven.run_ids))
        body = {"count": len(ids), "run_ids": ids, "more": redriven.has_more}
        return Response(body, status=202)


class CancelRun(RunsView):
    bounded_methods: ClassVar = ("POST",)

    @schema.cancel_run
    @idempotent
    def post(self, request: Request, run_id: str) -> Response:
        run = cancellation.cancel_run(self.user, parse_run_id(run_id))
        announce_after_commit([run])
        return Response({"run_id": str(run.run_id), "state": run.state}, status=202)


class CancelRuns(RunsView):
    @schema.cancel_runs
    @idempotent
    def post(self, request: Request) -> Response:
        cancelled = _cancel_runs(self.user, fields.require_object(request.data))
        announce_after_commit(cancelled.runs)
        ids = [str(run.run_id) for run in cancelled.runs]
        body = {"count": len(ids), "run_ids": ids, "more": cancelled.has_more}
        return Response(body, status=202)


class TaskAccount(RunsView):
    @schema.get_account
    def get(self, request: Request, task_id: str) -> Response:
        since, until = read_time_range(fields.query_parameters(request))
        found = reconciliation.reconcile(
            self.user, finding.parse_id(task_id), since=since, until=until
        )
        return Response(render_account(found))


# Requests.


def _redrive_runs(user: User, data: Mapping[str, Any]) -> redrive.RedriveResult:
    wanted = _read_selection(data, UNDELIVERED_STATES)
    return redrive.redrive_runs(user, wanted, limit=_limit(data.get("limit")))


def _cancel_runs(user: User, data: Mapping[str, Any]) -> cancellation.CancelResult:
    wanted = _read_selection(data, UNFINISHED_STATES)
    return cancellation.cancel_runs(user, wanted, limit=_limit(data.get("limit")))


def _read_selection(
    data: Mapping[str, Any], states: Collection[RunState]
) -> RunSelection:
    task_id = data.get("task_id")
    return RunSelection(
        _states_of(fields.require_field(data, "state"), states),
        task_id=None if task_id is None else _task_id(task_id, "task_id"),
        since=fields.optional_moment(data, "from"),
        until=fields.optional_moment(data, "to"),
        reason=_reason(data),
        code=_code(data),
        backfill_id=_backfill_id(data),
    )


def read_time_range(
    query: Mapping[str, str],
) -> tuple[datetime | None, datetime | None]:
    since = fields.optional_moment(query, "from")
    until = fields.optional_moment(query, "to")
    if since and until and since > until:
        raise InvalidTask("to", "to should not be before from")
    return since, until


def _task_id(value: object, name: str = "task") -> UUID:
    try:
        if isinstance(value, str):
            return finding.parse_id(value)
    except TaskNotFound:
        pass
    raise InvalidTask(name, f"Invalid value of {name}. Value should be a task's id")


def _backfill_id(data: Mapping[str, Any]) -> UUID | None:
    value = data.get("backfill")
    try:
        return None if value is None else UUID(fields.client_name("backfill", value))
    except ValueError:
        raise InvalidTask(
            "backfill", "Invalid value of backfill. Value should be a backfill's id"
        ) from None


def _list_runs(
    view: RunsView, request: Request, query: Mapping[str, str], task_id: UUID | None
) -> Response:
    limit = pagination.page_size(
        query, default=DEFAULT_PAGE_SIZE, maximum=MAX_PAGE_SIZE
    )
    run_filter = RunFilter(
        task_id,
        _states(query),
        fields.optional_moment(query, "from"),
        fields.optional_moment(query, "to"),
        _read_cursor(query["cursor"]) if "cursor" in query else None,
        _wants_notices(query),
        reason=_reason(query),
        code=_code(query),
        backfill_id=_backfill_id(query),
        lane=fields.id_parameter(query, "lane") if "lane" in query else None,
    )
    found = runs.list_runs(view.user, run_filter, limit=limit)
    body: dict[str, Any] = {"runs": [render_run(row) for row in found.rows]}
    body["next_cursor"] = found.after and found.after.to_text()
    if found.after is None:
        return Response(body)
    following = pagination.next_page_link(request, cursor=body["next_cursor"])
    return Response(body, headers=following)


def _wants_notices(query: Mapping[str, str]) -> bool:
    text = query.get("notice", "false")
    if text in ("true", "false"):
        return text == "true"
    raise InvalidTask(
        "notice", "Invalid value of notice. Value should be true or false"
    )


def _states(query: Mapping[str, str]) -> list[RunState]:
    """The states of a query string, separated by commas."""
    if "state" not in query:
        return []
    return _parse_states(query["state"].split(","), RunState.values)


def _states_of(value: object, allowed: Collection[RunState]) -> list[RunState]:
    if not isinstance(value, list) or not value:
        raise InvalidTask(
            "state", "Invalid value of state. Value should be a list of states"
        )
    return _parse_states(value, sorted(allowed))


def _parse_states(values: list[Any], states: list[str]) -> list[RunState]:
    if all(isinstance(value, str) and value in states for value in values):
        return [RunState(value) for value in values]
    raise InvalidTask(
        "state",
        f"Invalid value of state. A state should be one of {', '.join(states)}",
    )


def _limit(value: object) -> int:
    if value is None:
        return MAX_CHANGED_RUNS
    limit = fields.whole_number("limit", value, minimum=1)
    if limit > MAX_CHANGED_RUNS:
        raise InvalidTask(
            "limit",
            f"Invalid value of limit. Value should be at most {MAX_CHANGED_RUNS}",
        )
    return limit


def _reason(data: Mapping[str, Any]) -> str | None:
    reason = data.get("reason")
    if reason is None or (isinstance(reason, str) and reason and "\0" not in reason):
        return reason
    raise InvalidTask("reason", "Invalid value of reason. Value should be a text")


def _code(data: Mapping[str, Any]) -> int | None:
    """A status, as a number or, in a query string, its digits."""
    text = str(data.get("code", ""))
    if "code" not in data or data["code"] is None:
        return None
    if re.fullmatch("[1-9][0-9]{2}", text, re.ASCII):
        return int(text)
    raise InvalidTask(
        "code", "Invalid value of code. Value should be a status such as 503"
    )


def _read_cursor(text: str) -> RunCursor:
    try:
        return RunCursor.from_text(text)
    except ValueError:
        raise InvalidTask(
            "cursor", "Invalid value of cursor. Value should be a next_cursor"
        ) from None


# Responses.


def render_run(row: RunSummary) -> dict[str, Any]:
    return {**_render_run_fields(row.run, row.task), "last_status": row.last_status}


def _render_run_fields(run: Run, task: Task) -> dict[str, Any]:
    return {
        "id": str(run.pk),
        "task_id": str(run.task_id),
        "task_name": task.name,
        "notice": task.surface == Surface.NOTICES,
        "scheduled_for": format_optional_timestamp(run.scheduled_for),
        "slot": format_optional_timestamp(run.slot or run.scheduled_for),
        "state": run.state,
        "reason": run.reason,
        "manual": run.by_hand,
        "redrive_of": None if run.backfill_id else _text_of(run.redrive_of),
        **({"backfill": str(run.backfill_id)} if run.backfill_id else {}),
        "started_at": format_optional_timestamp(run.started_at),
        "finished_at": format_optional_timestamp(run.finished_at),
        "attempt_count": run.attempt_count,
    }


def _text_of(run_id: UUID | None) -> str | None:
    return None if run_id is None else str(run_id)


def _render_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "started_at": format_optional_timestamp(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "status_code": attempt.status_code,
        "error": attempt.error,
        "answer": attempt.answer,
    }


def render_account(found: Account) -> dict[str, Any]:
    return {
        "from": format_optional_timestamp(found.since),
        "to": format_optional_timestamp(found.until),
        "planned": found.planned,
        **{outcome.value: found.outcomes[outcome] for outcome in FireTimeOutcome},
        "manual": found.manual,
        "balance": found.balance,
        "missing": found.missing,
        "unplanned": found.unplanned,
        "differences": [
            {
                "kind": each.kind,
                "scheduled_for": format_optional_timestamp(each.scheduled_for),
                "run_id": each.run_id and str(each.run_id),
                "message": each.message,
            }
            for each in found.differences
        ],
        "changes": [
            {"at": format_optional_timestamp(change.at), "what": change.what}
            for change in found.changes
        ],
        **_render_excluded(found),
    }


def _render_excluded(found: Account) -> dict[str, Any]:
    """The fire times that calendars left out, of a task that followed any."""
    if found.excluded is None:
        return {}
    times = [
        {
            "at": format_optional_timestamp(each.at),
            "calendar": each.calendar,
            "version": each.version,
        }
        for each in found.excluded_times
    ]
    return {"excluded": found.excluded, "excluded_times": times}
