"""Moves of tenants that are watched, and cut off at a step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.models import Tenant
from tasks_api.models import Run, Task
from tasks_api.storage import schedule_statements
from tests.acceptance.harness import ROOT
from tests.integration.support.tenant_rows import TABLES, count_rows
from tests.integration.support.two_databases import own_url

FIND_SCHEDULES = f"""
    SELECT task.id, {schedule_statements.COLUMNS}, periodic.name
    FROM tasks_api_task task {schedule_statements.JOINS}
    WHERE task.tenant_id = %s ORDER BY task.id
"""  # noqa: S608 (constants)
# Each of them commits something at the source or at the target, or is about to.
STEPS = ("history copied", "frozen", "put aside", "copied", "verified", "arrived")


class CutOff(Exception):
    """The process that moves a tenant ended."""


def cut_off_at(step: str) -> Callable[[str], None]:
    def report(reported: str) -> None:
        if reported == step:
            raise CutOff

    return report


def ignore(reported: str) -> None:
    """Nobody watches."""


def command_environment() -> dict[str, str]:
    """For a process of its own that works on the database of the test."""
    return os.environ | {
        "DATABASE_URL": own_url(),
        "DIRECTORY_URL": settings.DIRECTORY_URL,
        "SCHEDULER_CELL": settings.SCHEDULER_CELL,
        "DJANGO_SETTINGS_MODULE": "scheduler_service.settings",
    }


def start_move(
    tenant: Tenant, to: str, *, program: Sequence[str] = ("manage.py",)
) -> subprocess.Popen[str]:
    """Move a tenant in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *program, "move_tenant", tenant.name, "--to", to],
        cwd=ROOT,
        env=command_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(process: subprocess.Popen[str], step: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(step):
            return
    raise AssertionError(f"It never reported {step}: {seen}")


def move_and_kill(tenant: Tenant, to: str, step: str) -> None:
    """Move a tenant in a process of its own that is killed when it reports a step."""
    process = start_move(tenant, to, program=("-m", "tests.killed_command", step))
    _, seen = process.communicate()
    assert process.returncode == -signal.SIGKILL, seen


class TenantState(NamedTuple):
    """What must be the same before and after a move."""

    rows: Counter[str]
    fire_times: dict[UUID, datetime | None]
    runs: dict[UUID, tuple[str, datetime | None]]
    schedules: list[tuple[object, ...]]


def read_state(tenant: Tenant) -> TenantState:
    counted = count_rows()
    with connection.cursor() as cursor:
        cursor.execute(FIND_SCHEDULES, [tenant.pk])
        schedules = cursor.fetchall()
    return TenantState(
        # Moves write to the audit log.
        Counter(
            {
                table: counted[tenant.pk, table]
                for table in TABLES
                if table != "accounts_auditentry"
            }
        ),
        dict(Task.objects.filter(tenant=tenant).values_list("pk", "next_fire_at")),
        {
            run_id: (state, wake_at)
            for run_id, state, wake_at in Run.objects.filter(tenant=tenant).values_list(
                "pk", "state", "wake_at"
            )
        },
        schedules,
    )
