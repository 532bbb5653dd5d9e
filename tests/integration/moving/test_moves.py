"""A tenant moves as a whole, once, whatever cuts the move off."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Tenant, User
from tasks_api.domain.schedules import Once
from tasks_api.models import Run, Task
from tasks_api.moving import moves, taking_back
from tasks_api.moving.errors import MoveRefused
from tasks_api.scheduler import rescue
from tests.acceptance.harness import ROOT
from tests.integration.support.moves import (
    STEPS,
    CutOff,
    command_environment,
    cut_off_at,
    ignore,
    move_and_kill,
    read_state,
)
from tests.integration.support.stored_tasks import store_task, take_due
from tests.integration.support.tenant_rows import TABLES, count_rows, find_strays
from tests.integration.support.tenant_steps import Side
from tests.integration.support.two_databases import OtherDatabase, own_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_request_is_under_way(sides: list[Side]) -> None:
    """Nobody else would end it, and the move waits for that."""
    running = Run.objects.filter(state="running")
    running.update(wake_at=timezone.now() - timedelta(hours=1))
    rescue.rescue_runs()


def test_every_table_has_rows_of_the_tenant_that_moves(alpha: Tenant) -> None:
    rows = count_rows()

    assert [table for table in TABLES if not rows[alpha.pk, table]] == []


def test_a_tenant_moves_with_all_of_its_rows(
    sides: list[Side], other: OtherDatabase
) -> None:
    alpha, beta = (side.tenant for side in sides)
    before, beta_before = read_state(alpha), read_state(beta)

    moves.move_tenant(alpha, other.url, ignore)

    with other.here():
        assert read_state(alpha) == before
        assert find_strays() == {}
        assert not Tenant.objects.filter(pk=beta.pk).exists()
    assert read_state(beta) == beta_before
    alpha.refresh_from_db()
    assert alpha.moved_at is not None
    assert take_due() == [] or all(run.tenant_id == beta.pk for run in take_due())


def test_a_tenant_works_where_it_has_moved(
    sides: list[Side], other: OtherDatabase
) -> None:
    side = sides[0]
    task = side.make_task(side.owner)

    moves.move_tenant(side.tenant, other.url, ignore)

    with other.here():
        created = side.send(
            "post",
            "/tasks/",
            {
                "task_type": "one_time",
                "url": "http://x.test/",
                "run_datetime": "2999-01-01T00:00:00Z",
            },
        )
        assert Task.objects.get(pk=created["id"]).periodic_task_id
        Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())
        assert task.pk in {run.task_id for run in take_due()}
        side.send("delete", f"/tasks/id/{created['id']}")
        accounts.add_user(side.tenant, "anew")


def test_a_move_that_is_cut_off_at_each_step_goes_on(
    alpha: Tenant, other: OtherDatabase
) -> None:
    before = read_state(alpha)
    for step in STEPS:
        with pytest.raises(CutOff):
            moves.move_tenant(alpha, other.url, cut_off_at(step))

    moves.move_tenant(alpha, other.url, ignore)

    with other.here():
        assert read_state(alpha) == before
    alpha.refresh_from_db()
    assert alpha.moved_at is not None


def test_a_move_is_taken_back_until_the_tenant_has_arrived(
    alpha: Tenant, other: OtherDatabase
) -> None:
    before = read_state(alpha)
    for step in STEPS[:-1]:
        with pytest.raises(CutOff):
            moves.move_tenant(alpha, other.url, cut_off_at(step))

        taking_back.abort_move(alpha, other.url, ignore)

        alpha.refresh_from_db()
        assert (alpha.frozen_at, alpha.moves_to) == (None, "")
        assert read_state(alpha) == before
        with other.here():
            assert not Tenant.objects.filter(pk=alpha.pk).exists()


def test_a_move_is_not_taken_back_after_the_arrival(
    alpha: Tenant, other: OtherDatabase
) -> None:
    with pytest.raises(CutOff):
        moves.move_tenant(alpha, other.url, cut_off_at("arrived"))

    with pytest.raises(MoveRefused, match="lives there"):
        taking_back.abort_move(alpha, other.url, ignore)

    alpha.refresh_from_db()
    assert alpha.frozen_at is not None


def test_a_process_that_is_killed_leaves_a_move_that_goes_on(
    alpha: Tenant, other: OtherDatabase
) -> None:
    before = read_state(alpha)
    for step in ("frozen", "put aside", "tasks_api_run:", "verified"):
        move_and_kill(alpha, other.url, step)

    moves.move_tenant(alpha, other.url, ignore)

    with other.here():
        assert read_state(alpha) == before


def test_a_tenant_moves_to_and_fro_twice(alpha: Tenant, other: OtherDatabase) -> None:
    before = read_state(alpha)
    for _ in range(2):
        moves.move_tenant(alpha, other.url, ignore)
        call_command("forget_moved_tenant", alpha.name, "--yes")
        home = own_url()
        with other.here():
            there = Tenant.objects.get(pk=alpha.pk)
            moves.move_tenant(there, home, ignore)
            call_command("forget_moved_tenant", alpha.name, "--yes")

    assert read_state(alpha) == before
    alpha.refresh_from_db()
    assert (alpha.frozen_at, alpha.moved_at, alpha.moves_to) == (None, None, "")
    with other.here():
        assert sum(count_rows().values()) == sum(
            size for (tenant, _), size in count_rows().items() if tenant is None
        )


def test_what_is_left_of_a_tenant_is_forgotten(
    sides: list[Side], other: OtherDatabase
) -> None:
    alpha, beta = (side.tenant for side in sides)
    beta_before = read_state(beta)
    with pytest.raises(CommandError, match="lives here"):
        call_command("forget_moved_tenant", alpha.name, "--yes")
    moves.move_tenant(alpha, other.url, ignore)

    call_command("forget_moved_tenant", alpha.name, "--yes")

    assert [table for tenant, table in count_rows() if tenant == alpha.pk] == []
    assert read_state(beta) == beta_before


def refuse(alpha: Tenant, url: str, match: str) -> None:
    with pytest.raises(MoveRefused, match=match):
        moves.move_tenant(alpha, url, ignore)
    alpha.refresh_from_db()
    assert alpha.frozen_at is None


def test_a_target_that_cannot_take_the_tenant_is_refused(
    alpha: Tenant, other: OtherDatabase
) -> None:
    refuse(alpha, own_url(), "in which Alpha lives")
    refuse(alpha, "mysql://x/y", "Say the URL")
    refuse(alpha, "postgresql://nobody@127.0.0.1:1/x", "does not answer")
    other.execute(
        "INSERT INTO accounts_tenant (name, callback_url) VALUES ('Alpha', '')"
    )
    refuse(alpha, other.url, "another tenant of the name Alpha")
    other.execute("DELETE FROM accounts_tenant")
    other.execute("ALTER TABLE tasks_api_lane ADD COLUMN more integer")
    refuse(alpha, other.url, "different tables")


def test_a_target_that_makes_other_ids_of_runs_is_refused(
    alpha: Tenant, other: OtherDatabase, colleague: User
) -> None:
    with other.here():
        owner = accounts.provision_user("Gamma", "gil")
        store_task(owner, Once(timezone.now() + timedelta(days=1)))

    refuse(alpha, other.url, "ids of runs with another key")


def test_a_row_that_is_in_the_way_is_named_and_nothing_is_stored(
    alpha: Tenant, other: OtherDatabase
) -> None:
    ann = alpha.users.earliest("pk")
    with other.here():
        gamma = Tenant.objects.create(name="Gamma")
        User.objects.create(pk=ann.pk, tenant=gamma, name="x", username="x")

    with pytest.raises(MoveRefused, match=r"accounts_user.*number_rows"):
        moves.move_tenant(alpha, other.url, ignore)

    with other.here():
        assert not Tenant.objects.filter(pk=alpha.pk).exists()
    taking_back.abort_move(alpha, other.url, ignore)


def test_two_processes_do_not_move_a_tenant_at_once(
    alpha: Tenant, other: OtherDatabase
) -> None:
    def report(step: str) -> None:
        if step == "frozen":
            command = [sys.executable, "manage.py", "move_tenant", alpha.name]
            second = subprocess.run(
                [*command, "--to", other.url],
                cwd=ROOT,
                env=command_environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert "Another process moves" in second.stderr

    moves.move_tenant(alpha, other.url, report)


def test_rights_of_staff_stay_behind(alpha: Tenant, other: OtherDatabase) -> None:
    ann = alpha.users.earliest("pk")
    User.objects.filter(pk=ann.pk).update(is_staff=True, is_superuser=True)

    moves.move_tenant(alpha, other.url, ignore)

    with other.here():
        there = User.objects.get(pk=ann.pk)
        assert (there.is_staff, there.is_superuser) == (False, False)
