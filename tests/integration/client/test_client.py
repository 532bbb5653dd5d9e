"""The Python client against the service itself, also when responses get lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from pytest_django.live_server_helper import LiveServer
from scheduler_client import (
    ApiError,
    BadRequest,
    Client,
    Conflict,
    Forbidden,
    LongWork,
    NotFound,
    PreconditionFailed,
    ServiceFailure,
    Unauthorized,
    Unreachable,
)

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.models import Task
from tests.conftest import MakeTask
from tests.integration.support.long_work import begin_run, latest_run_of, make_long_work
from tests.integration.support.lossy_proxy import LossyProxy
from tests.integration.support.routes import store_failed_run
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC

pytestmark = pytest.mark.django_db(transaction=True)

LATER = datetime(2090, 12, 5, 8, tzinfo=UTC)


@pytest.fixture
def token(user: User) -> str:
    return accounts.issue_token(user)


@pytest.fixture
def proxy(live_server: LiveServer) -> Iterator[LossyProxy]:
    started = LossyProxy(live_server.url)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def client(proxy: LossyProxy, token: str) -> Iterator[Client]:
    with Client(proxy.url, token, timeout=20) as started:
        yield started


def test_a_task_is_created_changed_and_removed(client: Client) -> None:
    created = client.create_task(
        PERIODIC, name="a", tags=["x"], frequency=timedelta(hours=2)
    )
    task = client.get_task(created.id)

    assert task.etag == created.etag
    assert (task.name, task.tags, task.frequency) == ("a", ("x",), 7200)
    assert task.start_datetime == task.next_run_datetime == LATER
    assert client.get_task_by_name("a") == task
    client.pause_task(task)
    assert client.get_task(task.id).next_run_datetime is None
    client.resume_tasks([task.id])
    changed = client.change_task(task.id, frequency=3601, tags=None)
    assert (changed.frequency, changed.tags) == (3601, ())
    assert len(client.run_task(changed)) == 36
    assert client.count_tasks() == 1
    client.remove_task(changed)
    with pytest.raises(NotFound) as gone:
        client.get_task(task.id)
    assert gone.value.message == "APIError: task does not exist with given id"


def test_a_change_of_a_task_changed_meanwhile_is_refused(client: Client) -> None:
    seen = client.get_task(client.create_task(PERIODIC).id)
    client.change_task(seen.id, frequency=7200)

    with pytest.raises(PreconditionFailed):
        client.change_task(seen, frequency=3601)
    with pytest.raises(PreconditionFailed):
        client.remove_task(seen.id, if_match=seen.etag)
    assert client.get_task(seen.id).frequency == 7200


def test_a_list_fetches_all_pages(client: Client, proxy: LossyProxy) -> None:
    ids = client.create_tasks([{**ONE_TIME, "tags": [str(n % 2)]} for n in range(25)])

    found = [task.id for task in client.list_tasks(page_size=10)]

    assert found == ids
    assert len([path for _, path in proxy.requests if path.startswith("/tasks/?")]) == 3
    assert [task.id for task in client.list_tasks(tags=["1"], page_size=5)] == ids[1::2]


def test_a_name_may_hold_any_character(client: Client) -> None:
    name = "reports/daily ü?#%/"
    put = client.put_task_by_name(name, ONE_TIME)

    assert client.get_task_by_name(name).id == put.id
    client.remove_task_by_name(name)
    with pytest.raises(NotFound):
        client.get_task_by_name(name)


def test_fire_times_show_changes_of_the_clock(client: Client) -> None:
    task = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "url": "https://e.org/"}
    found = client.preview_task(
        task, task_type="periodic", since=datetime(2027, 3, 27, 12, tzinfo=UTC), n=2
    )

    assert [time.dst for time in found.fire_times] == ["moved", None]
    assert found.fire_times[0].at == datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert found.fire_times[0].wall == "2027-03-28T02:30:00"
    created = client.create_task({**task, "task_type": "periodic"})
    assert len(client.next_fire_times(created.id, n=7).fire_times) == 7


def test_a_failed_run_is_listed_redriven_and_accounted_for(
    client: Client, make_task: MakeTask
) -> None:
    task = make_task()
    failed = store_failed_run(task)

    [run] = client.list_runs()
    assert (run.id, run.state) == (str(failed.pk), "failed")
    assert run.scheduled_for == failed.scheduled_for
    assert client.get_run(run.id).attempts == ()
    again = client.redrive_run(run.id)
    with pytest.raises(Conflict):
        client.redrive_run(run.id)
    assert {listed.id for listed in client.list_runs(str(task.pk), page_size=1)} == {
        run.id,
        again,
    }
    assert client.redrive_runs(["failed"]).run_ids == []
    account = client.get_account(str(task.pk))
    assert (account.manual, account.unplanned) == (1, 1)
    assert account.differences[0].run_id == run.id


def test_a_plan_is_applied_unless_it_has_changed(client: Client) -> None:
    tasks = [{**PERIODIC, "name": "a", "start_datetime": LATER}]

    plan = client.plan_tasks("web", tasks)
    applied = client.apply_tasks("web", tasks, plan=plan)

    assert (plan.has_changes, plan.steps[0].action) == (True, "create")
    assert applied.steps[0].fire_times_after[0] == "2090-12-05T08:00:00Z"
    with pytest.raises(PreconditionFailed):
        client.apply_tasks("web", tasks, plan=plan)
    assert not client.plan_tasks("web", tasks).has_changes


def test_tokens_are_issued_rotated_revoked_and_audited(
    client: Client, user: User
) -> None:
    issued = client.issue_token("ci", scope="read", expires_in=timedelta(days=1))
    rotated = client.rotate_token(issued.id, overlap=60)
    client.revoke_token(rotated.id)

    assert issued.token.startswith(issued.prefix)
    assert issued.token not in repr(issued)
    assert {token.name for token in client.list_tokens()} >= {"ci"}
    with pytest.raises(Forbidden):
        list(client.list_audit_entries())
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    actions = [entry.action for entry in client.list_audit_entries(action="token.")]
    assert actions[:3] == ["token.revoke", "token.rotate", "token.issue"]


def test_an_administrator_manages_users_and_secrets(client: Client, user: User) -> None:
    with pytest.raises(Forbidden):
        client.list_signing_secrets()
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)

    bob = client.add_user("bob/b")
    token = client.issue_token("first", user=bob.name)
    with pytest.raises(Conflict):
        client.add_user(bob.name)
    out = client.change_user(bob.name, role="admin", is_active=False)
    before = client.list_signing_secrets()
    secret = client.rotate_signing_secret(overlap=timedelta(minutes=1))

    assert (bob.role, bob.is_active, bob.username) == ("member", True, "bob/b@Alpha")
    assert client.get_token(token.id).user == bob.name
    assert client.get_user(bob.name) == out
    assert (out.role, out.is_active) == ("admin", False)
    assert [listed.name for listed in client.list_users()] == [bob.name, user.name]
    assert [listed.id for listed in client.list_signing_secrets()] == [
        secret.id,
        before[0].id,
    ]
    assert secret.secret.startswith("whsec_")
    assert secret.secret not in repr(secret)


def test_a_target_reports_its_long_work(proxy: LossyProxy, user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)
    headers = {"Webhook-Id": str(run.pk), "X-Scheduler-Run-Token": token}

    with LongWork.from_headers(headers, base_url=proxy.url + "/") as work:
        deadline = work.heartbeat()
        proxy.responses_to_lose = 1
        state = work.complete({"rows": 3})
        with pytest.raises(Conflict):
            work.fail("too late")

    assert run.wake_at is not None
    assert deadline is not None
    assert deadline >= run.wake_at
    assert state == "succeeded"
    with pytest.raises(ValueError, match="base_url"):
        LongWork.from_headers(headers)
    with pytest.raises(ValueError, match="Run-Token"):
        LongWork.from_headers({}, base_url=proxy.url)


def test_a_failure_of_long_work_is_sent_once_by_a_user(
    client: Client, proxy: LossyProxy, user: User
) -> None:
    task = make_long_work(user)
    begin_run(task)
    run_id = str(latest_run_of(task).pk)
    assert client.heartbeat_run(run_id) is not None
    proxy.responses_to_lose = 1
    proxy.requests.clear()

    with pytest.raises(Unreachable):
        client.fail_run(run_id, "disk full")

    assert len(proxy.requests) == 1
    assert client.get_run(run_id).reason.endswith(": disk full")
    with pytest.raises(Conflict):
        client.complete_run(run_id)


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"frequency": 1}, BadRequest, "frequency"),
        ({"url": None}, BadRequest, "url"),
        ({"start_datetime": "2001-01-01T00:00:00Z"}, BadRequest, "start_datetime"),
        ({"task_type": "x"}, BadRequest, "task_type"),
        ({"retry": {"max_attempts": 0}}, BadRequest, "retry.max_attempts"),
    ],
)
def test_a_bad_request_names_the_field(
    client: Client,
    settings: LazySettings,
    changes: dict[str, Any],
    kind: type[ApiError],
    field: str,
) -> None:
    settings.SCHEDULER_MIN_FREQUENCY = 3600

    with pytest.raises(kind) as refused:
        client.create_task({**PERIODIC, **changes})

    assert (refused.value.status, refused.value.field) == (400, field)


def test_a_bad_request_names_the_task_of_a_list(client: Client) -> None:
    with pytest.raises(BadRequest) as refused:
        client.create_tasks([ONE_TIME, {**ONE_TIME, "url": "x"}])

    assert refused.value.tasks[0]["index"] == 1
    assert refused.value.field == "url"


def test_an_unknown_token_is_unauthorized(proxy: LossyProxy) -> None:
    with Client(proxy.url, "sch_x") as client, pytest.raises(Unauthorized):
        client.count_tasks()


@pytest.mark.parametrize("value", [datetime(2090, 1, 1), float("nan")])  # noqa: DTZ001 (naive, so refused)
def test_an_invalid_value_is_not_sent(
    client: Client, proxy: LossyProxy, value: object
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json's own text)
        client.create_task(ONE_TIME, run_datetime=value)

    assert proxy.requests == []


def test_a_lost_response_creates_nothing_twice(
    client: Client, proxy: LossyProxy
) -> None:
    proxy.responses_to_lose = 1
    created = client.create_task(ONE_TIME)
    proxy.responses_to_lose = 1
    run_id = client.run_task(created.id)
    failed = store_failed_run(Task.objects.get(pk=created.id))
    proxy.responses_to_lose = 1
    again = client.redrive_run(str(failed.pk))
    proxy.responses_to_lose = 1
    tasks = [{**ONE_TIME, "name": "a"}]
    applied = client.apply_tasks("web", tasks, plan=client.plan_tasks("web", tasks))

    assert created.replayed
    assert Task.objects.count() == 2
    assert {run.id for run in client.list_runs(created.id)} == {
        run_id,
        str(failed.pk),
        again,
    }
    assert applied.steps[0].action == "create"


def test_a_removal_whose_response_got_lost_succeeds(
    client: Client, proxy: LossyProxy
) -> None:
    created = client.create_task(ONE_TIME)
    proxy.responses_to_lose = 1

    client.remove_task(created.id)

    assert client.count_tasks() == 0
    with pytest.raises(NotFound):
        client.remove_task(created.id)


def test_a_request_that_is_not_idempotent_is_sent_once(
    client: Client, proxy: LossyProxy
) -> None:
    task = client.get_task(client.create_task(ONE_TIME).id)
    proxy.responses_to_lose = 1
    proxy.requests.clear()

    with pytest.raises(Unreachable):
        client.change_task(task, tags=["x"])

    assert len(proxy.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_the_client_waits_for_retry_after(
    client: Client, proxy: LossyProxy, status: int
) -> None:
    proxy.scripted_responses = [
        (status, {"Retry-After": "1"}),
        (status, {"Retry-After": "x"}),
    ]
    began = datetime.now(UTC)

    client.issue_token()

    assert datetime.now(UTC) - began >= timedelta(seconds=1)
    assert len(proxy.requests) == 3


def test_retries_and_retry_after_have_a_limit(proxy: LossyProxy, token: str) -> None:
    proxy.scripted_responses = [(503, {}), (503, {}), (503, {"Retry-After": "86400"})]

    with Client(proxy.url, token, retries=1) as client:
        with pytest.raises(ServiceFailure):
            client.count_tasks()
        with pytest.raises(ServiceFailure):
            client.count_tasks()

    assert len(proxy.requests) == 3


def test_a_service_that_is_down_is_unreachable(token: str) -> None:
    client = Client("http://127.0.0.1:1", token, retries=1)

    with client, pytest.raises(Unreachable):
        client.create_task(ONE_TIME)
