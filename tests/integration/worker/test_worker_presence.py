"""A worker is present by a lock of its session, and its leases end with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.models import Run
from tasks_api.monitoring import heartbeats
from tasks_api.monitoring.heartbeats import Presence
from tasks_api.scheduler import rescue
from tasks_api.taking import due_tasks, leases
from tasks_api.taking.room import Room
from tests.integration.support.stored_tasks import store_task, take_waiting

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def worker(presence: Presence) -> Iterator[None]:
    """A session of its own that is present until it ends."""
    is_there, is_over = threading.Event(), threading.Event()

    def be_there() -> None:
        presence.keep()
        heartbeats.record_heartbeat(
            "worker", f"w {presence.key}", presence=presence.key
        )
        is_there.set()
        is_over.wait()
        connection.close()

    thread = threading.Thread(target=be_there)
    thread.start()
    is_there.wait()
    yield
    is_over.set()
    thread.join()


def wait_until_absent(presence: Presence) -> None:
    # PostgreSQL takes a moment to see that a session has ended.
    while presence.key not in heartbeats.find_absent():
        pass


@pytest.mark.timeout(30)
def test_a_presence_ends_with_its_session() -> None:
    one, other = Presence(), Presence()
    with worker(other):
        with worker(one):
            assert heartbeats.find_absent() == set()
        wait_until_absent(one)
        assert heartbeats.find_absent() == {one.key}


def test_a_forgotten_process_is_not_absent() -> None:
    heartbeats.record_heartbeat("worker", "w", presence=7)
    heartbeats.record_heartbeat("worker", "x", presence=8)
    heartbeats.record_heartbeat("beat", "b")

    heartbeats.remove_absent([7])

    assert heartbeats.find_absent() == {8}


def test_a_presence_is_taken_anew_when_its_session_was_lost() -> None:
    presence = Presence()
    presence.keep()
    heartbeats.record_heartbeat("worker", "w", presence=presence.key)
    connection.close()

    presence.keep()

    assert heartbeats.find_absent() == set()
    connection.close()


def test_the_leases_of_a_worker_that_is_gone_are_over(user: User) -> None:
    runs = []
    for presence in (7, 8):
        store_task(user, Once(timezone.now()))
        [taken] = due_tasks.take_due(Room(), leases.new_lease(presence)).runs
        runs.append(taken.run_id)

    assert leases.release([7]) == 1

    assert rescue.rescue_runs().ready == 1
    assert [run.run_id for run in take_waiting()] == [runs[0]]
    left = Run.objects.get(pk=runs[1])
    assert left.state == "running"
    assert left.wake_at is not None
    assert left.wake_at > timezone.now() + timedelta(seconds=5)
    assert leases.release([7]) == 0
