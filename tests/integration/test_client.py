"""The Python client against the service itself, also where answers get lost."""

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
    BadSignature,
    Client,
    Conflict,
    Forbidden,
    NotFound,
    ServiceFailure,
    Stale,
    Unauthorized,
    Unreachable,
    Work,
    verify,
)

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.delivery.signing import signature
from tasks_api.models import Task
from tests.conftest import ClientFor, MakeTask
from tests.integration.client_stand import Door
from tests.integration.long_work import begin_run, latest_run_of
from tests.integration.long_work import make_long_work as make_long_work
from tests.integration.routes import store_failed_run
from tests.integration.tasks_surface import ONE_TIME, PERIODIC

pytestmark = pytest.mark.django_db(transaction=True)

LATER = datetime(2090, 12, 5, 8, tzinfo=UTC)


@pytest.fixture
def token(user: User) -> str:
    return accounts.issue_token(user)


@pytest.fixture
def door(live_server: LiveServer) -> Iterator[Door]:
    started = Door(live_server.url)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def client(door: Door, token: str) -> Iterator[Client]:
    with Client(door.url, token, timeout=20) as made:
        yield made


def test_a_task_from_its_creation_to_its_end(client: Client) -> None:
    made = client.create(PERIODIC, name="a", tags=["x"], frequency=timedelta(hours=2))
    task = client.get(made.id)

    assert task.etag == made.etag
    assert (task.name, task.tags, task.frequency) == ("a", ("x",), 7200)
    assert task.start_datetime == task.next_run_datetime == LATER
    assert client.by_name.get("a") == task
    client.pause(task)
    assert client.get(task.id).next_run_datetime is None
    client.resume([task.id])
    changed = client.change(task.id, frequency=3601, tags=None)
    assert (changed.frequency, changed.tags) == (3601, ())
    assert len(client.run(changed)) == 36
    assert client.count() == 1
    client.remove(changed)
    with pytest.raises(NotFound) as gone:
        client.get(task.id)
    assert gone.value.message == "APIError: task does not exist with given id"


def test_what_others_changed_is_not_overwritten(client: Client) -> None:
    seen = client.get(client.create(PERIODIC).id)
    client.change(seen.id, frequency=7200)

    with pytest.raises(Stale):
        client.change(seen, frequency=3601)
    with pytest.raises(Stale):
        client.remove(seen.id, if_match=seen.etag)
    assert client.get(seen.id).frequency == 7200


def test_lists_go_on_from_page_to_page(client: Client, door: Door) -> None:
    ids = client.create_many([{**ONE_TIME, "tags": [str(n % 2)]} for n in range(25)])

    found = [task.id for task in client.list(page=10)]

    assert found == ids
    assert len([path for _, path in door.seen if path.startswith("/tasks/?")]) == 3
    assert [task.id for task in client.list(tags=["1"], page=5)] == ids[1::2]


def test_names_of_any_characters(client: Client) -> None:
    name = "reports/daily ü?#%/"
    put = client.by_name.put(name, ONE_TIME)

    assert client.by_name.get(name).id == put.id
    client.by_name.delete(name)
    with pytest.raises(NotFound):
        client.by_name.get(name)


def test_coming_fire_times_say_what_the_clock_does(client: Client) -> None:
    task = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "url": "https://e.org/"}
    found = client.preview(
        task, task_type="periodic", since=datetime(2027, 3, 27, 12, tzinfo=UTC), n=2
    )

    assert [each.dst for each in found.fire_times] == ["moved", None]
    assert found.fire_times[0].at == datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert found.fire_times[0].wall == "2027-03-28T02:30:00"
    made = client.create({**task, "task_type": "periodic"})
    assert len(client.next(made.id, n=7).fire_times) == 7


def test_runs_their_account_and_redrives(client: Client, make_task: MakeTask) -> None:
    task = make_task()
    failed = store_failed_run(task)

    [run] = client.runs()
    assert (run.id, run.state) == (str(failed.pk), "failed")
    assert run.scheduled_for == failed.scheduled_for
    assert client.run_detail(run.id).attempts == ()
    again = client.redrive(run.id)
    with pytest.raises(Conflict):
        client.redrive(run.id)
    assert {each.id for each in client.runs(str(task.pk), page=1)} == {run.id, again}
    assert client.redrive_many(["failed"]).run_ids == []
    account = client.account(str(task.pk))
    assert (account.manual, account.unplanned) == (1, 1)
    assert account.differences[0].run_id == run.id


