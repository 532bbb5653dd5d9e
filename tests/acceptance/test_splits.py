"""A cell is split under load: some of its tenants live in the promoted standby."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import pytest
import requests

from tests.acceptance.door import HAPROXY, NOT_INSTALLED
from tests.acceptance.harness import eventually
from tests.acceptance.split_harness import (
    CellHarness,
    Client,
    SplitHarness,
    clients_of,
)
from tests.acceptance.tasks import count_requests_by_run
from tests.benchmarks import seed_data
from tests.receiver import Receiver

logger = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(HAPROXY is None, reason=NOT_INSTALLED),
]

SECOND = timedelta(seconds=1)
GOING, STAYING = ("Alpha", "amber"), ("beige",)
CHOICE = ("--tenants", *GOING)
# What the command reports; each is just before a commit, or just after one.
STEPS = (
    "frozen",
    "put aside",
    "replayed",
    "promoted",
    "prepared",
    "opened",
    "moved",
    "flipped",
)
SENT_AFTER_THE_MOVE = """
    SELECT run.id FROM tasks_api_run run JOIN accounts_tenant tenant
        ON tenant.id = run.tenant_id
    WHERE coalesce(run.first_started_at, run.started_at) > tenant.moved_at
"""
TENANTS_WITH_ROWS = """
    SELECT DISTINCT tenant.name FROM accounts_tenant tenant
    WHERE tenant.id IN (SELECT tenant_id FROM tasks_api_task)
        OR tenant.id IN (SELECT tenant_id FROM tasks_api_run)
"""


RUNS_OF_PERIODIC_TASK = """
    SELECT run.id, run.scheduled_for, run.state
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
        JOIN accounts_tenant tenant ON tenant.id = run.tenant_id
    WHERE tenant.name = %s AND NOT task.is_one_off AND run.scheduled_for <= %s
    ORDER BY run.scheduled_for
"""


class PeriodicRun(NamedTuple):
    id: str
    scheduled_for: datetime
    state: str


@pytest.fixture
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SplitHarness]:
    made = SplitHarness(tmp_path_factory.mktemp("s"))
    with made.running(("amber", "beige")):
        yield made


def wait_for_all(clients: dict[str, Client], target: Receiver) -> None:
    """Wait until the target has each acknowledged task."""

    def missing() -> set[str]:
        seen = {request.path for request in list(target.requests)}
        return {path for each in clients.values() for path in each.acknowledged} - seen

    eventually(lambda: not missing(), timeout=60)


def find_runs(cell: CellHarness, tenant: str, until: datetime) -> list[PeriodicRun]:
    """The runs of a tenant's periodic task up to a moment; none while one is open."""
    rows = cell.query(RUNS_OF_PERIODIC_TASK, tenant, until)
    runs = [PeriodicRun(str(run_id), *rest) for run_id, *rest in rows]
    is_whole = runs and runs[-1].scheduled_for > until - SECOND
    is_over = all(run.state in ("succeeded", "missed") for run in runs)
    return runs if is_whole and is_over else []


def require_each_fire_time_once(
    split: SplitHarness, target: Receiver, going: Collection[str] = GOING
) -> None:
    """Each fire time has one run where the tenant lives, and each run one request."""
    until = datetime.now(UTC)
    for tenant in GOING + STAYING:
        home = split.new if tenant in going else split.old
        runs = eventually(partial(find_runs, home, tenant, until), timeout=60)
        times = [run.scheduled_for for run in runs]
        assert times == [times[0] + number * SECOND for number in range(len(times))]
        received = {
            request.headers["webhook-id"]
            for request in list(target.requests)
            if request.path == f"/{tenant}"
            and datetime.fromisoformat(request.headers["x-scheduled-for"]) <= until
        }
        assert received == {run.id for run in runs if run.state == "succeeded"}
    assert set(count_requests_by_run(list(target.requests)).values()) == {1}


def require_answers_of_one_cell_at_a_time(clients: dict[str, Client]) -> None:
    for tenant, client in clients.items():
        cells = [answer.cell for answer in client.answers if answer.cell]
        first = cells.index("new") if "new" in cells else len(cells)
        assert set(cells[:first]) == {"old"}, tenant
        assert set(cells[first:]) <= {"new"}, tenant
        assert ("new" in cells) is (tenant in GOING)
        assert {answer.status for answer in client.answers} <= {201, 503}


