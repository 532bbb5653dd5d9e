"""`manage.py cells`: two whole cells behind a door, as a newcomer starts them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.acceptance.cell_callers import TaskCaller
from tests.acceptance.door import HAPROXY, NOT_INSTALLED
from tests.acceptance.harness import ROOT, eventually, free_port
from tests.acceptance.tasks import count_requests_by_run, in_seconds
from tests.receiver import Receiver

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(HAPROXY is None, reason=NOT_INSTALLED),
]


class LocalCellsProcess:
    def __init__(self, home: Path) -> None:
        home.chmod(0o711)
        self.home = home
        self.output = home / "output"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Each cell has servers of its own.
        shared = {"DATABASE_URL", "REDIS_URL"}
        kept = {name: os.environ[name] for name in os.environ.keys() - shared}
        self.environment = kept | {
            "SCHEDULER_STATE_DIR": str(home / "var"),
            "SCHEDULER_MIN_FREQUENCY": "1",
            "PORT": str(self.port),
        }

    def start(self) -> None:
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "cells", "--count", "2"],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        # Databases are migrated side by side.
        eventually(self._is_ready, timeout=400)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return "Ctrl-C stops everything." in self.output.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=150)

    def tokens(self) -> list[str]:
        return re.findall(r"token (sch_\S+)", self.output.read_text())

    def manage(self, *arguments: str, **settings: str) -> str:
        found = re.search(r"DIRECTORY_URL='(.+)'", self.output.read_text())
        assert found
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment | {"DIRECTORY_URL": found[1]} | settings,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def manage_in(self, cell: str, *arguments: str) -> str:
        """Run a command where the service of a cell runs."""
        home = self.home / "var" / "cells"
        return self.manage(
            *arguments,
            SCHEDULER_CELL=cell,
            SCHEDULER_STATE_DIR=str(home / cell),
            SECRET_KEY=(home / "secret_key").read_text().strip(),
        )


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCellsProcess]:
    made = LocalCellsProcess(tmp_path_factory.mktemp("c"))
    made.start()
    yield made
    # Ctrl-C ends everything, and leaves nothing behind.
    started = psutil.Process(made.process.pid).children(recursive=True)
    assert made.stop() == 0
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []


def ask(url: str, token: str, task: dict[str, Any] | None = None) -> requests.Response:
    """List the tasks of a token's user, or create one."""
    headers = {"Authorization": f"Bearer {token}"}
    if task is not None:
        return requests.post(f"{url}/tasks/", headers=headers, json=task, timeout=20)
    return requests.get(f"{url}/tasks/", headers=headers, timeout=20)


def one_time_task(url: str) -> dict[str, Any]:
    moment = in_seconds(3600).isoformat()
    return {"task_type": "one_time", "run_datetime": moment, "url": url}


def test_each_tenant_reaches_its_own_cell_by_one_door(
    cells: LocalCellsProcess,
) -> None:
    tokens = cells.tokens()

    for number, token in enumerate(tokens, start=1):
        made = ask(cells.url, token, one_time_task(f"{cells.url}/healthz"))
        seen = ask(cells.url, token)
        elsewhere = ask(f"http://127.0.0.1:{cells.port + 3 - number}", token)

        assert (made.status_code, seen.json()["count"]) == (201, 1)
        assert seen.headers["X-Scheduler-Cell"] == f"cell-{number}"
        assert elsewhere.status_code == 401
    assert len(tokens) == 2


def test_an_unknown_token_is_refused_in_the_words_of_each_format(
    cells: LocalCellsProcess,
) -> None:
    header = {"Authorization": "Bearer sch_unknown"}

    tasks = requests.get(f"{cells.url}/tasks/", headers=header, timeout=20)
    jobs = requests.post(f"{cells.url}/", headers=header, json={}, timeout=20)

    assert (tasks.status_code, jobs.status_code) == (401, 401)
    assert tasks.json() == {"error": {"message": "User not authorized"}}
    assert jobs.headers["Content-Type"].startswith("text/plain")
    assert tasks.headers["WWW-Authenticate"] == "Bearer"


def test_the_directory_counts_the_tenants_of_each_cell(
    cells: LocalCellsProcess,
) -> None:
    said = cells.manage("list_cells")

    assert re.findall(r"(\d) (cell-\d) tenants=(\d)", said) == [
        ("1", "cell-1", "1"),
        ("2", "cell-2", "1"),
    ]