def test_a_plan_is_applied_as_it_was_shown(client: Client) -> None:
    tasks = [{**PERIODIC, "name": "a", "start_datetime": LATER}]

    plan = client.plan("web", tasks)
    done = client.apply("web", tasks, plan=plan)

    assert (plan.has_changes, plan.steps[0].action) == (True, "create")
    assert done.steps[0].fire_times_after[0] == "2090-12-05T08:00:00Z"
    with pytest.raises(Stale):
        client.apply("web", tasks, plan=plan)
    assert not client.plan("web", tasks).has_changes


def test_tokens_and_the_log(client: Client, user: User) -> None:
    made = client.issue_token("ci", scope="read", expires_in=timedelta(days=1))
    rotated = client.rotate_token(made.id, overlap=60)
    client.revoke_token(rotated.id)

    assert made.token.startswith(made.prefix)
    assert made.token not in repr(made)
    assert {each.name for each in client.tokens()} >= {"ci"}
    with pytest.raises(Forbidden):
        list(client.audit())
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)
    actions = [entry.action for entry in client.audit(action="token.")]
    assert actions[:3] == ["token.revoke", "token.rotate", "token.issue"]


def test_an_administrator_looks_after_users_and_secrets(
    client: Client, user: User
) -> None:
    with pytest.raises(Forbidden):
        client.signing_secrets()
    User.objects.filter(pk=user.pk).update(role=Role.ADMIN)

    bob = client.add_user("bob/b")
    token = client.issue_token("first", user=bob.name)
    with pytest.raises(Conflict):
        client.add_user(bob.name)
    out = client.change_user(bob.name, role="admin", is_active=False)
    before = client.signing_secrets()
    made = client.rotate_signing_secret(overlap=timedelta(minutes=1))

    assert (bob.role, bob.is_active, bob.username) == ("member", True, "bob/b@Alpha")
    assert client.get_token(token.id).user == bob.name
    assert client.get_user(bob.name) == out
    assert (out.role, out.is_active) == ("admin", False)
    assert [each.name for each in client.users()] == [bob.name, user.name]
    assert [each.id for each in client.signing_secrets()] == [made.id, before[0].id]
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)


def test_a_target_says_how_its_work_goes(door: Door, user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)
    headers = {"Webhook-Id": str(run.pk), "X-Scheduler-Run-Token": token}

    with Work.of(headers, base_url=door.url + "/") as work:
        deadline = work.heartbeat()
        door.lose = 1
        state = work.complete({"rows": 3})
        with pytest.raises(Conflict):
            work.fail("too late")

    assert run.wake_at is not None
    assert deadline is not None
    assert deadline >= run.wake_at
    assert state == "succeeded"
    with pytest.raises(ValueError, match="base_url"):
        Work.of(headers)
    with pytest.raises(ValueError, match="Run-Token"):
        Work.of({}, base_url=door.url)


def test_a_user_says_that_work_failed_and_says_it_once(
    client: Client, door: Door, user: User
) -> None:
    task = make_long_work(user)
    begin_run(task)
    run_id = str(latest_run_of(task).pk)
    assert client.heartbeat(run_id) is not None
    door.lose = 1
    door.seen.clear()

    with pytest.raises(Unreachable):
        client.fail(run_id, "disk full")

    assert len(door.seen) == 1
    assert client.run_detail(run_id).reason.endswith(": disk full")
    with pytest.raises(Conflict):
        client.complete(run_id)


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
def test_a_refusal_names_the_field(
    client: Client,
    settings: LazySettings,
    changes: dict[str, Any],
    kind: type[ApiError],
    field: str,
) -> None:
    settings.SCHEDULER_MIN_FREQUENCY = 3600

    with pytest.raises(kind) as refused:
        client.create({**PERIODIC, **changes})

    assert (refused.value.status, refused.value.field) == (400, field)


