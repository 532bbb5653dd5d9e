"""A worker starts no request that the bounds of its task forbid, whatever the row says."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import TokenBounds, User
from accounts.services import token_bounds
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.bounds import START_WITHIN, Bounds
from tasks_api.domain.schedules import Once
from tasks_api.models import BoundedStart, Message, Run, Task
from tasks_api.worker.engine import Engine
from tasks_api.worker.held_runs import HeldRuns
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import SECOND, store_task, take_due
from tests.integration.support.transport_doubles import (
    CuttingServer,
    Outcomes,
    StartTransport,
    request_to,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def bind(user: User, **bounds: Any) -> TokenBounds:
    assert user.tenant is not None
    user.bounds = token_bounds.store_bounds(
        user.tenant, Bounds(**bounds), parent=None, now=timezone.now()
    )
    return user.bounds


def test_a_request_within_the_bounds_is_sent(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    bind(user, hosts=(urlsplit(receiver.url).netloc,), runs_per_day=5)
    task = store_task(user, Once(timezone.now()), receiver.url + "/hook")

    engine.ring()
    recorded.wait_for(1)

    assert len(receiver.wait_for(1)) == 1
    assert Run.objects.get(task=task).state == "succeeded"
    assert BoundedStart.objects.count() == 1


@pytest.mark.parametrize(
    ("row", "bound"),
    [
        ({"url": "http://127.0.0.1:1/hook"}, "hosts"),
        ({"method": "DELETE"}, "methods"),
        ({"queue": "mail", "url": ""}, "queue"),
        ({"bounds_id": 2**40}, None),
    ],
)
def test_a_row_that_was_changed_otherwise_is_not_sent(
    user: User,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    row: dict[str, Any],
    bound: str | None,
) -> None:
    bind(user, hosts=(urlsplit(receiver.url).netloc,), methods=("POST",))
    at = timezone.now() + 0.5 * SECOND
    # In one transaction: the engine takes it when it is due.
    with transaction.atomic():
        task = store_task(user, Once(at), receiver.url + "/hook")
        Task.objects.filter(pk=task.pk).update(**row)
    # It follows, so what came before it was decided when it is sent.
    user.bounds = None
    store_task(user, Once(at + SECOND), receiver.url + "/after")

    engine.ring()
    recorded.wait_for(1 if bound is None else 2)

    assert [each.path for each in receiver.wait_for(1)] == ["/after"]
    run = Run.objects.get(task=task)
    if bound is None:
        assert run.state == "cancelled"
    else:
        assert run.state == "failed"
        assert bound in run.attempts.get().error
    assert not Message.objects.exists()


def test_a_start_that_was_counted_too_long_ago_goes_back(user: User) -> None:
    bind(user, runs_per_day=5)
    store_task(user, Once(timezone.now() - SECOND))
    [bounded] = take_due()
    plain: ClaimedRun = bounded._replace(bounds_id=None)
    late = START_WITHIN.total_seconds()

    for run, is_begun in ((bounded, False), (plain, True)):
        held = HeldRuns()
        held.add([run], claimed_at=0.0, until=10 * late, windows={})
        assert held.begin(run, late - 1)
        assert held.begin(run, late) is is_begun


def test_a_request_that_is_sent_once_is_not_repeated(
    start_transport: StartTransport, outcomes: Outcomes
) -> None:
    transport, server = start_transport(), CuttingServer(warm=5)
    for number in range(5):
        transport.send(number, request_to(f"{server.url}/warm"))
    outcomes.wait_for(5)

    once = request_to(f"{server.url}/cut")._replace(is_sent_once=True)
    transport.send("cut", once)

    assert outcomes.wait_for(6)["cut"].error
    assert server.cut_requests == 1
    server.close()
