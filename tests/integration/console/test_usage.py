"""The pages of usage and retention: every number equals the list behind it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import Plan, Role, Tenant, Token, User
from tasks_api.domain.bounds import WINDOW, Bounds
from tasks_api.domain.states import RunState
from tasks_api.models import BoundedStart, Message, Task
from tasks_api.services import pull_queue, usage
from tasks_api.services.pull_queue import NewMessage
from tasks_api.services.runs import RunFilter, list_runs
from tasks_api.storage import day_counts
from tests.conftest import ClientFor, MakeTask, tenant_of
from tests.integration.support.notices import claim_runs
from tests.integration.support.statements import captured_statements
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db

USAGE, RETENTION = "/app/settings/usage/", "/app/settings/retention/"
LINK = re.compile(r'<a href="(/app/runs/\?[^"]+)">([0-9,]+)</a>')
DAY = 24 * 60


@pytest.fixture
def browser(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def enqueue(tenant: Tenant, count: int, payload: str = "null") -> None:
    pull_queue.enqueue_many(
        [
            NewMessage(tenant.pk, "jobs", f"job {number}", payload, 30, 0, None)
            for number in range(count)
        ]
    )


def count_behind(user: User, url: str) -> int:
    """The runs that the linked list has."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    since, until = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
    states = [RunState(name) for name in query.get("state", "").split(",") if name]
    wanted = RunFilter(states=states, since=since, until=until)
    return len(list_runs(user, wanted, limit=1000).rows)


def test_each_number_of_runs_equals_the_list_behind_it(
    browser: Client, user: User
) -> None:
    task = hourly_task(user)
    for ago, state in [
        (1, RunState.FAILED),
        (2, RunState.SUCCEEDED),
        (3, RunState.SUCCEEDED),
        (DAY, RunState.MISSED),
        (DAY + 1, RunState.SKIPPED),
        (DAY + 2, RunState.CANCELLED),
        (5 * DAY, RunState.SUCCEEDED),
    ]:
        store_run(task, ago=ago, state=state)
    claim_runs(task, late=60)

    page = browser.get(USAGE).content.decode()

    links = [(unescape(url), int(shown)) for url, shown in LINK.findall(page)]
    totals = [shown for url, shown in links if "state=" not in url]
    assert sum(totals) == 8
    [all_runs] = re.findall(r'<a href="([^"]+)"><strong>8</strong> runs', page)
    assert count_behind(user, unescape(all_runs)) == 8
    assert len(links) > len(totals)
    assert [(url, count_behind(user, url)) for url, _ in links] == links
    assert page.count("<rect") >= len(totals)


def test_members_see_their_own_use_and_others_that_of_the_tenant(
    browser: Client, user: User, colleague: User, stranger: User
) -> None:
    for owner in (user, colleague, stranger):
        store_run(hourly_task(owner))

    shown = {}
    for role in (Role.MEMBER, Role.VIEWER, Role.ADMIN):
        services.change_user(user, role=role)
        page = browser.get(USAGE).content.decode()
        shown[role] = re.findall(r"<strong>(\d+)</strong> (task|run)", page)

    assert shown[Role.MEMBER] == [("1", "task"), ("1", "run")]
    assert shown[Role.VIEWER] == shown[Role.ADMIN] == [("2", "task"), ("2", "run")]


