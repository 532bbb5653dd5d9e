"""A frozen tenant is read, and not changed; nothing of it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import audit
from accounts import services as accounts
from accounts.audit import Actor
from accounts.models import Role, Tenant, User, Via
from scheduler_service.db import clock
from tasks_api.delivery import run_tokens
from tasks_api.domain.exceptions import TenantFrozen
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval
from tasks_api.models import Message, Run, Task
from tasks_api.moving import freezing
from tasks_api.moving.errors import MoveRefused
from tasks_api.scheduler import overdue, rescue
from tasks_api.services import pausing, pull_queue, reconciliation, rollups
from tasks_api.services.pull_queue import NewMessage
from tasks_api.storage import schedule_edits, task_counts
from tasks_api.worker import long_work
from tests.conftest import ClientFor, MakeTask, tenant_of
from tests.integration.support.long_work import begin_run, make_long_work
from tests.integration.support.moves import ignore
from tests.integration.support.reconciliation_model import let_pass
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.tasks_surface import ONE_TIME

pytestmark = pytest.mark.django_db(transaction=True)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def freeze(user: User) -> Tenant:
    tenant = tenant_of(user)
    freezing.freeze(tenant, "elsewhere", uuid4())
    freezing.put_aside(tenant.pk, ignore, patience=0)
    tenant.refresh_from_db()
    return tenant


@pytest.fixture
def admin(user: User) -> User:
    return accounts.change_user(user, role=Role.ADMIN)


CRON = {"id": "a", "endpoint": "http://x.test/", "cron": "0 0 * * *", "payload": {}}
REST = {
    "task": {
        "method": "GET",
        "uri": "http://x.test/",
        "body": {},
        "expected_range": "200-299",
    },
    "schedule": "now",
}
JOB = {"id": "j", "queue": "q", "timeout": 1}
# A request that changes the tenant in each wire format, and the body of its refusal.
TEXT = b"The tenant moves to another place; try again soon"
WRITES = [
    ("post", "/tasks/", ONE_TIME, b'{"error": {"message": "%s"}}' % TEXT),
    ("post", "/", CRON, TEXT),
    ("delete", "/?job_id=a", None, TEXT),
    ("post", "/api/v1/jobs", REST, b'{"message": "%s"}' % TEXT),
    ("post", "/enqueue", JOB, TEXT),
    ("get", "/next?queue=q", None, TEXT),
    ("post", "/tokens/", {"name": "x"}, b'{"error": {"message": "%s"}}' % TEXT),
    ("post", "/lanes/", {"name": "x"}, b'{"error": {"message": "%s"}}' % TEXT),
]
READS = ["/tasks/", "/runs/", "/tokens/", "/lanes/", "/usage/", "/audit/", "/stats/"]


@pytest.mark.parametrize(("method", "path", "body", "refusal"), WRITES)
def test_a_change_is_refused_in_the_words_of_its_format(
    admin: User,
    client_for: ClientFor,
    method: str,
    path: str,
    body: Any,
    refusal: bytes,
) -> None:
    api = client_for(admin)
    freeze(admin)

    answer = getattr(api, method)(path, body, format="json")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.content == refusal


def test_a_timer_is_refused_as_well(admin: User) -> None:
    secret = "a secret that is long enough to be one"
    accounts.configure_tenant(
        "Alpha", shared_secret=secret, callback_url="http://x.test/"
    )
    freeze(admin)
    api = APIClient()
    api.credentials(HTTP_SCHEDULER_SECRET=secret)

    answer = api.post("/cron", {"jobs": []}, format="json")

    assert (answer.status_code, answer.content) == (503, TEXT)
    assert answer["Retry-After"] == "5"


@pytest.mark.parametrize("path", READS)
def test_reads_go_on(admin: User, client_for: ClientFor, path: str) -> None:
    api = client_for(admin)
    freeze(admin)

    assert api.get(path).status_code == 200


def test_what_reads_with_post_goes_on(admin: User, client_for: ClientFor) -> None:
    api = client_for(admin)
    freeze(admin)

    assert api.post("/tasks/preview/", ONE_TIME, format="json").status_code == 200


def test_a_parked_task_shows_when_it_fires_next(
    admin: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    task = make_task(admin)
    api = client_for(admin)
    before = api.get(f"/tasks/id/{task.pk}").json()
    freeze(admin)

    assert api.get(f"/tasks/id/{task.pk}").json() == before


def test_a_tenant_that_has_moved_is_not_read_either(
    admin: User, client_for: ClientFor
) -> None:
    api = client_for(admin)
    freezing.mark_as_moved(freeze(admin))
    browser = Client()
    browser.force_login(admin)

    answer, page = api.get("/tasks/"), browser.get("/app/tasks/")

    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert page.status_code == 403
    assert "has moved to another place" in page.content.decode()


def test_a_fire_time_that_passes_meanwhile_is_open_in_the_account(
    admin: User, make_task: MakeTask
) -> None:
    task = make_task(admin, schedule=Interval(timezone.now() + 10 * SECOND, HOUR))
    let_pass(task, 12 * SECOND)
    freeze(admin)

    account = reconciliation.reconcile(admin, task.pk, since=None, until=None)

    assert account.planned == 1
    assert account.differences == []


def test_a_page_reads_and_does_not_change(admin: User, make_task: MakeTask) -> None:
    task = make_task(admin)
    freeze(admin)
    browser = Client()
    browser.force_login(admin)

    shown = browser.get(f"/app/tasks/{task.pk}/")
    refused = browser.post(f"/app/tasks/{task.pk}/", {"action": "pause"})

    assert shown.status_code == 200
    assert refused.status_code == 403
    assert "moves to another place" in refused.content.decode()


def test_a_target_asks_again_while_its_run_is_parked(admin: User) -> None:
    task = make_long_work(admin)
    token = begin_run(task)
    run = Run.objects.get(task=task)
    freeze(admin)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    for verb in ("heartbeat", "complete", "fail"):
        answer = api.post(f"/runs/{run.pk}/{verb}", {}, format="json")
        assert (answer.status_code, answer["Retry-After"]) == (503, "5"), verb
    assert Run.objects.get(pk=run.pk).state == "open"


def test_a_target_asks_again_for_a_run_that_was_made_where_its_tenant_lives_now(
    admin: User,
) -> None:
    run_id = id_for(clock.now(), tenant_of(admin).pk)
    token = run_tokens.make_token(long_work.run_token_keys()[0], run_id, 1)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    unknown = api.post(f"/runs/{run_id}/complete", {}, format="json")
    freeze(admin)
    # A door may send it to the source until it routes to the target.
    moved = api.post(f"/runs/{run_id}/complete", {}, format="json")

    assert (unknown.status_code, moved.status_code) == (404, 503)


def test_a_request_that_was_let_in_before_does_not_commit(
    admin: User, make_task: MakeTask
) -> None:
    task = make_task(admin)
    freeze(admin)

    with audit.acting_as(Actor(admin.username, Via.API)):
        with pytest.raises(OperationalError, match="moves to another place"):
            make_task(admin)
        with pytest.raises(OperationalError, match="moves to another place"):
            pausing.pause_tasks(admin, [str(task.pk)], now=clock.now())
    assert Task.objects.filter(owner=admin).count() == 1


def new_message(tenant: Tenant, name: str) -> NewMessage:
    return NewMessage(
        tenant_id=tenant.pk,
        queue="q",
        name=name,
        payload="1",
        timeout_seconds=60,
        max_retries=3,
        run_at=None,
    )


def test_a_call_of_the_pull_queue_that_was_let_in_before_changes_nothing(
    admin: User,
) -> None:
    tenant = tenant_of(admin)
    leased, waiting, new = (new_message(tenant, name) for name in "abc")
    pull_queue.enqueue_many([leased])
    assert pull_queue.lease(tenant.pk, "q", 1)
    pull_queue.enqueue(waiting)
    before = list(Message.objects.order_by("pk").values())
    freeze(admin)

    calls: list[Callable[[], None]] = [
        lambda: pull_queue.enqueue(new),
        lambda: pull_queue.enqueue_many([waiting, new]),
        lambda: pull_queue.extend(leased.key),
        lambda: pull_queue.reschedule(leased, state=None),
        lambda: pull_queue.complete(leased.key),
    ]
    for call in calls:
        with pytest.raises(TenantFrozen):
            call()
    assert pull_queue.lease(tenant.pk, "q", 10) == []

    assert list(Message.objects.order_by("pk").values()) == before


def test_the_message_of_a_run_that_is_under_way_is_stored(admin: User) -> None:
    tenant = freeze(admin)

    pull_queue.enqueue_of_runs([new_message(tenant, "a")])

    assert Message.objects.filter(tenant=tenant).count() == 1


def test_a_command_is_refused_in_a_sentence(admin: User) -> None:
    freeze(admin)

    with pytest.raises(CommandError, match="moves to another place"):
        call_command("deactivate_user", admin.username)


def test_nothing_of_a_frozen_tenant_is_sent(
    admin: User, stranger: User, make_task: MakeTask
) -> None:
    past = timezone.now() - SECOND
    for owner in (admin, stranger):
        make_task(owner, schedule=Interval(past, HOUR))
    Task.objects.filter(owner=admin).update(next_fire_at=past)
    freeze(admin)

    assert {run.tenant_id for run in take_due()} == {stranger.tenant_id}
    overdue.let_wait()
    assert take_waiting() == []


def test_a_beat_leaves_a_frozen_tenant_alone(admin: User, make_task: MakeTask) -> None:
    now = timezone.now()
    paused, past, edited, late = (make_task(admin) for _ in range(4))
    pausing.pause_tasks(admin, [str(paused.pk)], now=clock.now())
    Task.objects.filter(pk=paused.pk).update(resume_at=now - SECOND)
    tenant = freeze(admin)
    Task.objects.filter(pk=past.pk).update(ends_at=now - HOUR)
    edited.periodic_task.enabled = False
    edited.periodic_task.save()
    before = list(Task.objects.filter(tenant=tenant).order_by("pk").values())

    assert pausing.resume_due(limit=10) == 0
    assert task_counts.end_all_expired_tasks() == 0
    assert schedule_edits.find_edited_task_ids(10) == []
    rescue.rescue_runs()
    rollups.keep_rollups(now=now + 5 * HOUR)

    assert list(Task.objects.filter(tenant=tenant).order_by("pk").values()) == before
    assert late.pk in {row["id"] for row in before}


def test_a_parked_task_cannot_be_made_to_fire(admin: User, make_task: MakeTask) -> None:
    task = make_task(admin)
    freeze(admin)

    with pytest.raises(IntegrityError, match="task_that_is_parked_never_fires"):
        Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())


def test_a_thawed_tenant_goes_on_as_before(
    admin: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    task = make_task(admin)
    api = client_for(admin)
    tenant = freeze(admin)

    freezing.thaw(tenant)

    again = Task.objects.get(pk=task.pk)
    assert (again.next_fire_at, again.is_parked) == (task.next_fire_at, False)
    assert api.post("/tasks/", ONE_TIME, format="json").status_code == 201


@pytest.fixture
def open_transaction() -> Iterator[None]:
    session = connection.copy()
    with session.cursor() as cursor:
        cursor.execute("BEGIN; SELECT FROM accounts_tenant")
        yield
    session.close()


@pytest.mark.usefixtures("open_transaction")
def test_a_transaction_that_may_have_seen_it_free_is_awaited() -> None:
    with pytest.raises(MoveRefused, match="has been open for too long"):
        freezing.await_older_transactions(patience=0)
