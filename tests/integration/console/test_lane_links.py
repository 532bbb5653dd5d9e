"""Tasks and runs name their lane, and their lists filter by it."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from tasks_api.models import Lane, Task
from tests.conftest import MakeTask
from tests.integration.support.lane_rows import (
    RUN_ROW,
    TASK_ROW,
    make_lane,
    run_in_lane,
    task_in_lane,
)
from tests.integration.support.stored_runs import store_run
from tests.integration.support.task_pages import HTMX, text_of

pytestmark = pytest.mark.django_db


def test_a_run_that_waits_for_a_lane_says_so_with_a_link(
    member: Client, tenant_admin: User, user: User
) -> None:
    make_lane(tenant_admin)
    task = task_in_lane(user)
    run = run_in_lane(task)
    path = f"/app/runs/{run.pk}/"
    first = member.get(path, headers=HTMX)
    known = {**HTMX, "If-None-Match": first["ETag"]}
    assert member.get(path, headers=known).status_code == 304
    Lane.objects.update(paused_at=timezone.now(), hold_reason="Night")

    page = text_of(member, path)

    assert 'href="/app/lanes/crm"' in page
    assert "it waits for its turn, and starts at" in page
    assert "paused: Night" in page
    assert "Wait for its lane" in page
    # The lane has changed, and the run has not.
    assert member.get(path, headers=known).status_code == 200


def test_a_run_of_a_removed_lane_has_its_page(
    member: Client, tenant_admin: User, user: User
) -> None:
    lane = make_lane(tenant_admin)
    run = run_in_lane(task_in_lane(user))
    Task.objects.update(lane=None, lane_name="")
    lane.delete()

    assert "Waits for lane crm." in text_of(member, f"/app/runs/{run.pk}/")


def test_a_task_names_its_lane_and_that_runs_wait_there(
    member: Client, tenant_admin: User, user: User
) -> None:
    make_lane(tenant_admin, host="crm.example.com")
    by_name, by_host = task_in_lane(user), task_in_lane(user, "")
    run_in_lane(by_host)

    waits, other = (
        text_of(member, f"/app/tasks/{each.pk}/") for each in (by_host, by_name)
    )

    for page in (waits, other, text_of(member)):
        assert 'href="/app/lanes/crm">lane crm</a>' in page
    assert "runs wait for their turn there" in waits
    assert "runs wait for their turn there" not in other


def test_the_list_of_tasks_filters_by_lane(
    member: Client, tenant_admin: User, user: User, make_task: MakeTask
) -> None:
    make_lane(tenant_admin)
    make_lane(tenant_admin, "erp")
    task, _, _ = task_in_lane(user), task_in_lane(user, "erp"), make_task()

    assert TASK_ROW.findall(text_of(member, "/app/tasks/?lane=crm")) == [str(task.pk)]
    assert TASK_ROW.findall(text_of(member, "/app/tasks/?lane=no")) == []


def test_the_list_of_runs_filters_by_lane_and_redrives_only_chosen_ones(
    member: Client, tenant_admin: User, user: User, make_task: MakeTask
) -> None:
    make_lane(tenant_admin)
    task = task_in_lane(user)
    ran, _ = store_run(task, ago=9, lane_id=task.lane_id), store_run(make_task(), ago=8)

    page = text_of(member, "/app/runs/?lane=crm")
    asked = member.post("/app/runs/redrive/?lane=crm", {"what": "all"}, follow=True)

    assert RUN_ROW.findall(page) == [str(ran.pk)]
    assert 'name="what" value="chosen"' in page
    assert 'name="what" value="all"' not in page
    assert "None of these runs can be redriven" in asked.content.decode()
