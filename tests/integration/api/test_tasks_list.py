"""The list by cursor and by filter, and a count that is right without counting."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import Succeed
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task, TaskTag
from tasks_api.services import (
    admin_edits,
    listing,
    named_tasks,
    pausing,
    removal,
    tasks,
)
from tasks_api.storage import retention, schedule_edits, task_counts
from tasks_api.taking import leases
from tasks_api.worker.record import AttemptResult, record_results
from tests.conftest import MakeTask
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.tasks_surface import PERIODIC, created

HOUR = timedelta(hours=1)
NAMED = {**PERIODIC, "name": "n", "tags": ["t"]}
LATER = "2091-02-03T04:05:06+00:00"


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [task["id"] for task in answer.json()["tasks"]]


def test_cursors_lead_through_all_tasks_while_others_come_and_go(
    api: APIClient, make_task: MakeTask
) -> None:
    made = [make_task() for _ in range(7)]
    answer = api.get("/tasks/?cursor=&limit=3")
    found = ids(answer)
    assert list(answer.json()) == ["count", "tasks", "next_cursor"]
    assert answer.json()["count"] == 7

    # Neither the task that the cursor names is needed, nor those before it.
    removal.remove_tasks(
        Task.objects.filter(pk__in=[t.pk for t in made[:3]]), now=timezone.now()
    )
    late = make_task()
    while "Link" in answer:
        link = answer["Link"].split(">")[0].removeprefix("<")
        assert answer.json()["next_cursor"] in link
        answer = api.get(link)
        found += ids(answer)

    assert found == [str(task.pk) for task in (*made, late)]
    assert answer.json()["next_cursor"] is None


def test_filters_let_through_what_they_name(
    api: APIClient, make_task: MakeTask, colleague: User
) -> None:
    now = timezone.now()
    a = make_task(name="a/ä", tags=("red", "big"))
    b = make_task(
        tags=("red", "ä&=b"), schedule=Interval(now + HOUR, HOUR, now + 9 * HOUR)
    )
    c = make_task(schedule=Once(now + 30 * HOUR))
    make_task(colleague, name="other", tags=("red",))
    api.post(f"/tasks/{b.pk}/pause/")
    # An id is about as old as its task.
    Task.objects.filter(pk=a.pk).update(created_at=now - HOUR / 12)

    def found(query: str) -> list[str]:
        return ids(api.get(f"/tasks/?{query}"))

    def moment(hours: int) -> str:
        return quote((now + hours * HOUR).isoformat())

    every = {str(a.pk): a, str(b.pk): b, str(c.pk): c}
    names = dict(zip(every, "abc", strict=True))
    expected = {
        f"name={quote('a/ä')}": "a",
        "name=other": "",
        "tag=red": "ab",
        "tag=red&tag=big": "a",
        "tag=red&tag=red": "ab",
        f"tag={quote('ä&=b')}": "b",
        "tag=none": "",
        "state=paused": "b",
        "state=active": "ac",
        "task_type=one_time": "ac",
        "task_type=periodic": "b",
        f"created_after={quote((now - HOUR / 30).isoformat())}": "bc",
        f"created_before={quote((now - HOUR / 30).isoformat())}": "a",
        f"created_before={moment(-9)}": "",
        f"next_run_after={moment(2)}": "c",
        f"next_run_before={moment(2)}": "a",
        "tag=red&state=active": "a",
        "tag=red&limit=1": "a",
    }
    shown = {query: "".join(names[i] for i in found(query)) for query in expected}

    assert shown == expected
    assert "count" not in api.get("/tasks/?tag=red").json()
    following = api.get("/tasks/?tag=red&limit=1")
    assert ids(api.get(following["Link"].split(">")[0][1:])) == [str(b.pk)]


@pytest.mark.parametrize(
    "query",
    [
        "state=ended",
        "task_type=x",
        "created_after=yesterday",
        "next_run_before=7",
        "cursor=x",
        "cursor=&offset=1",
        "tag=a&offset=1",
        "tag=",
        "tag=a%00",
        "name=%00",
        "name=" + "x" * 256,
        "tag=%FF",
        "&".join(f"tag={n}" for n in range(51)),
    ],
)
def test_what_cannot_be_asked_for_is_refused(api: APIClient, query: str) -> None:
    answer = api.get(f"/tasks/?{query}")

    assert answer.status_code == 400, answer.json()


def test_a_page_looks_at_so_many_tasks_and_no_more(
    user: User, make_task: MakeTask
) -> None:
    hourly = Interval(timezone.now() + HOUR, HOUR)
    made = [make_task(schedule=hourly if n == 5 else None) for n in range(7)]
    filters = listing.TaskFilters(is_one_time=False)

    pages, after = [], None
    for _ in range(3):
        page = listing.page_by_cursor(
            listing.TaskScope(user.tenant_id or 0, (user.pk,), Surface.TASKS),
            filters,
            after=after,
            limit=5,
            now=timezone.now(),
            rows_examined=3,
        )
        pages.append([task.pk for task in page.tasks])
        after = page.after

    assert pages == [[], [made[5].pk], []]
    assert after is None


def test_the_tags_of_what_has_ended_are_gone(
    api: APIClient, make_task: MakeTask
) -> None:
    removed, over = make_task(tags=("a",)), make_task(tags=("b",))
    Task.objects.filter(pk=over.pk).update(
        next_fire_at=None, ends_at=datetime(1970, 1, 1, tzinfo=UTC)
    )

    api.delete(f"/tasks/{removed.pk}")
    assert task_counts.end_all_expired_tasks() == 1

    assert not TaskTag.objects.exists()
    assert Task.objects.get(pk=over.pk).end_reason == "over"


def test_a_run_that_its_task_outlived_is_still_sent(make_task: MakeTask) -> None:
    start = timezone.now() - HOUR
    make_task(schedule=Interval(start, HOUR / 2, start + HOUR - timedelta(seconds=1)))
    Task.objects.update(next_fire_at=start + HOUR / 2)
    make_task(schedule=Once(timezone.now() - HOUR))
    taken = take_due()
    assert len(taken) == 2
    leases.undo_take(taken[0].lease)
    task_counts.end_all_expired_tasks()

    assert len(take_waiting()) == 2


STEPS = [
    "create",
    "once",
    "pause",
    "resume",
    "remove",
    "put",
    "expire",
    "fire",
    "give back",
    "finish",
    "over",
    "prune",
    "edit",
]


@pytest.mark.django_db(transaction=True)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=20), seed=st.integers(0, 999))
def test_the_count_is_right_after_any_history(
    user: User, steps: list[str], seed: int
) -> None:
    # S311: no secret depends on it.
    chance = random.Random(seed)
    taken: list[ClaimedRun] = []
    for step in steps:
        _take(step, user, chance, taken)
        for owner, surface in ((user, Surface.TASKS), (user, Surface.CRON_JOBS)):
            now = timezone.now()
            alive = (
                Task.objects.for_owner(owner).for_surface(surface).alive(now).count()
            )
            assert (
                task_counts.count_alive(
                    owner.tenant_id or 0, [owner.pk], surface, now=now
                )
                == alive
            ), step


def _take(
    step: str, user: User, chance: random.Random, taken: list[ClaimedRun]
) -> None:
    now = timezone.now()
    alive = list(Task.objects.for_owner(user).for_surface(Surface.TASKS).alive(now))
    one = [str(chance.choice(alive).pk)] if alive else []
    hourly = Interval(now - HOUR, HOUR, now + HOUR)
    match step:
        case "create" | "once":
            schedule = hourly if step == "create" else Once(now)
            specs = [
                TaskSpec(
                    Surface.TASKS, "http://a.example/", schedule, "{}", tags=("t",)
                )
                for _ in range(chance.randint(1, 3))
            ]
            tasks.create_tasks(user, specs, now=now)
        case "put":
            spec = TaskSpec(
                Surface.CRON_JOBS,
                "http://a.example/",
                hourly,
                "{}",
                name=chance.choice("ab"),
            )
            named_tasks.upsert_task(user, spec, now=now)
        case "pause":
            pausing.pause_tasks(user, one, now=now)
        case "resume":
            pausing.resume_tasks(user, one, now=now)
        case "remove" if one:
            removal.remove_task(user, one[0], now=now)
        case "expire" | "edit" if one:
            [task] = Task.objects.filter(pk=one[0]).select_related("periodic_task")
            end = now - HOUR if step == "expire" else now + 2 * HOUR
            type(task.periodic_task).objects.filter(pk=task.periodic_task_id).update(
                expires=end
            )
            admin_edits.sync_admin_edits([task.pk])
        case "fire":
            taken += take_due()
        case "give back":
            for lease in {run.lease for run in taken}:
                leases.undo_take(lease)
            taken.clear()
        case "finish":
            taken += take_waiting()
            outcome = HttpResult(status_code=200, error="", duration_ms=1)
            if taken:
                record_results(
                    [AttemptResult(run, outcome, Succeed(), now) for run in taken]
                )
            taken.clear()
        case "over":
            task_counts.end_all_expired_tasks()
        case "prune":
            retention.prune(now=now + timedelta(days=chance.choice([0, 40])))


def by_put(api: APIClient, task: dict[str, Any]) -> None:
    api.put("/tasks/by-name/n", {**NAMED, "end_datetime": LATER}, format="json")


def by_patch(api: APIClient, task: dict[str, Any]) -> None:
    api.patch(f"/tasks/id/{task['id']}", {"end_datetime": LATER}, format="json")


def by_apply(api: APIClient, task: dict[str, Any]) -> None:
    wanted = {**NAMED, "end_datetime": LATER}
    api.post("/tasks/apply/", {"tag": "t", "tasks": [wanted]}, format="json")


def by_the_admin(api: APIClient, task: dict[str, Any]) -> None:
    PeriodicTask.objects.filter(http_task=task["id"]).update(expires=LATER)
    admin_edits.sync_admin_edits(schedule_edits.find_edited_task_ids(limit=9))


def unseen_until_it_fires(api: APIClient, task: dict[str, Any]) -> None:
    PeriodicTask.objects.filter(http_task=task["id"]).update(expires=LATER)
    Task.objects.update(next_fire_at=timezone.now() - HOUR)
    take_due()


@pytest.mark.parametrize(
    "moved", [by_put, by_patch, by_apply, by_the_admin, unseen_until_it_fires]
)
def test_a_list_knows_the_end_that_a_schedule_has_now(
    api: APIClient, moved: Callable[[APIClient, dict[str, Any]], None]
) -> None:
    task = created(api, NAMED)
    assert Task.objects.get().ends_at == datetime(2091, 1, 5, 8, tzinfo=UTC)

    moved(api, task)

    stored = Task.objects.select_related("periodic_task").get()
    assert (
        stored.ends_at == stored.periodic_task.expires == datetime.fromisoformat(LATER)
    )
    assert schedule_edits.find_edited_task_ids(limit=9) == []