def require_own_tenants(cell: CellHarness, tenants: tuple[str, ...]) -> None:
    """Nothing was sent here that lives elsewhere, and what is left of it is deleted."""
    assert cell.query(SENT_AFTER_THE_MOVE) == []
    cell.manage("forget_moved_tenant", "--all", "--yes")
    assert {name for (name,) in cell.query(TENANTS_WITH_ROWS)} == set(tenants)


def log_times(steps: dict[str, float]) -> None:
    began_at = min(steps.values())
    for step, at in steps.items():
        logger.warning("%5.2f s: %s", at - began_at, step)


def test_the_tenants_that_go_live_in_the_promoted_standby(
    split: SplitHarness, lone_target: Receiver
) -> None:
    with clients_of(split, lone_target) as clients:
        clients["amber"].wait_for_more()
        steps = split.split(*CHOICE)
        for client in clients.values():
            client.wait_for_more()
    wait_for_all(clients, lone_target)

    log_times(steps)
    require_each_fire_time_once(split, lone_target)
    require_answers_of_one_cell_at_a_time(clients)
    require_own_tenants(split.old, STAYING)
    require_own_tenants(split.new, GOING)
    # The processes of the new cell have waited for it.
    assert [part.poll() for part in split.new.parts + split.old.parts] == [None] * 6
    numbers = [
        cell.query("SELECT last_value >> 40 FROM accounts_token_id_seq")[0][0]
        for cell in (split.old, split.new)
    ]
    assert numbers == [1, 2]


def test_a_split_that_is_taken_back_and_killed_at_each_step_loses_nothing(
    split: SplitHarness, lone_target: Receiver
) -> None:
    with clients_of(split, lone_target) as clients:
        clients["amber"].wait_for_more()
        split.kill_split_at("put aside", *CHOICE)
        split.split("--abort")
        clients["amber"].wait_for_more()
        for step in STEPS:
            split.kill_split_at(step, *CHOICE)
        split.split()
        for client in clients.values():
            client.wait_for_more()
    wait_for_all(clients, lone_target)

    require_each_fire_time_once(split, lone_target)
    require_answers_of_one_cell_at_a_time(clients)
    require_own_tenants(split.old, STAYING)
    require_own_tenants(split.new, GOING)


def test_a_standby_that_is_promoted_too_early_serves_nobody(
    split: SplitHarness, lone_target: Receiver
) -> None:
    with clients_of(split, lone_target) as clients:
        clients["amber"].wait_for_more()
        split.new.postgres.execute("SELECT pg_promote()")
        promoted_at = time.time()
        eventually(lambda: "is of the cell old" in split.new.read_logs())
        eventually(lambda: lone_target.requests[-1].at > promoted_at + 3)
    wait_for_all(clients, lone_target)

    require_each_fire_time_once(split, lone_target, going=())
    since = "SELECT name FROM tasks_api_heartbeat WHERE seen_at > to_timestamp(%s)"
    assert split.new.query(since, promoted_at) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 200_000])
def test_stored_tasks_do_not_prolong_the_freeze(
    split: SplitHarness, lone_target: Receiver, count: int
) -> None:
    """It logs the seconds of each step."""
    later = seed_data.one_time_task(seed_data.FAR_FUTURE, lone_target.url)
    for tenant in GOING + STAYING:
        header = {"Authorization": f"Bearer {split.tokens[tenant]}"}
        url = f"{split.door.url}/tasks/"
        made = requests.post(url, json=later, headers=header, timeout=20).json()["id"]
        seed_data.store_copies(
            split.old.postgres.url,
            made,
            count,
            first=seed_data.FAR_FUTURE,
            urls=[lone_target.url],
        )
    split.wait_for_standby()
    with clients_of(split, lone_target) as clients:
        clients["amber"].wait_for_more()
        steps = split.split("--half")
        for client in clients.values():
            client.wait_for_more()
    wait_for_all(clients, lone_target)

    log_times(steps)
    moved = [name for name, each in clients.items() if each.answers[-1].cell == "new"]
    assert 0 < len(moved) < len(clients)
    require_each_fire_time_once(split, lone_target, moved)