def test_messages_are_counted_up_to_a_bound(
    browser: Client, user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(tenant_of(user), 3, '"12345678"')
    enqueue(tenant_of(stranger), 2)
    assert "<strong>3</strong> messages" in browser.get(USAGE).content.decode()
    assert usage.read_usage(user, now=timezone.now()).messages.payload_bytes == 30

    monkeypatch.setattr(usage, "MAX_COUNTED_MESSAGES", 2)

    assert "<strong>over 2</strong> messages" in browser.get(USAGE).content.decode()
    assert Message.objects.count() == 5


def test_a_tenant_that_keeps_little_sees_as_much(browser: Client, user: User) -> None:
    services.configure_tenant("Alpha", retention_days=2)
    store_run(hourly_task(user))

    page = browser.get(USAGE).content.decode()

    assert re.search(r"<strong>1</strong> run in [23] days", page)


def test_the_page_costs_the_same_with_many_runs(
    browser: Client, user: User, make_task: MakeTask
) -> None:
    store_run(hourly_task(user))
    with captured_statements() as few:
        browser.get(USAGE)
    task = hourly_task(user)
    for number in range(40):
        make_task()
        store_run(task, ago=number * 60 + 2)
    with captured_statements() as many:
        page = browser.get(USAGE)

    assert b"<strong>41</strong> runs" in page.content
    assert len(many) == len(few)


def test_limits_are_shown_with_what_is_used(browser: Client, user: User) -> None:
    services.configure_tenant("Alpha", max_in_flight=7)

    page = browser.get(USAGE).content.decode()

    assert "<dd>7</dd>" in page
    assert ">0 of 50</a></dd>" in page
    assert ">0 of 200</a></dd>" in page


# Quotas.


def bounded_token(owner: User, name: str = "agent", **bounds: Any) -> Token:
    token, _ = services.create_token(owner, name=name, bounds=Bounds(**bounds))
    return token


def test_quotas_are_those_of_the_api(
    browser: Client, user: User, client_for: ClientFor
) -> None:
    plan = Plan.objects.create(name="starter", max_tasks=10, max_payload_bytes=2048)
    Tenant.objects.filter(pk=tenant_of(user).pk).update(
        plan=plan, max_runs_per_day=50, max_requests_per_minute=100
    )
    hourly_task(user)
    day_counts.add_runs({tenant_of(user).pk: 7})

    page = browser.get(USAGE).content.decode()
    told = client_for(user).get("/usage/").json()

    assert "Quotas of the plan starter" in page
    used = {each["quota"]: each["used"] for each in told["quotas"]}
    assert (used["tasks"], used["runs_per_day"]) == (1, 7)
    assert 'aria-label="Living tasks: 1 of 10"' in page
    assert 'aria-label="Runs a day: 7 of 50"' in page
    assert 'aria-label="Requests a minute: 0 of 100"' in page
    assert "2.0\xa0KB" in page
    assert "00:00:00 UTC" in page
    assert "note warning" not in page


def test_a_tenant_without_quotas_is_told_so(browser: Client) -> None:
    page = browser.get(USAGE).content.decode()

    assert "Your tenant has no quotas." in page
    assert "<meter" not in page


@pytest.mark.parametrize(
    ("used", "note"),
    [
        (79, ""),
        (80, "Runs a day: 80 of 100 are used, 80 %. Beyond it, runs wait."),
        (100, "Runs a day: 100 of 100 are used, 100 %. Runs wait until "),
        (130, "Runs a day: 130 of 100 are used, 130 %. Runs wait until "),
    ],
)
def test_the_page_warns_before_a_quota_is_spent(
    browser: Client, user: User, used: int, note: str
) -> None:
    Tenant.objects.filter(pk=tenant_of(user).pk).update(max_runs_per_day=100)
    day_counts.add_runs({tenant_of(user).pk: used})

    page = browser.get(USAGE).content.decode()

    assert note in page
    assert ('<p class="note' in page) is bool(note)


def test_a_quota_of_nothing_is_spent(browser: Client, user: User) -> None:
    Tenant.objects.filter(pk=tenant_of(user).pk).update(max_tasks=0)

    assert (
        "Living tasks: 0 of 0 are used, 100 %." in browser.get(USAGE).content.decode()
    )


def test_tokens_with_bounds_have_their_quotas_there(
    browser: Client, user: User, colleague: User
) -> None:
    token = bounded_token(user, runs_per_day=4, tasks=10)
    bounded_token(colleague, "theirs", tasks=5)
    assert token.bounds is not None
    now = timezone.now()
    for hours in (1, 2, 3, 30):
        BoundedStart.objects.create(
            tenant=token.bounds.tenant,
            bounds=token.bounds,
            started_at=now - timedelta(hours=hours),
        )
    task = hourly_task(user)
    Task.objects.filter(pk=task.pk).update(bounds=token.bounds)

    page = browser.get(USAGE).content.decode()

    assert f'href="/app/settings/tokens/{token.uuid}">agent</a>' in page
    assert 'aria-label="Requests in any 24 hours: 3 of 4"' in page
    assert 'aria-label="Living tasks: 1 of 10"' in page
    assert f"{now - timedelta(hours=3) + WINDOW:%Y-%m-%d %H:%M:%S}" in page
    assert "theirs" not in page


def test_what_a_narrower_token_uses_counts_for_both(
    browser: Client, user: User
) -> None:
    wide = bounded_token(user, "wide", tasks=10)
    narrow, _ = services.create_token(
        user, name="narrow", bounds=Bounds(tasks=3), issuer=wide.bounds
    )
    for token, count in ((wide, 1), (narrow, 2)):
        for _ in range(count):
            task = hourly_task(user)
            Task.objects.filter(pk=task.pk).update(bounds=token.bounds)

    page = browser.get(USAGE).content.decode()

    assert 'aria-label="Living tasks: 3 of 10"' in page
    assert 'aria-label="Living tasks: 2 of 3"' in page


def test_the_page_needs_no_redis(
    browser: Client, user: User, settings: LazySettings
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    Tenant.objects.filter(pk=tenant_of(user).pk).update(max_requests_per_minute=100)

    page = browser.get(USAGE).content.decode()

    assert 'aria-label="Requests a minute: 0 of 100"' in page


def test_tokens_cost_the_same_however_many_there_are(
    browser: Client, user: User
) -> None:
    bounded_token(user, runs_per_day=5, tasks=5)
    with captured_statements() as few:
        browser.get(USAGE)
    for number in range(8):
        bounded_token(user, f"agent {number}", runs_per_day=5, tasks=5)
    with captured_statements() as many:
        page = browser.get(USAGE)

    assert b"agent 7" in page.content
    assert len(many) == len(few)


# Retention.


def test_retention_says_how_long_and_who_changes_it(
    browser: Client, settings: LazySettings
) -> None:
    settings.SCHEDULER_RETENTION_DAYS = 30
    usual = browser.get(RETENTION).content.decode()
    services.configure_tenant("Alpha", retention_days=90)
    own = browser.get(RETENTION).content.decode()

    assert "<strong>30 days</strong>, as for all tenants" in usual
    assert "<strong>90 days</strong>, which is set for your tenant" in own
    kept_since = timezone.now() - timedelta(days=90)
    assert f"{kept_since:%Y-%m-%d}" in own
    assert "configure_tenant Alpha --retention-days" in own
