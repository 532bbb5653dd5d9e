"""What a plan says is what applying it does, whatever is declared and whatever is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from tasks_api.models import Task, TaskTag
from tests.conftest import ClientFor

NAMES = ("a", "b", "c", "d", "e")
OVER = "2020-01-01T00:00:00Z"

Declared = dict[str, Any]

_schedules = st.one_of(
    st.fixed_dictionaries(
        {
            "task_type": st.just("periodic"),
            "frequency": st.sampled_from([3600, 7200]),
            "start_datetime": st.sampled_from(
                ["2090-12-05T08:00:00Z", "2090-12-05 09:00:00"]
            ),
            "end_datetime": st.sampled_from(["2091-01-05T08:00:00Z"]),
        },
        optional={
            "overlap": st.sampled_from(["allow", "skip"]),
            "pause_after_failures": st.sampled_from([None, 3]),
        },
    ),
    st.fixed_dictionaries(
        {
            "task_type": st.just("periodic"),
            "cron": st.sampled_from(["0 7 * * *", "30 2 * * 1"]),
        },
        optional={"dst": st.sampled_from([{"gap": "skip"}, {"overlap": "both"}])},
    ),
    # Without a start it would count from the moment in which it is said.
    st.just(
        {
            "task_type": "periodic",
            "cron": "@every 2h",
            "start_datetime": "2090-12-05T08:00:00Z",
        }
    ),
    st.fixed_dictionaries(
        {
            "task_type": st.just("one_time"),
            "run_datetime": st.sampled_from(
                ["2090-12-05T08:00:00Z", "2090-12-06T08:00:00Z", OVER]
            ),
        }
    ),
)
_others = st.fixed_dictionaries(
    {
        "url": st.sampled_from(
            [
                "http://example.com/1",
                "http://u:1@example.com/2",
                "http://u:2@example.com/2",
            ]
        )
    },
    optional={
        "paused": st.sampled_from([True, False, None]),
        "post_data": st.sampled_from([{"x": 1}, {"x": 1.0}, {}]),
        "tags": st.sampled_from([[], ["other"], ["x", "web"]]),
        "headers": st.sampled_from([{"X-Key": "one"}, {"X-Key": "two"}]),
        "retry": st.just({"max_attempts": 2}),
        "timeout_seconds": st.sampled_from([5, 9]),
    },
)
_tasks = st.builds(lambda one, other: {**one, **other}, _schedules, _others)
# Each name at most once, in any order.
_lists = st.dictionaries(st.sampled_from(NAMES), _tasks).map(
    lambda tasks: [{**task, "name": name} for name, task in tasks.items()]
)
_tags = st.sampled_from(["web", "other"])
_bad = st.sampled_from(
    [
        {"url": "ftp://x"},
        {"url": None},
        {"task_type": "weekly"},
        {"paused": "yes"},
        {"tags": [7]},
        {"overlap": "maybe"},
        {"name": ""},
    ]
)

# Each example is taken back, so that none finds what another one stored.
_each_by_itself = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def apply(api: APIClient, tag: str, tasks: Sequence[Declared], **more: Any) -> Any:
    body = {"tag": tag, "tasks": tasks, **more}
    return api.post("/tasks/apply/", body, format="json")


def steps(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.json()
    found: list[dict[str, Any]] = answer.json()["tasks"]
    return found


def stored_rows() -> dict[str, list[Any]]:
    """All that says anything about tasks, also what has ended, and who did it."""
    schedule = [
        f"periodic_task__{name}"
        for name in ("enabled", "interval", "crontab", "clocked", "start_time")
    ]
    return {
        "tasks": list(Task.objects.order_by("pk").values(*_COLUMNS, *schedule)),
        "tags": sorted(TaskTag.objects.values_list("task", "tag")),
        "log": sorted(AuditEntry.objects.values_list("pk", "action")),
    }


_COLUMNS = [field.attname for field in Task._meta.concrete_fields]


def store(api: APIClient, lists: Sequence[tuple[str, list[Declared]]]) -> None:
    """Lists that are refused store nothing: a living task cannot be moved to the past."""
    for tag, tasks in lists:
        assert apply(api, tag, tasks).status_code in {200, 400}


@_each_by_itself
@given(there=st.lists(st.tuples(_tags, _lists), max_size=2), tag=_tags, declared=_lists)
def test_a_plan_is_what_is_done(
    api: APIClient, there: list[tuple[str, list[Declared]]], tag: str, declared: Any
) -> None:
    with transaction.atomic():
        store(api, there)
        before = stored_rows()
        beside = unchanged_tasks(tag, declared)

        planned = apply(api, tag, declared, dry_run=True)
        assert stored_rows() == before
        done = apply(api, tag, declared, plan=planned.json().get("plan"))
        if planned.status_code == 400:
            assert done.json() == planned.json()
            assert stored_rows() == before
            transaction.set_rollback(True)
            return

        # But for the ids of what is new, which a plan cannot know.
        expected = steps(planned)
        made = {step["name"]: step["id"] for step in steps(done)}
        for step in expected:
            event(step["action"])
            if step["action"] == "create":
                assert step["id"] is None
                step["id"] = made[step["name"]]
        assert steps(done) == expected
        for step in expected:
            assert_step_is_true(api, step)
        assert unchanged_tasks(tag, declared) == beside

        after = stored_rows()
        again = apply(api, tag, declared)
        assert {step["action"] for step in steps(again)} <= {"keep", "over"}
        assert stored_rows() == after
        transaction.set_rollback(True)


def unchanged_tasks(tag: str, declared: Sequence[Declared]) -> list[dict[str, Any]]:
    """The living tasks that the list says nothing about."""
    alive = Task.objects.filter(ended_at=None).exclude(
        name__in=[task["name"] for task in declared]
    )
    tagged = TaskTag.objects.filter(tag=tag).values("task")
    return list(alive.exclude(pk__in=tagged).order_by("pk").values(*_COLUMNS))


def assert_step_is_true(api: APIClient, step: dict[str, Any]) -> None:
    """What a step says of a task is what the other paths show."""
    shown = api.get(f"/tasks/by-name/{step['name']}")
    if step["action"] in {"delete", "over"}:
        assert shown.status_code == 404
        return
    task = shown.json()
    assert task["id"] == step["id"]
    for name, change in step["changes"].items():
        if name != "paused":
            assert task.get(name) == change["to"], name
    if step["action"] in {"pause", "resume"}:
        assert set(step["changes"]) == {"paused"}
    coming = api.get(f"/tasks/{task['id']}/next/?n=3").json()
    times = [] if coming["paused"] else [each["at"] for each in coming["fire_times"]]
    assert times == step["fire_times_after"]
    if "paused" in step["changes"]:
        assert coming["paused"] is step["changes"]["paused"]["to"]


@_each_by_itself
@given(there=_lists, declared=_lists, bad=_bad, task=_tasks, place=st.integers(0, 5))
def test_a_list_with_one_bad_task_writes_nothing(
    api: APIClient,
    there: list[Declared],
    declared: list[Declared],
    bad: Declared,
    task: Declared,
    place: int,
) -> None:
    task.pop("run_datetime", None)
    declared.insert(place, {**task, "name": "bad", **bad})
    with transaction.atomic():
        store(api, [("web", there)])
        before = stored_rows()

        planned = apply(api, "web", declared, dry_run=True)
        refused = apply(api, "web", declared)

        assert planned.status_code == refused.status_code == 400
        assert planned.json() == refused.json()
        at = min(place, len(declared) - 1)
        assert at in [each["index"] for each in refused.json()["error"]["tasks"]]
        assert stored_rows() == before
        transaction.set_rollback(True)


@_each_by_itself
@given(theirs=_lists, declared=_lists)
def test_the_tasks_of_others_stay_as_they_are(
    api: APIClient,
    stranger: User,
    client_for: ClientFor,
    theirs: list[Declared],
    declared: list[Declared],
) -> None:
    with transaction.atomic():
        store(client_for(stranger), [("web", theirs)])
        of_theirs = Task.objects.filter(owner=stranger).order_by("pk")
        before = list(of_theirs.values())

        steps(apply(api, "web", declared))
        steps(apply(api, "web", []))

        assert list(of_theirs.values()) == before
        transaction.set_rollback(True)
