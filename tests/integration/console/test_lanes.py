"""The pages of lanes: their numbers, what they do now, and what comes."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Tenant, User
from tasks_api.domain.schedules import Cron
from tasks_api.domain.states import BreakerState, RunState
from tasks_api.models import Lane, LaneCeiling
from tests.integration.support.lane_rows import (
    RUN_ROW,
    TASK_ROW,
    make_lane,
    run_in_lane,
    task_in_lane,
)
from tests.integration.support.stored_runs import store_run
from tests.integration.support.task_pages import HTMX, statements, text_of

pytestmark = pytest.mark.django_db

LANES = "/app/lanes/"
NEW = "/app/lanes/new/"
CRM = f"{LANES}crm/"
COUNT = re.compile(r'class="plain" href="([^"]+)">([\d,]+)\+?</a>')


def words_of(browser: Client, path: str = LANES) -> str:
    """The text of a page, without its tags and with single spaces."""
    text = re.sub(r"<[^>]+>", " ", text_of(browser, path))
    return " ".join(unescape(text).split())


def test_the_list_teaches_while_there_is_no_lane(member: Client, admin: Client) -> None:
    for browser in (member, admin):
        page = text_of(browser, LANES)
        assert "There is no lane yet" in page
        assert "curl http://testserver/lanes/" in page
        assert "scheduler lanes create crm" in page
    assert NEW[:-1] in text_of(admin, LANES)
    assert NEW[:-1] not in text_of(member, LANES)


def test_each_number_is_the_length_of_the_list_that_it_links_to(
    admin: Client, tenant_admin: User, user: User, stranger: User
) -> None:
    make_lane(tenant_admin, rate_limit=20)
    for owner in (user, tenant_admin):
        task = task_in_lane(owner)
        for nth in range(2):
            run_in_lane(task, ago=3000, nth=nth)
        run_in_lane(task, state=RunState.RETRYING, ago=5)
        run_in_lane(task, state=RunState.RUNNING, ago=2)
        store_run(task, ago=9, lane_id=task.lane_id)
    run_in_lane(task_in_lane(stranger_in_lane(stranger)))

    for path in (LANES, CRM):
        numbers = [
            (unescape(url), int(number))
            for url, number in COUNT.findall(text_of(admin, path))
        ]
        assert [number for _, number in numbers] == [6, 2, 2]
        for url, number in numbers:
            page = text_of(admin, url)
            assert len(RUN_ROW.findall(page) or TASK_ROW.findall(page)) == number


def stranger_in_lane(stranger: User) -> User:
    """A user of another tenant, which has a lane of the same name."""
    make_lane(stranger)
    return stranger


def test_a_member_sees_the_line_and_which_runs_are_own(
    member: Client, tenant_admin: User, user: User
) -> None:
    make_lane(tenant_admin)
    mine, other = task_in_lane(user, name="mine"), task_in_lane(tenant_admin, name="no")
    run_in_lane(mine)
    for nth in range(2):
        run_in_lane(other, nth=nth)

    page = words_of(member, CRM)

    assert "3 1 of yours waiting" in page
    assert "2 1 of yours tasks" in page
    assert "mine" in page
    listed = text_of(member, "/app/runs/?lane=crm&state=pending,retrying&last=all")
    assert len(RUN_ROW.findall(listed)) == 1


def test_the_pages_say_what_a_lane_does_now(member: Client, tenant_admin: User) -> None:
    now = timezone.now()
    later = now + timedelta(minutes=10)
    lane = make_lane(tenant_admin, rate_limit=20, breaker_after=3)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "open"),
        ({"paused_at": now, "hold_reason": "Night shift"}, "paused Night shift"),
        ({"paused_at": now, "resume_at": later}, "paused until"),
        ({"held_until": later}, "held until"),
        ({"slowdown": 0.25}, "slowed to 25%"),
        (
            {"breaker_state": BreakerState.OPEN, "breaker_until": later, "failures": 3},
            "breaker open until",
        ),
        ({"breaker_state": BreakerState.HALF_OPEN}, "breaker half open"),
    ]
    start = {
        field.attname: field.value_from_object(lane) for field in Lane._meta.fields
    }
    for columns, words in cases:
        Lane.objects.filter(pk=lane.pk).update(**{**start, **columns})
        assert words in words_of(member), columns
        assert words in words_of(member, CRM), columns


def test_a_lane_shows_its_limits_and_the_ceilings_of_operators(
    member: Client, tenant_admin: User, alpha: Tenant
) -> None:
    make_lane(tenant_admin, rate_limit=20, burst=4, concurrency=5, breaker_after=10)
    LaneCeiling.objects.create(tenant=alpha, max_per_second=8, max_concurrency=50)

    page = words_of(member, CRM)

    for sentence in (
        "20 requests may start a second, of which 4 may start at once.",
        "At most 5 requests are under way at once.",
        "After 10 failures in a row, nothing starts for 30 seconds.",
        "The operators of the service let 8 requests start a second.",
    ):
        assert sentence in page
    assert "be under way at once." not in page


def test_the_load_marks_the_hours_that_do_not_fit(
    admin: Client, tenant_admin: User
) -> None:
    make_lane(tenant_admin)
    # The tasks are stored before the lane has its rate, which would refuse them.
    once_a_day = Cron(f"0 {(timezone.now() + timedelta(hours=3)).hour} * * *")
    for _ in range(70):
        task_in_lane(tenant_admin, schedule=once_a_day)
    Lane.objects.update(rate_limit=20)
    fits = text_of(admin, CRM)
    Lane.objects.update(rate_limit=60, rate_per="hour")

    page = text_of(admin, CRM)

    assert "All of them fit" in fits
    assert 'class="mark"' not in fits
    assert "1 hour does not fit" in page
    assert page.count('<polygon class="mark"') == 1
    assert '<line class="limit"' in page
    [hour] = re.findall(r'<li><a href="([^"]+)">\w+ \d\d:00.\d\d:00 UTC</a>: 70', page)
    listed = text_of(admin, unescape(hour))
    assert listed.count("/app/tasks/") >= 70


def test_a_lane_without_a_rate_has_no_limit_in_its_chart(
    admin: Client, tenant_admin: User
) -> None:
    make_lane(tenant_admin)
    task_in_lane(tenant_admin)

    page = text_of(admin, CRM)

    assert "nothing waits for one" in page
    assert 'class="limit"' not in page


def test_a_lane_of_another_tenant_is_not_found(member: Client, stranger: User) -> None:
    stranger_in_lane(stranger)

    for path in (CRM, f"{CRM}pause/"):
        assert member.get(path).status_code in (403, 404)
    assert member.get(CRM).status_code == 404
    assert "There is no lane yet" in text_of(member, LANES)
    assert text_of(member, "/app/tasks/?lane=crm").count('id="task-') == 0


def test_only_administrators_have_buttons(
    member: Client, admin: Client, tenant_admin: User
) -> None:
    make_lane(tenant_admin)

    for action in ("pause", "edit", "remove"):
        assert f"/app/lanes/crm/{action}" in text_of(admin, CRM)
        assert f"/app/lanes/crm/{action}" not in text_of(member, CRM)


def test_the_list_goes_on_by_name(member: Client, tenant_admin: User) -> None:
    names = [f"lane-{number:02}" for number in range(30)]
    for name in reversed(names):
        make_lane(tenant_admin, name)

    first = text_of(member, LANES)
    rest = text_of(member, f"{LANES}?after=lane-24")

    row = re.compile(r'<th scope="row"><a href="/app/lanes/([^/"]+)')
    assert row.findall(first) + row.findall(rest) == names
    assert 'href="?after=lane-24" rel="next"' in first
    assert 'rel="next"' not in rest


def test_a_poll_reads_less_and_nothing_while_nothing_changes(
    member: Client, tenant_admin: User
) -> None:
    make_lane(tenant_admin)
    first = member.get(CRM, headers=HTMX)

    text = first.content.decode()
    assert "Limits" in text
    assert "The coming 24 hours" not in text
    known = {**HTMX, "If-None-Match": first["ETag"]}
    assert member.get(CRM, headers=known).status_code == 304


@pytest.mark.parametrize("who", ["member", "admin"])
def test_the_pages_take_a_constant_number_of_statements(
    who: str, request: pytest.FixtureRequest, tenant_admin: User, user: User
) -> None:
    browser: Client = request.getfixturevalue(who)
    make_lane(tenant_admin, rate_limit=20)
    run_in_lane(task_in_lane(user))
    few = [statements(browser, path) for path in (LANES, CRM)]
    for number in range(24):
        make_lane(tenant_admin, f"lane-{number}", rate_limit=20)
        run_in_lane(task_in_lane(user, f"lane-{number}"))
        run_in_lane(task_in_lane(user), ago=number + 2)

    assert [statements(browser, path) for path in (LANES, CRM)] == few
    assert max(few) <= 24