def test_the_page_of_all_cells_shows_what_each_says(
    cells: LocalCellsProcess,
) -> None:
    password = re.search(r"password: (\S+)\)", cells.output.read_text())
    assert password
    url = cells.url
    with requests.Session() as browser:
        browser.headers["Host"] = f"cell-1.localhost:{cells.port}"
        browser.get(f"{url}/login/", timeout=20)
        values = {
            "login": "admin",
            "password": password[1],
            "csrfmiddlewaretoken": str(browser.cookies["csrftoken"]),
        }
        browser.post(f"{url}/login/", values, timeout=20, allow_redirects=False)

        def page_with_doors() -> str:
            page = browser.get(f"{url}/admin/cells/", timeout=20).text
            return page if "the newest version" in page else ""

        # A door says what it knows a moment after it has begun to serve.
        page = eventually(page_with_doors)

    rows = re.findall(r"<td>\d (cell-\d)</td>\s*<td>(\w+)</td>\s*<td>(\S+)</td>", page)
    assert [(name, state) for name, state, _ in rows] == [
        ("cell-1", "ok"),
        ("cell-2", "ok"),
    ]
    assert "cell-1: 1, cell-2: 1" in page


def test_metrics_and_readiness_name_their_cell(cells: LocalCellsProcess) -> None:
    own = f"http://127.0.0.1:{cells.port + 2}"

    ready = requests.get(f"{own}/readyz", timeout=20).json()
    metrics = requests.get(f"{own}/metrics", timeout=20).text

    assert ready["cell"] == "cell-2"
    assert 'scheduler_due{cell="cell-2"}' in metrics


@pytest.fixture
def target() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def mover(cells: LocalCellsProcess) -> Iterator[str]:
    """The token of a tenant of the first cell, where it is again at the end."""
    names = ("--tenant", "mover", "--user", "ann")
    yield cells.manage_in("cell-1", "issue_token", *names)
    cells.manage_in("cell-1", "delete_tenant", "mover", "--yes")


def create_every_second(cells: LocalCellsProcess, token: str, url: str) -> None:
    task = {
        "task_type": "periodic",
        "frequency": 1,
        "start_datetime": in_seconds(2).isoformat(),
        "misfire": "all",
        "url": url,
    }
    made = requests.post(
        f"{cells.url}/tasks/",
        headers={"Authorization": f"Bearer {token}"},
        json=task,
        timeout=20,
    )
    assert made.status_code == 201, made.text


def move(cells: LocalCellsProcess, source: str, target: str) -> float:
    """Move the tenant by the name of the cell; returns when it had moved."""
    cells.manage_in(source, "move_tenant", "mover", "--to", target)
    moved_at = time.monotonic()
    cells.manage_in(source, "forget_moved_tenant", "mover", "--yes")
    return moved_at


def test_a_tenant_moves_by_name_to_and_fro_while_it_is_in_use(
    cells: LocalCellsProcess, target: Receiver, mover: str
) -> None:
    create_every_second(cells, mover, f"{target.url}/every-second")
    callers = [
        TaskCaller(cells.url, target.url, mover, f"once-{number}")
        for number in range(2)
    ]
    for caller in callers:
        caller.start()
    target.wait_for(5, timeout=60)
    moves = [
        (move(cells, "cell-1", "cell-2"), "cell-2"),
        (move(cells, "cell-2", "cell-1"), "cell-1"),
    ]
    eventually(lambda: callers[0].answers[-1].started_at > moves[-1][0])
    for caller in callers:
        caller.stop()

    acknowledged = {path for caller in callers for path in caller.acknowledged}
    eventually(
        lambda: acknowledged <= {request.path for request in target.requests},
        timeout=60,
    )
    assert [caller.wrong for caller in callers] == [[], []]
    require_right_cells(callers, moves)
    by_run = count_requests_by_run(target.requests)
    assert set(by_run.values()) == {1}
    eventually(lambda: seconds_between_fire_times(target) == {1})
    assert sum(caller.refused for caller in callers) > 0


def require_right_cells(
    callers: list[TaskCaller], moves: list[tuple[float, str]]
) -> None:
    """Between two moves, the cell of the tenant alone has answered."""
    answers = sorted(each for caller in callers for each in caller.answers)
    cells = [each.cell for each in answers]
    assert set(cells) == {"cell-1", "cell-2"}
    (_, first), (second_at, second) = moves
    assert {each.cell for each in answers if each.started_at > second_at} == {second}
    # Once the new cell has answered, the former one does so no more.
    changes = [new for old, new in itertools.pairwise(cells) if old != new]
    assert changes == [first, second]


def seconds_between_fire_times(target: Receiver) -> set[float]:
    times = sorted(
        datetime.fromisoformat(request.headers["x-scheduled-for"])
        for request in target.requests
        if request.path == "/every-second"
    )
    return {(new - old).total_seconds() for old, new in itertools.pairwise(times)}
