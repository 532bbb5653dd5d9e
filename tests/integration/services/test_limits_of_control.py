"""Quotas and the bounds of tokens hold for what makes many runs, or moves fire times."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import TokenBounds, User
from accounts.services import token_bounds
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import QuotaExceeded
from tasks_api.models import Lane, Run, Task
from tasks_api.services import pausing, waiting_limits
from tasks_api.services.pausing import Hold
from tests.integration.support.backfills import (
    backfilled,
    hourly_task,
    let_be_due,
    live_backfills,
    settle,
)
from tests.integration.support.calendars import change_calendar, make_calendar
from tests.integration.support.reconciliation_model import let_pass, settle_all
from tests.integration.support.stored_tasks import HOUR, take_due, take_waiting
from tests.integration.support.token_clients import client_with_token

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
URL = "https://api.example.com/hooks/a"


def bind(user: User, **bounds: Any) -> TokenBounds:
    assert user.tenant is not None
    user.bounds = token_bounds.store_bounds(
        user.tenant, Bounds(**bounds), parent=None, now=timezone.now()
    )
    return user.bounds


def test_a_backfill_makes_no_more_runs_than_the_bounds_bear(user: User) -> None:
    bind(user, runs_per_day=3)
    task = hourly_task(user)
    settle(task)
    Run.objects.filter(task=task, state="pending").delete()

    for dry_run in (True, False):
        with pytest.raises(QuotaExceeded, match="more of the token"):
            backfilled(user, task, dry_run=dry_run)

    assert not live_backfills(task)


def test_backfilled_runs_start_within_the_bounds(user: User) -> None:
    bind(user, runs_per_day=3)
    task = hourly_task(user)
    settle(task)
    made = backfilled(user, task, since=timezone.now() - 5 * HOUR)
    let_be_due(task)

    started = take_waiting()

    # One started before.
    assert (made.runs, len(started)) == (4, 2)


def test_a_backfill_makes_no_more_runs_than_the_quota_bears(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_limits, "MAX_WAITING_OF_TENANT", 4)
    assert user.tenant is not None
    user.tenant.max_runs_per_day = 1
    user.tenant.save()
    task = hourly_task(user)
    settle(task)

    with pytest.raises(QuotaExceeded, match="5 more of the tenant"):
        backfilled(user, task, since=timezone.now() - 9 * HOUR)

    assert backfilled(user, task, since=timezone.now() - 5 * HOUR).runs == 4


def test_what_a_pause_catches_up_on_starts_within_the_bounds(user: User) -> None:
    bind(user, runs_per_day=3)
    task = hourly_task(user, age=timedelta())
    hold = Hold(catch_up=CatchUp.ALL)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now(), hold=hold)
    let_pass(task, 9 * HOUR)

    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())
    settle_all()
    started = take_due() + take_waiting()

    assert len(started) == 3
    states = Run.objects.filter(task=task).values_list("state", flat=True)
    assert Counter(states) == {"running": 3, "pending": 6}


def later(days: float) -> str:
    return (timezone.now() + timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture
def holder(user: User) -> APIClient:
    """A client with a token that bounds the host, and a horizon of a week."""
    wide = client_with_token(user)
    bounds = {"hosts": ["api.example.com"], "horizon": 7 * 24 * 3600}
    made = wide.post("/tokens/", {"bounds": bounds}, format="json").json()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {made['token']}")
    return client


def daily(**more: Any) -> dict[str, Any]:
    body = {"task_type": "periodic", "frequency": 86_400, "url": URL, "name": "n"}
    times = {"start_datetime": later(0.5), "end_datetime": later(6)}
    return {**body, **times, **more}


def limit_of(answer: Any) -> str:
    assert answer.status_code == 403, answer.content
    return str(answer.json()["error"]["limit"])


def test_no_calendar_leads_beyond_the_horizon(holder: APIClient, user: User) -> None:
    make_calendar(user, "days", dates=[later(1)[:10], later(2)[:10]])
    # It fires once before its end, and its calendar could let it go on or move it.
    endless = daily(end_datetime=None, calendars={"only": ["days"]})
    # The midnight after next comes after the start, at any time of the day.
    yearly = {
        "cron": f"0 0 {(timezone.now() + 2 * DAY):%d %m} *",
        "frequency": None,
        "end_datetime": later(90),
    }
    moved = {"exclude": ["days"], "on_excluded": "next_business_day"}
    for body in (endless, daily(**yearly, calendars=moved)):
        task = holder.post("/tasks/", daily(), format="json")["Location"]
        answers = [
            holder.post("/tasks/", {**body, "name": "m"}, format="json"),
            holder.put("/tasks/by-name/n/", body, format="json"),
            holder.patch(task, body, format="json"),
            client_with_token(user).patch(task, body, format="json"),
            holder.post("/tasks/apply/", {"tag": "t", "tasks": [body]}, format="json"),
        ]
        assert [limit_of(each) for each in answers] == ["horizon"] * 5
        holder.delete(task)

    assert holder.post("/tasks/", daily(**yearly), format="json").status_code == 201
    within = daily(name="o", calendars=moved)
    assert holder.post("/tasks/", within, format="json").status_code == 201


def test_no_bulk_change_leaves_the_bounds(holder: APIClient, user: User) -> None:
    task = holder.post("/tasks/", daily(tags=["x"]), format="json")["Location"]
    wide = client_with_token(user)

    for wanted in ({"url_host": "evil.example"}, {"end_datetime": later(9)}):
        asked = {"filter": {"tag": "x"}, "set": wanted, "dry_run": True}
        assert limit_of(wide.post("/tasks/change/", asked, format="json"))
    asked = {"filter": {"tag": "x"}, "set": {"add_tags": ["y"]}, "dry_run": True}
    plan = wide.post("/tasks/change/", asked, format="json")
    assert plan.status_code == 200
    assert holder.post("/tasks/change/", asked, format="json").status_code == 403
    assert wide.get(task).json()["url"] == URL


def test_a_bounded_task_in_a_lane_keeps_its_bounds(
    holder: APIClient, user: User
) -> None:
    assert user.tenant
    Lane.objects.create(tenant=user.tenant, name="crm", rate_limit=1)
    make_calendar(user, "freeze", dates=["2090-01-01"])
    more = {"lane": "crm", "calendars": {"hold": ["freeze"]}}
    task = holder.post("/tasks/", daily(**more), format="json")["Location"]

    change_calendar(user, "freeze", dates=["2090-01-02"])

    assert Task.objects.get().bounds is not None
    answer = holder.patch(task, {"url": "https://evil.example/"}, format="json")
    assert limit_of(answer) == "hosts"
    closed = [
        holder.get("/lanes/"),
        holder.patch("/lanes/crm/", {"rate": None}, format="json"),
        holder.post("/lanes/crm/pause/"),
        holder.get("/lanes/crm/forecast/"),
        holder.post("/calendars/", {"name": "c"}, format="json"),
        holder.get("/calendars/freeze/"),
        holder.put("/calendars/freeze/", {"dates": []}, format="json"),
        holder.get(f"/tasks/{Task.objects.get().pk}/why/"),
        holder.post(f"/tasks/{Task.objects.get().pk}/backfill/", {}, format="json"),
    ]
    assert [each.status_code for each in closed] == [403] * len(closed)
