"""A beat sees in one statement whether there is anything to do, however much is stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api import changes, dispatch, outlook, services
from tasks_api.models import Run, Task
from tasks_api.schedules import Interval, Once
from tests.integration.test_dispatch import HOUR, store

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_is_seen_where_nothing_is_due(user: User) -> None:
    store(user, Once(timezone.now() + HOUR))

    seen = outlook.look(at_most=0.2)

    assert (seen.has_due_tasks, seen.has_waking_runs) == (False, False)
    assert seen.next_exact_in == 0.2
    assert abs(seen.now - timezone.now()) < timedelta(seconds=5)


def test_what_is_due_is_seen_until_it_is_done(user: User) -> None:
    store(user, Once(timezone.now() + timedelta(seconds=0.5)))
    assert outlook.look(at_most=0.2).has_due_tasks

    dispatch.dispatch_due()

    assert not outlook.look(at_most=0.2).has_due_tasks


def test_a_run_that_waits_is_seen_when_its_time_has_come(user: User) -> None:
    store(user, Once(timezone.now()))
    dispatch.dispatch_due()
    assert not outlook.look(at_most=0.2).has_waking_runs

    Run.objects.update(wake_at=timezone.now())

    assert outlook.look(at_most=0.2).has_waking_runs


def test_what_is_paused_is_not_seen(user: User) -> None:
    store(user, Once(timezone.now()))
    Task.objects.update(next_fire_at=None)

    assert not outlook.look(at_most=0.2).has_due_tasks


def test_what_a_change_cut_off_is_seen_until_it_is_settled(user: User) -> None:
    task = store(user, Interval(timezone.now() - HOUR, HOUR, None))
    services.pause_tasks(user, [str(task.pk)], now=timezone.now())
    assert outlook.look(at_most=0.2).has_open_changes

    changes.settle()

    assert not outlook.look(at_most=0.2).has_open_changes
