"""Reads what the target logged and what the service stored in a round."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import requests

from tests.chaos.cluster import HOSTILE_TENANT, TENANT, Cluster
from tests.chaos.control_calls import AccountAnswer
from tests.chaos.evidence import (
    POISON,
    Arrival,
    AttemptRecord,
    RunRecord,
    TargetNote,
    WhyAnswer,
)

# Seconds for all questions of a kind in a round, and for one of them.
WHY_SECONDS, ACCOUNT_SECONDS, ANSWER_TIMEOUT = 60.0, 30.0, 10.0

_ATTEMPTS = """
    SELECT run_id::text, number, extract(epoch FROM started_at)::float,
        duration_ms / 1000.0::float, starts_with(error, 'The worker was lost')
    FROM tasks_api_all_attempts ORDER BY run_id, number
"""
_RUNS = """
    SELECT run.id::text, task.id::text, task.name, task.url,
        floor(extract(epoch FROM CASE WHEN backfill_id IS NULL THEN scheduled_for
            ELSE slot END) * 1000)::bigint, state, reason,
        attempt_count, lost_count, extract(epoch FROM started_at)::float,
        extract(epoch FROM finished_at)::float, task.retry <> '',
        task.overlap, coalesce(task.pause_after_failures, 0),
        coalesce(backfill_id::text, '')
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    WHERE tenant.name <> %s ORDER BY scheduled_for
"""
_POISON_RUNS = """
    SELECT task.id::text, run.id IS NOT NULL FROM tasks_api_task task
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    LEFT JOIN tasks_api_run run ON task.id = run.task_id
    WHERE tenant.name = %s
"""
_RECURRING_TASKS = """
    SELECT task.id::text, task.name, url FROM tasks_api_task task
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    WHERE tenant.name = %s AND next_fire_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM django_celery_beat_periodictask periodic
        WHERE periodic.id = task.periodic_task_id AND periodic.one_off)
"""


class Service(Protocol):
    """What answers questions about tasks, and the session of their user."""

    url: str
    api: requests.Session


class RecurringTask(NamedTuple):
    task_id: str
    name: str
    mark: str


def read_arrivals(cluster: Cluster) -> list[Arrival]:
    return [
        Arrival.from_log(*row)
        for row in _target_log(cluster)
        if row[1].startswith("/") and not row[1].startswith(f"/{POISON}/")
    ]


def read_notes(cluster: Cluster) -> list[TargetNote]:
    rows = _target_log(cluster)
    return [TargetNote(*row) for row in rows if not row[1].startswith("/")]


def _target_log(cluster: Cluster) -> list[list[Any]]:
    lines = cluster.target_log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read_runs(cluster: Cluster) -> list[RunRecord]:
    attempts: dict[str, list[AttemptRecord]] = {}
    for run_id, *attempt in cluster.query(_ATTEMPTS):
        attempts.setdefault(run_id, []).append(AttemptRecord._make(attempt))
    return [
        _make_run(row, tuple(attempts.get(row[0], ())))
        for row in cluster.query(_RUNS, HOSTILE_TENANT)
    ]


def _make_run(row: tuple[Any, ...], attempts: tuple[AttemptRecord, ...]) -> RunRecord:
    run_id, task_id, name, url, *columns, overlap, pause_after, backfill = row
    mark = name or mark_in(url)
    return RunRecord._make(
        (run_id, task_id, mark, *columns, attempts, overlap, pause_after, backfill)
    )


def count_poison_runs(cluster: Cluster) -> dict[str, int]:
    """How many runs each poisonous task has."""
    rows = cluster.query(_POISON_RUNS, HOSTILE_TENANT)
    return Counter(task_id for task_id, has_run in rows if has_run)


def read_recurring_tasks(cluster: Cluster, tenant: str = TENANT) -> list[RecurringTask]:
    """The tasks of the clients that go on firing."""
    rows = cluster.query(_RECURRING_TASKS, tenant)
    return [RecurringTask(task_id, name, mark_in(url)) for task_id, name, url in rows]


def mark_in(url: str) -> str:
    """The mark of a task: the last part of its URL, without the version."""
    return url.rpartition("/")[2].partition(".")[0]


def ask_why(cluster: Cluster, runs: Sequence[RunRecord]) -> list[WhyAnswer]:
    """Ask the service why runs were not delivered on time, for at most WHY_SECONDS."""
    until, answers = time.monotonic() + WHY_SECONDS, []
    for run in random.Random(len(runs)).sample(runs, len(runs)):
        if time.monotonic() > until:
            break
        answers.append(_ask_why(cluster, run))
    return answers


def ask_accounts(
    service: Service, runs: Sequence[RunRecord], seconds: float = ACCOUNT_SECONDS
) -> list[AccountAnswer]:
    """Ask for the accounts of the tasks of these runs, for at most so many seconds."""
    tasks = sorted({(run.task_id, run.mark) for run in runs})
    until, answers = time.monotonic() + seconds, []
    for task_id, mark in random.Random(len(tasks)).sample(tasks, len(tasks)):
        if time.monotonic() > until:
            break
        response = service.api.get(
            f"{service.url}/tasks/{task_id}/account/", timeout=ANSWER_TIMEOUT
        )
        found = response.json() if response.ok else {}
        numbers = (found.get(name, 0) for name in AccountAnswer._fields[2:])
        answers.append(AccountAnswer(mark, response.status_code, *numbers))
    return answers


def _ask_why(cluster: Cluster, run: RunRecord) -> WhyAnswer:
    moment = datetime.fromtimestamp(run.scheduled_ms / 1000, UTC)
    response = cluster.api.get(
        f"{cluster.url}/tasks/{run.task_id}/why/",
        params={"at": moment.isoformat(timespec="milliseconds")},
        timeout=ANSWER_TIMEOUT,
    )
    if not response.ok:
        return WhyAnswer(run.run_id, response.status_code)
    found = response.json()
    held_by = tuple(each["code"] for each in found["held_by"])
    return WhyAnswer(run.run_id, 200, found["verdict"], found["cause"]["code"], held_by)
