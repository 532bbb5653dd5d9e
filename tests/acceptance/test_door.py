"""The door sends each request to the cell of its tenant, whatever else is away."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import requests

from accounts import directory
from accounts.models import digest, generate_token
from tasks_api.domain.ids import id_for
from tests.acceptance.door import (
    HAPROXY,
    NOT_INSTALLED,
    Door,
    StandInCell,
    open_door,
)
from tests.acceptance.harness import eventually
from tests.conftest import NOON

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(HAPROXY is None, reason=NOT_INSTALLED),
]

MakeTenant = Callable[[str], int]


@pytest.fixture(scope="module")
def cells() -> Iterator[dict[str, StandInCell]]:
    made = {name: StandInCell(name) for name in ("a", "b")}
    for cell in made.values():
        cell.start()
    yield made
    for cell in made.values():
        cell.stop()


@pytest.fixture(scope="module")
def door(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, StandInCell]
) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("d"), list(cells.values())) as opened:
        yield opened


@pytest.fixture
def make_tenant(door: Door, request: pytest.FixtureRequest) -> MakeTenant:
    """Makes a tenant of a cell, whom the door knows."""

    def make(cell: str) -> int:
        name = f"{request.node.name} {cell} {time.monotonic_ns()}"
        tenant_id = directory.register_tenant(name, cell)
        door.settle(directory.newest_version())
        return tenant_id

    return make


def bearer(token: str) -> str:
    return f"Bearer {token}"


def basic(token: str) -> str:
    return f"Basic {b64encode(f'any:{token}'.encode()).decode()}"


@pytest.mark.parametrize("header", [bearer, basic, lambda token: f"bEARER   {token} "])
def test_a_token_leads_to_the_cell_of_its_tenant(
    door: Door, make_tenant: MakeTenant, header: Callable[[str], str]
) -> None:
    for cell in ("a", "b"):
        token = generate_token(make_tenant(cell))

        answer = door.ask(Authorization=header(token))

        assert answer.json()["cell"] == cell
        assert answer.headers["X-Scheduler-Cell"] == cell


def test_a_cell_learns_the_address_of_the_caller(
    door: Door, make_tenant: MakeTenant
) -> None:
    token = generate_token(make_tenant("a"))

    answer = door.ask(Authorization=bearer(token))

    assert answer.json()["caller"] == "127.0.0.1"


def test_a_token_that_names_no_tenant_leads_to_the_cell_of_its_digest(
    door: Door, make_tenant: MakeTenant
) -> None:
    old = generate_token(None)
    directory.add_credentials({digest(old): make_tenant("b")})
    door.settle(directory.newest_version())

    answers = [door.ask(Authorization=header(old)) for header in (bearer, basic)]

    assert [answer.headers["X-Scheduler-Cell"] for answer in answers] == ["b", "b"]


def test_an_old_token_that_looks_like_a_tenants_is_routed_by_its_digest(
    door: Door, make_tenant: MakeTenant
) -> None:
    other = make_tenant("a")
    old = f"sch_{other}_{'x' * 43}"[:47]
    directory.add_credentials({digest(old): make_tenant("b")})
    door.settle(directory.newest_version())

    assert door.ask(Authorization=bearer(old)).headers["X-Scheduler-Cell"] == "b"


@pytest.mark.parametrize("path", ["/insert", "/delete/", "/cron"])
def test_a_shared_secret_leads_timers_to_the_cell_of_its_tenant(
    door: Door, make_tenant: MakeTenant, path: str
) -> None:
    secret = "correct horse, battery/staple"
    directory.add_credentials({digest(f"{secret} {path}"): make_tenant("b")})
    door.settle(directory.newest_version())

    answer = door.post(path, **{"Scheduler-Secret": f"{secret} {path}"})

    assert answer.headers["X-Scheduler-Cell"] == "b"


@pytest.mark.parametrize("verb", ["complete/", "fail", "heartbeat/"])
def test_a_target_reports_to_the_cell_of_its_run(
    door: Door, make_tenant: MakeTenant, verb: str
) -> None:
    for cell in ("a", "b"):
        run = id_for(NOON, make_tenant(cell))
        header = {"X-Scheduler-Run-Token": "srt_0_x"}

        answers = [
            door.post(f"/runs/{run}/{verb}", **header),
            door.post(f"/runs/{run.hex.upper()}/{verb}", **header),
            door.post(f"/runs/{run}/{verb}", Authorization="Bearer srt_0_x"),
        ]

        found = {answer.headers.get("X-Scheduler-Cell") for answer in answers}
        assert found == {cell}


def test_a_run_of_nobody_leads_to_no_cell_of_its_own(door: Door) -> None:
    run = id_for(NOON, 999_999)

    answer = door.post(f"/runs/{run}/complete", Authorization="Bearer srt_0_x")

    assert "X-Scheduler-Cell" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sch_unknown"},
        {"Authorization": bearer(generate_token(999_999))},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest x"},
    ],
)
def test_what_names_no_tenant_is_left_to_any_cell(
    door: Door, headers: dict[str, str]
) -> None:
    answer = door.ask(**headers)

    assert answer.json()["cell"] in ("a", "b")
    assert "X-Scheduler-Cell" not in answer.headers


def test_the_host_of_a_cell_leads_to_it(door: Door) -> None:
    answers = {cell: door.ask("/login/", Host=f"{cell}.test:80") for cell in "ab"}

    assert {cell: answer.json()["cell"] for cell, answer in answers.items()} == {
        "a": "a",
        "b": "b",
    }
    assert door.ask("/login/").status_code == 404


def test_the_door_answers_for_its_own_health(door: Door) -> None:
    for path in ("/healthz", "/readyz/"):
        assert door.ask(path).json() == {"status": "ok"}
    assert door.ask("/metrics").status_code == 404


def test_a_cell_that_is_down_is_missed_by_its_own_tenants_alone(
    door: Door, make_tenant: MakeTenant
) -> None:
    gone = StandInCell("gone")
    gone.start()
    directory.put_cell("gone", [gone.address])
    door.manage("write_door")
    door.stop_part("haproxy")
    door.start_haproxy()
    lost, kept = (generate_token(make_tenant(cell)) for cell in ("gone", "a"))
    assert door.ask(Authorization=bearer(lost)).json()["cell"] == "gone"

    gone.stop()

    eventually(lambda: door.ask(Authorization=bearer(lost)).status_code == 503)
    refused = door.ask(Authorization=bearer(lost))
    assert refused.headers["X-Scheduler-Cell"] == "gone"
    assert refused.headers["Retry-After"] == "2"
    assert "unavailable" in refused.json()["error"]["message"]
    assert door.ask(Authorization=bearer(kept)).json()["cell"] == "a"
    eventually(lambda: directory.list_doors()[0].servers_up["gone"] == 0)
    assert directory.list_doors()[0].servers_up["a"] == 1


def test_a_cell_that_the_door_does_not_know_yet_is_unavailable(
    door: Door, make_tenant: MakeTenant
) -> None:
    directory.put_cell("new", ["127.0.0.1:1"])
    token = generate_token(make_tenant("new"))

    answer = door.ask(Authorization=bearer(token))

    assert answer.status_code == 503


class Answered(NamedTuple):
    started_at: float
    ended_at: float
    cell: str


class Caller(threading.Thread):
    """Asks again and again, on one connection, and notes which cell answers."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self.answers: list[Answered] = []
        self.is_stopping = threading.Event()
        self._url = f"{url}/tasks/"
        self._headers = {"Authorization": bearer(token)}

    def run(self) -> None:
        with requests.Session() as session:
            while not self.is_stopping.is_set():
                started_at = time.monotonic()
                answer = session.get(self._url, headers=self._headers, timeout=20)
                cell = answer.json().get("cell", str(answer.status_code))
                self.answers.append(Answered(started_at, time.monotonic(), cell))

    def finish(self) -> list[Answered]:
        self.is_stopping.set()
        self.join()
        return self.answers


