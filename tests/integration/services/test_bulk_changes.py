"""Several tasks change at once, and those that refuse say why."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import services as accounts
from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.specs import Overlap, Surface
from tasks_api.models import Run, Task
from tasks_api.services.bulk_changes import Change, ChangeResult, change_tasks
from tests.conftest import MakeTask
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.stored_runs import hourly_task

pytestmark = pytest.mark.django_db


def change(user: User, kind: Change, *tasks: Task) -> ChangeResult:
    return change_tasks(user, ids_of(tasks), kind, now=timezone.now())


def ids_of(tasks: tuple[Task, ...]) -> list[UUID]:
    return [task.pk for task in tasks]


def refused(result: ChangeResult) -> dict[str, str]:
    return {task.name: reason for task, reason in result.refused}


def test_tasks_pause_and_resume_and_those_that_did_so_before_say_so(
    user: User, make_task: MakeTask
) -> None:
    first, second = make_task(name="first"), make_task(name="second")

    change(user, Change.PAUSE, first)
    paused = change(user, Change.PAUSE, first, second)
    assert [task.name for task in paused.changed] == ["second"]
    assert refused(paused) == {"first": "It was paused before."}

    assert len(change(user, Change.RESUME, first, second).changed) == 2
    again = change(user, Change.RESUME, first)
    assert refused(again) == {"first": "It is not paused."}
    assert not Task.objects.filter(is_paused=True).exists()


def test_tasks_of_every_format_run_now_unless_they_would_overlap(
    user: User, make_task: MakeTask
) -> None:
    alone = hourly_task(user, overlap=Overlap.SKIP)
    Task.objects.filter(pk=alone.pk).update(name="alone")
    timer = make_task(surface=Surface.TIMERS)
    change(user, Change.RUN, alone)

    result = change(user, Change.RUN, alone, timer)

    assert result.changed == [timer]
    assert "may not overlap" in refused(result)["alone"]
    assert Run.objects.filter(by_hand=True).count() == 2


def test_tasks_are_removed_with_one_entry(user: User, make_task: MakeTask) -> None:
    tasks = [make_task(), make_task()]

    result = change(user, Change.REMOVE, *tasks)

    assert len(result.changed) == 2
    assert Task.objects.filter(end_reason="removed").count() == 2
    assert len(logged_actions(action="task.remove")) == 1


def test_a_task_that_has_ended_meanwhile_refuses(
    user: User, make_task: MakeTask
) -> None:
    gone, alive = make_task(name="gone"), make_task(name="alive")
    change(user, Change.REMOVE, gone)

    result = change(user, Change.PAUSE, gone, alive)

    assert result.changed == [alive]
    assert refused(result) == {"gone": "It has ended."}


@pytest.mark.parametrize("kind", Change)
def test_a_task_of_somebody_else_is_not_found_and_none_changes(
    user: User, colleague: User, make_task: MakeTask, kind: Change
) -> None:
    own, foreign = make_task(), make_task(colleague)

    with pytest.raises(TaskNotFound):
        change(user, kind, own, foreign)

    assert not Task.objects.filter(is_paused=True).exists()
    assert not Task.objects.exclude(ended_at=None).exists()
    assert not Run.objects.exists()


def test_tasks_of_a_deactivated_user_stay_paused(
    user: User, colleague: User, make_task: MakeTask
) -> None:
    user.reaches_tenant = True
    task = make_task(colleague, name="idle")
    change(user, Change.PAUSE, task)
    accounts.change_user(colleague, is_active=False)

    result = change(user, Change.RESUME, task)

    assert refused(result) == {"idle": "Its owner is deactivated."}


def test_there_is_a_limit(user: User) -> None:
    with pytest.raises(InvalidTask):
        change_tasks(
            user, [uuid4() for _ in range(101)], Change.RUN, now=timezone.now()
        )


@pytest.mark.parametrize("kind", Change)
def test_a_change_takes_a_constant_number_of_statements(
    user: User, make_task: MakeTask, kind: Change
) -> None:
    counts = []
    for number in (2, 12):
        tasks = [make_task() for _ in range(number)]
        if kind is Change.RESUME:
            change(user, Change.PAUSE, *tasks)
        with CaptureQueriesContext(connection) as found:
            assert len(change(user, kind, *tasks).changed) == number
        counts.append(len(found))

    assert counts[0] == counts[1]


def test_nothing_is_changed_by_no_ids(user: User) -> None:
    for kind in Change:
        assert change(user, kind) == ChangeResult([], [])
