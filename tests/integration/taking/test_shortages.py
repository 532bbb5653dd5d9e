"""What this machine lacks pauses no task, and is no fault of its schedule."""

from __future__ import annotations

import errno

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain import schedules
from tasks_api.domain.schedules import Cron
from tasks_api.models import Task
from tasks_api.taking import isolation, leases
from tasks_api.taking.room import Room
from tests.integration.support.stored_tasks import SECOND, run_states, store_task

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "shortage", [OSError(errno.EMFILE, "Too many open files"), MemoryError()]
)
def test_a_machine_that_lacks_files_or_memory_pauses_no_task(
    user: User, monkeypatch: pytest.MonkeyPatch, shortage: Exception
) -> None:
    task = store_task(user, Cron("0 0 1 1 *", "Europe/Berlin"))
    Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now() - SECOND)

    def fail(*_args: object, **_named: object) -> None:
        raise shortage

    with monkeypatch.context() as patched:
        patched.setattr(schedules, "sort_due", fail)
        with pytest.raises(type(shortage)):
            isolation.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))

    task.refresh_from_db()
    assert task.pause_reason == ""
    assert not task.is_paused
    isolation.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))
    assert run_states(task) == ["running"]