def test_a_flip_under_load_leaves_no_request_to_the_wrong_cell(
    door: Door, make_tenant: MakeTenant
) -> None:
    moved, other = make_tenant("a"), make_tenant("a")
    callers = [Caller(door.url, generate_token(moved)) for _ in range(4)]
    bystander = Caller(door.url, generate_token(other))
    for caller in (*callers, bystander):
        caller.start()
    flips = []
    for cell in ("b", "a", "b", "a", "b"):
        asked = len(callers[0].answers)
        eventually(lambda: len(callers[0].answers) > asked + 5)  # noqa: B023 (it is called at once)
        began_at = time.monotonic()
        door.settle(directory.flip(moved, cell))
        flips.append(Answered(began_at, time.monotonic(), cell))
    eventually(lambda: callers[0].answers[-1].started_at > flips[-1].ended_at)

    answers = [answer for caller in callers for answer in caller.finish()]

    for flip, following in zip(flips, [*flips[1:], None], strict=True):
        # Those that were wholly between this flip and the next one.
        since = [answer for answer in answers if answer.started_at > flip.ended_at]
        until = following.started_at if following else float("inf")
        settled = {answer.cell for answer in since if answer.ended_at < until}
        assert settled == {flip.cell}
    assert {answer.cell for answer in answers} == {"a", "b"}
    assert {answer.cell for answer in bystander.finish()} == {"a"}