def test_every_refused_task_of_a_list_is_told(client: Client) -> None:
    with pytest.raises(BadRequest) as refused:
        client.create_many([ONE_TIME, {**ONE_TIME, "url": "x"}])

    assert refused.value.tasks[0]["index"] == 1
    assert refused.value.field == "url"


def test_a_token_that_nobody_knows(door: Door) -> None:
    with Client(door.url, "sch_x") as client, pytest.raises(Unauthorized):
        client.count()


@pytest.mark.parametrize("value", [datetime(2090, 1, 1), float("nan")])  # noqa: DTZ001 (what is refused)
def test_what_means_nothing_is_not_sent(
    client: Client, door: Door, value: object
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json's own text)
        client.create(ONE_TIME, run_datetime=value)

    assert door.seen == []


def test_an_answer_that_gets_lost_makes_nothing_twice(
    client: Client, door: Door
) -> None:
    door.lose = 1
    made = client.create(ONE_TIME)
    door.lose = 1
    run_id = client.run(made.id)
    failed = store_failed_run(Task.objects.get(pk=made.id))
    door.lose = 1
    again = client.redrive(str(failed.pk))
    door.lose = 1
    tasks = [{**ONE_TIME, "name": "a"}]
    applied = client.apply("web", tasks, plan=client.plan("web", tasks))

    assert made.replayed
    assert Task.objects.count() == 2
    assert {run.id for run in client.runs(made.id)} == {run_id, str(failed.pk), again}
    assert applied.steps[0].action == "create"


def test_a_removal_whose_answer_got_lost_has_happened(
    client: Client, door: Door
) -> None:
    made = client.create(ONE_TIME)
    door.lose = 1

    client.remove(made.id)

    assert client.count() == 0
    with pytest.raises(NotFound):
        client.remove(made.id)


def test_what_is_not_safe_to_say_twice_is_said_once(client: Client, door: Door) -> None:
    task = client.get(client.create(ONE_TIME).id)
    door.lose = 1
    door.seen.clear()

    with pytest.raises(Unreachable):
        client.change(task, tags=["x"])

    assert len(door.seen) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_for_patience_gets_it(
    client: Client, door: Door, status: int
) -> None:
    door.instead = [(status, {"Retry-After": "1"}), (status, {"Retry-After": "x"})]
    began = datetime.now(UTC)

    client.issue_token()

    assert datetime.now(UTC) - began >= timedelta(seconds=1)
    assert len(door.seen) == 3


def test_patience_has_an_end(door: Door, token: str) -> None:
    door.instead = [(503, {}), (503, {}), (503, {"Retry-After": "86400"})]

    with Client(door.url, token, retries=1) as client:
        with pytest.raises(ServiceFailure):
            client.count()
        with pytest.raises(ServiceFailure):
            client.count()

    assert len(door.seen) == 3


def test_nobody_there(token: str) -> None:
    client = Client("http://127.0.0.1:1", token, retries=1)

    with client, pytest.raises(Unreachable):
        client.create(ONE_TIME)


SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


def signed(now: datetime, body: bytes) -> dict[str, str]:
    timestamp = int(now.timestamp())
    return {
        "webhook-id": "run-1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature([SECRET], "run-1", timestamp, body.decode()),
    }


def test_a_receiver_knows_what_is_genuine(client_for: ClientFor) -> None:
    now = datetime.now(UTC)
    headers = signed(now, b"{}")
    shouted = {name.upper(): value for name, value in headers.items()}

    delivery = verify(shouted, b"{}", ["whsec_AAAA", SECRET])

    assert (delivery.id, delivery.sent_at) == ("run-1", now.replace(microsecond=0))
    for case in (
        (headers, b"{ }", SECRET),
        (headers, b"{}", "whsec_AAAA"),
        (signed(now - timedelta(hours=1), b"{}"), b"{}", SECRET),
        ({}, b"{}", SECRET),
        ({**headers, "webhook-id": "run-2"}, b"{}", SECRET),
    ):
        with pytest.raises(BadSignature):
            verify(*case)
