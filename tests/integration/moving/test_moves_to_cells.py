"""A tenant moves to a cell by its name, and its requests go there with it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count

import psycopg
import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import directory
from accounts import services as accounts
from accounts.directory import DirectoryError
from accounts.models import AuditEntry, Tenant
from tasks_api.models import Run, Task
from tasks_api.moving import moves, taking_back
from tasks_api.moving.errors import MoveRefused
from tasks_api.scheduler import rescue
from tasks_api.services import erasure
from tests.acceptance.harness import eventually
from tests.integration.support.directories import made_database
from tests.integration.support.moves import (
    STEPS,
    CutOff,
    cut_off_at,
    ignore,
    move_and_kill,
    read_state,
    start_move,
    wait_for_step,
)
from tests.integration.support.stored_tasks import take_due
from tests.integration.support.tenant_rows import count_rows, find_strays
from tests.integration.support.tenant_steps import Side
from tests.integration.support.two_databases import OtherDatabase, own_url

pytestmark = pytest.mark.django_db(transaction=True)

HERE, THERE = "here", "there"
FLIPPED_STEPS = ("flipped", "thawed", "moved")
# Those that are not of the transaction in which the tenant arrives.
OUTSIDE_STEPS = ("frozen", "put aside", "arrived", *FLIPPED_STEPS)
COUNT_BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@pytest.fixture(autouse=True)
def cells(
    sides: list[Side], other: OtherDatabase, settings: LazySettings
) -> Iterator[None]:
    """This process is the cell `here`, with all tenants; `there` is another one."""
    running = Run.objects.filter(state="running")
    running.update(wake_at=timezone.now() - timedelta(hours=1))
    rescue.rescue_runs()
    with made_database() as url:
        settings.DIRECTORY_URL = url
        settings.SCHEDULER_CELL = HERE
        directory.put_cell(HERE, ["127.0.0.1:8001"], database=own_url())
        directory.put_cell(THERE, ["127.0.0.1:8002"], database=other.url)
        names = dict(Tenant.objects.values_list("pk", "name"))
        directory.register_tenants(HERE, names)
        yield


def record_door(version: int) -> None:
    with directory.open_directory() as session:
        directory.record_door(session, "door", version, {})


def require_at_home(alpha: Tenant) -> None:
    alpha.refresh_from_db()
    assert (alpha.frozen_at, alpha.moves_to) == (None, "")
    assert directory.cell_of(alpha.pk) == HERE


def require_moved(alpha: Tenant, other: OtherDatabase) -> None:
    alpha.refresh_from_db()
    assert alpha.moved_at is not None
    assert directory.cell_of(alpha.pk) == THERE
    with other.here():
        there = Tenant.objects.get(pk=alpha.pk)
        assert (there.frozen_at, there.moves_to, there.moved_at) == (None, "", None)
        assert not Task.objects.filter(tenant=there, is_parked=True).exists()
        assert not Run.objects.filter(tenant=there, stage="parked").exists()
        assert find_strays() == {}


def test_a_tenant_moves_to_a_cell_with_its_requests(
    alpha: Tenant, other: OtherDatabase
) -> None:
    before = read_state(alpha)
    seen: list[str] = []

    moves.move_tenant(alpha, THERE, seen.append)

    require_moved(alpha, other)
    assert [step for step in seen if step in STEPS + FLIPPED_STEPS] == [
        *STEPS,
        *FLIPPED_STEPS,
    ]
    with other.here():
        assert read_state(alpha) == before
        newest = AuditEntry.objects.filter(tenant=alpha.pk).order_by("-pk")[:2]
        assert [entry.action for entry in newest] == ["tenant.arrive", "tenant.freeze"]
    # Said again, it changes nothing.
    moves.move_tenant(alpha, THERE, ignore)
    require_moved(alpha, other)


@pytest.fixture
def caller(sides: list[Side]) -> Callable[[str], int]:
    """Asks with a token of the tenant, as the database of this moment knows it."""
    api = APIClient()
    token = accounts.issue_token(sides[0].owner)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    numbers = count()

    def ask(method: str) -> int:
        if method == "get":
            return int(api.get("/lanes/").status_code)
        body = {"name": f"new-{next(numbers)}"}
        return int(api.post("/lanes/", body, format="json").status_code)

    return ask


def test_no_cell_answers_wrongly_at_any_step(
    alpha: Tenant, other: OtherDatabase, caller: Callable[[str], int]
) -> None:
    answers: dict[str, list[int]] = {}

    def report(step: str) -> None:
        if step in OUTSIDE_STEPS:
            here = [caller("get"), caller("post")]
            with other.here():
                answers[step] = [*here, caller("get"), caller("post")]
                if step in ("arrived", "flipped"):
                    assert take_due() == []

    moves.move_tenant(alpha, THERE, report)

    # Reads and changes here, and there.
    assert answers["frozen"] == answers["put aside"] == [200, 503, 401, 401]
    assert answers["arrived"] == [200, 503, 200, 503]
    assert answers["flipped"][2:] == [200, 503]
    assert answers["thawed"] == [503, 503, 200, 201]
    assert answers["moved"][:3] == [503, 503, 200]


def test_a_move_that_is_cut_off_at_each_step_goes_on(
    alpha: Tenant, other: OtherDatabase
) -> None:
    before = read_state(alpha)
    for step in STEPS + FLIPPED_STEPS:
        with pytest.raises(CutOff):
            moves.move_tenant(alpha, THERE, cut_off_at(step))

    moves.move_tenant(alpha, THERE, ignore)

    require_moved(alpha, other)
    with other.here():
        assert read_state(alpha) == before


@pytest.mark.parametrize("step", ["arrived", "flipped"])
def test_a_process_that_is_killed_before_or_after_the_flip_leaves_a_move_that_goes_on(
    alpha: Tenant, other: OtherDatabase, step: str
) -> None:
    before = read_state(alpha)
    move_and_kill(alpha, THERE, step)

    moves.move_tenant(alpha, THERE, ignore)

    require_moved(alpha, other)
    with other.here():
        assert read_state(alpha) == before


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_process_that_is_killed_in_the_flip_leaves_a_choice(
    alpha: Tenant, other: OtherDatabase, settings: LazySettings, goes_on: bool
) -> None:
    before = read_state(alpha)
    with psycopg.connect(settings.DIRECTORY_URL) as holder:
        holder.execute(
            "SELECT FROM directory_tenant WHERE id = %s FOR UPDATE", [alpha.pk]
        )
        process = start_move(alpha, THERE)
        wait_for_step(process, "arrived")
        with psycopg.connect(settings.DIRECTORY_URL, autocommit=True) as watcher:
            eventually(lambda: watcher.execute(COUNT_BLOCKED).fetchone() == (1,))
        process.send_signal(signal.SIGKILL)
        process.communicate()

    if goes_on:
        moves.move_tenant(alpha, THERE, ignore)
        require_moved(alpha, other)
    elif directory.cell_of(alpha.pk) == THERE:
        # The server had the statement already, and has committed it.
        with pytest.raises(MoveRefused, match="lives there"):
            taking_back.abort_move(alpha, None, ignore)
    else:
        taking_back.abort_move(alpha, None, ignore)
        require_at_home(alpha)
        assert read_state(alpha) == before


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_move_is_taken_back_until_the_flip(
    alpha: Tenant, other: OtherDatabase, step: str
) -> None:
    before = read_state(alpha)
    with pytest.raises(CutOff):
        moves.move_tenant(alpha, THERE, cut_off_at(step))

    # The row of the tenant knows the cell.
    taking_back.abort_move(alpha, None, ignore)

    require_at_home(alpha)
    assert read_state(alpha) == before
    with other.here():
        assert not Tenant.objects.filter(pk=alpha.pk).exists()
        assert [table for tenant, table in count_rows() if tenant == alpha.pk] == []
    # It may move again.
    moves.move_tenant(alpha, THERE, ignore)
    require_moved(alpha, other)


def test_a_move_that_is_taken_back_halfway_is_taken_back_in_the_end(
    alpha: Tenant, other: OtherDatabase
) -> None:
    before = read_state(alpha)
    with pytest.raises(CutOff):
        moves.move_tenant(alpha, THERE, cut_off_at("arrived"))

    def cut_off(reported: str) -> None:
        raise CutOff

    with pytest.raises(CutOff):
        taking_back.abort_move(alpha, None, cut_off)
    with pytest.raises(MoveRefused, match="Say --abort again"):
        moves.move_tenant(alpha, THERE, ignore)

    taking_back.abort_move(alpha, None, ignore)

    require_at_home(alpha)
    assert read_state(alpha) == before


@pytest.mark.parametrize("step", FLIPPED_STEPS)
def test_there_is_no_way_back_after_the_flip(alpha: Tenant, step: str) -> None:
    with pytest.raises(CutOff):
        moves.move_tenant(alpha, THERE, cut_off_at(step))

    with pytest.raises(MoveRefused, match="lives there"):
        taking_back.abort_move(alpha, None, ignore)

    assert directory.cell_of(alpha.pk) == THERE


def test_a_door_that_does_not_follow_is_named_and_delays_nobody_else(
    alpha: Tenant, other: OtherDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "DOOR_PATIENCE", 0.1)
    monkeypatch.setattr("tasks_api.moving.forgetting.DOOR_PATIENCE", 0.1)
    record_door(directory.newest_version())
    seen: list[str] = []

    moves.move_tenant(alpha, THERE, seen.append)

    require_moved(alpha, other)
    assert "These doors do not follow, and callers there get 503: door" in seen[-2]
    with pytest.raises(CommandError, match="These doors may send requests"):
        call_command("forget_moved_tenant", alpha.name, "--yes")
    record_door(directory.newest_version())
    call_command("forget_moved_tenant", alpha.name, "--yes")
    assert directory.cell_of(alpha.pk) == THERE


def test_a_tenant_that_the_directory_sends_here_is_not_forgotten(
    alpha: Tenant, other: OtherDatabase
) -> None:
    moves.move_tenant(alpha, other.url, ignore)

    with pytest.raises(CommandError, match="assign_tenant first"):
        call_command("forget_moved_tenant", alpha.name, "--yes")

    directory.flip(alpha.pk, THERE)
    call_command("forget_moved_tenant", alpha.name, "--yes")


def test_a_tenant_moves_to_and_fro(
    alpha: Tenant, other: OtherDatabase, settings: LazySettings
) -> None:
    before = read_state(alpha)
    moves.move_tenant(alpha, THERE, ignore)
    call_command("forget_moved_tenant", alpha.name, "--yes")
    with other.here():
        settings.SCHEDULER_CELL = THERE
        there = Tenant.objects.get(pk=alpha.pk)
        moves.move_tenant(there, HERE, ignore)
        call_command("forget_moved_tenant", alpha.name, "--yes")
    settings.SCHEDULER_CELL = HERE

    require_at_home(alpha)
    assert read_state(alpha) == before


def test_what_moved_on_from_there_is_not_brought_there_again(
    alpha: Tenant, other: OtherDatabase
) -> None:
    moves.move_tenant(alpha, THERE, ignore)
    with other.here():
        Tenant.objects.filter(pk=alpha.pk).update(frozen_at=timezone.now())
        there = Tenant.objects.get(pk=alpha.pk)
        erasure.erase_moved_tenant(there, report=ignore)

    with pytest.raises(MoveRefused, match="lives there"):
        moves.move_tenant(alpha, THERE, ignore)


def refuse(alpha: Tenant, to: str, match: str) -> None:
    with pytest.raises((MoveRefused, DirectoryError), match=match):
        moves.move_tenant(alpha, to, ignore)
    require_at_home(alpha)


def test_a_cell_that_cannot_take_the_tenant_is_refused(
    alpha: Tenant, settings: LazySettings
) -> None:
    directory.put_cell("bare", ["127.0.0.1:8003"])

    refuse(alpha, "nowhere", "knows no cell nowhere")
    refuse(alpha, HERE, "the cell here itself")
    refuse(alpha, "bare", "does not know the database of the cell bare")
    with pytest.raises(CommandError, match="Say the cell"):
        call_command("move_tenant", alpha.name)
    directory.flip(alpha.pk, "bare")
    with pytest.raises(MoveRefused, match="in the cell bare"):
        moves.move_tenant(alpha, THERE, ignore)
    directory.flip(alpha.pk, HERE)
    settings.SECRET_KEY = "another key, which sealed nothing of what is stored here"
    refuse(alpha, THERE, "SECRET_KEY does not open")


def test_a_cell_keeps_its_database_when_its_servers_change(
    other: OtherDatabase,
) -> None:
    call_command("add_cell", THERE, "--server", "127.0.0.1:9000")

    assert directory.database_of(THERE) == other.url
    with directory.open_directory() as session:
        stored = session.execute("SELECT database FROM directory_cell").fetchall()
    assert not any("postgresql" in database for (database,) in stored)