def test_known_tenants_go_on_while_the_directory_is_away(
    door: Door, make_tenant: MakeTenant
) -> None:
    tenants = {generate_token(make_tenant(cell)): cell for cell in ("a", "b", "a")}
    callers = [Caller(door.url, token) for token in tenants]
    for caller in callers:
        caller.start()

    door.stop_part("directory")
    asked = [len(caller.answers) for caller in callers]
    eventually(
        lambda: all(
            len(caller.answers) > count + 100
            for caller, count in zip(callers, asked, strict=True)
        )
    )

    cells = [{answer.cell for answer in caller.finish()} for caller in callers]
    assert cells == [{cell} for cell in tenants.values()]
    # Not even a restart of the door needs the directory.
    door.stop_part("haproxy")
    door.start_haproxy()
    for token, cell in tenants.items():
        assert door.ask(Authorization=bearer(token)).json()["cell"] == cell
    door.start_directory()
    later = make_tenant("b")
    assert door.ask(Authorization=bearer(generate_token(later))).json()["cell"] == "b"


def test_a_door_that_was_restarted_is_told_what_it_missed(
    door: Door, make_tenant: MakeTenant
) -> None:
    tenant = make_tenant("a")
    token = generate_token(tenant)
    kept = (door.folder / "tenants.map").read_text()
    door.stop_part("haproxy")
    version = directory.flip(tenant, "b")
    assert directory.wait_for_doors(version, timeout=0.5) != []
    # As if the file had not been written any more.
    eventually(lambda: (door.folder / "tenants.map").read_text() != kept)
    (door.folder / "tenants.map").write_text(kept)

    door.start_haproxy()
    door.settle(version)

    assert door.ask(Authorization=bearer(token)).json()["cell"] == "b"


def test_update_door_does_once_what_the_follower_does(
    door: Door, make_tenant: MakeTenant
) -> None:
    tenant = make_tenant("a")
    door.stop_part("follower")
    version = directory.flip(tenant, "b")
    assert directory.wait_for_doors(version, timeout=0) != []

    said = door.manage("update_door")

    door.settle(version)
    door.start_follower()
    assert said == "The door door routes as the directory says."
    token = generate_token(tenant)
    assert door.ask(Authorization=bearer(token)).json()["cell"] == "b"


def test_a_tenant_that_is_forgotten_leads_nowhere(
    door: Door, make_tenant: MakeTenant
) -> None:
    tenant, old = make_tenant("a"), generate_token(None)
    directory.add_credentials({digest(old): tenant})
    directory.forget_tenant(tenant, "a")
    door.settle(directory.newest_version())

    for token in (old, generate_token(tenant)):
        answer = door.ask(Authorization=bearer(token))
        assert "X-Scheduler-Cell" not in answer.headers
