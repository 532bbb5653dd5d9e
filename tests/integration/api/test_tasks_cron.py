"""Tasks by cron expression, and tasks that go into a pull queue."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule
from rest_framework.test import APIClient

from tasks_api.models import Task
from tests.integration.support.tasks_surface import (
    ABSENT,
    ONE_TIME,
    PERIODIC,
    changed,
    created,
)

CRON = {
    "task_type": "periodic",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "url": "http://getTalent.com/sms/send/",
    "post_data": {},
}


def test_a_task_may_fire_by_a_cron_expression(api: APIClient) -> None:
    shown = created(api, CRON)

    stored = CrontabSchedule.objects.get()
    assert shown["task_type"] == "periodic"
    assert (shown["cron"], shown["timezone"]) == ("30 2 * * *", "Europe/Berlin")
    assert (shown["frequency"], shown["start_datetime"], shown["end_datetime"]) == (
        None,
        None,
        None,
    )
    # In summer, in winter, and in the night in which the clock skips that time.
    assert shown["next_run_datetime"][11:] in {"00:30:00", "01:30:00", "01:00:00"}
    assert (stored.minute, stored.hour, str(stored.timezone)) == (
        "30",
        "2",
        "Europe/Berlin",
    )


@pytest.mark.parametrize(
    ("cron", "shown"),
    [
        ("@daily", "0 0 * * *"),
        ("0 30 2 * * *", "30 2 * * *"),
        ("15 30 2 * * *", "15 30 2 * * *"),
        ("0 30 2 * * * 2090-2095", "0 30 2 * * * 2090-2095"),
        ("0 30 2 * * * *", "30 2 * * *"),
        ("30 2 ? * MON-FRI", "30 2 * * MON-FRI"),
    ],
)
def test_a_cron_expression_is_shown_in_its_shortest_form(
    api: APIClient, cron: str, shown: str
) -> None:
    assert created(api, changed(CRON, {"cron": cron}))["cron"] == shown


def test_tasks_of_one_expression_share_its_row(api: APIClient) -> None:
    created(api, CRON)
    created(api, changed(CRON, {"cron": "15 30 2 * * *"}))
    created(api, changed(CRON, {"timezone": "UTC"}))

    assert CrontabSchedule.objects.count() == 2


def test_a_cron_may_have_a_start_and_an_end(api: APIClient) -> None:
    shown = created(
        api,
        changed(
            CRON,
            {
                "timezone": ABSENT,
                "start_datetime": "2090-12-05 02:30:00",
                "end_datetime": "2090-12-06 02:30:00",
            },
        ),
    )

    assert shown["timezone"] == "UTC"
    assert shown["next_run_datetime"] == "2090-12-05 02:30:00"
    assert shown["end_datetime"] == "2090-12-06 02:30:00"


def test_every_is_a_frequency(api: APIClient) -> None:
    shown = created(api, changed(CRON, {"cron": "@every 2h", "timezone": ABSENT}))

    assert shown["frequency"] == 7200
    assert "cron" not in shown
    first = Task.objects.get().next_fire_at
    assert first is not None
    wait = first - timezone.now()
    assert timedelta(minutes=119) < wait <= timedelta(hours=2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cron": ""}, "cron"),
        ({"cron": 5}, "cron"),
        ({"cron": ["* * * * *"]}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "*/0 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "@every 1h", "frequency": 3600}, "cron"),
        ({"cron": "@every 59m", "timezone": ABSENT}, "cron"),
        ({"timezone": "Mars/Base"}, "cron"),
        ({"timezone": 7}, "timezone"),
        ({"cron": ABSENT, "frequency": 3600}, "timezone"),
        ({"start_datetime": "2020-01-01"}, "start_datetime"),
        ({"start_datetime": "2020-01-01 00:00:00"}, "start_datetime"),
        ({"end_datetime": "2020-01-01 00:00:00"}, "end_datetime"),
        ({"stop_datetime": "2020-01-01 00:00:00"}, "stop_datetime"),
        ({"cron": ABSENT, "timezone": ABSENT}, "frequency"),
        # Nothing is left between the two.
        ({"start_datetime": "2090-01-01 03:00:00", "end_datetime": "2090-01-01 04:00:00"}, "cron"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field(
    api: APIClient, changes: dict[str, Any], named: str
) -> None:
    answer = api.post("/tasks/", changed(CRON, changes), format="json")

    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]
    assert not Task.objects.exists()


def test_a_cron_task_is_paused_and_resumed(api: APIClient) -> None:
    task = created(api, CRON)
    api.post(f"/tasks/{task['id']}/pause/")
    assert api.get(f"/tasks/{task['id']}").json()["next_run_datetime"] is None

    api.post(f"/tasks/{task['id']}/resume/")

    assert api.get(f"/tasks/{task['id']}").json() == task


@pytest.mark.parametrize("body", [PERIODIC, ONE_TIME, CRON])
def test_a_task_may_go_into_a_queue(api: APIClient, body: dict[str, Any]) -> None:
    shown = created(api, changed(body, {"url": ABSENT, "queue": "work"}))

    task = Task.objects.get()
    assert (shown["url"], shown["queue"]) == (None, "work")
    assert (task.url, task.queue) == ("", "work")
    assert json.loads(task.body) == shown["post_data"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"queue": "work"}, "queue"),
        ({"url": ABSENT, "queue": ""}, "queue"),
        ({"url": ABSENT, "queue": 7}, "queue"),
        ({"url": ABSENT, "queue": "x" * 256}, "queue"),
        ({"url": ABSENT, "queue": None}, "url"),
    ],
)
def test_a_task_has_a_url_or_a_queue(
    api: APIClient, changes: dict[str, Any], named: str
) -> None:
    answer = api.post("/tasks/", changed(ONE_TIME, changes), format="json")

    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


def test_a_cron_may_be_finer_than_the_least_frequency(
    api: APIClient, settings: LazySettings
) -> None:
    settings.SCHEDULER_MIN_FREQUENCY = 3600

    assert created(api, changed(CRON, {"cron": "*/10 * * * * *"}))


@pytest.mark.parametrize("zone", ["right/Europe/Berlin", "localtime", "Factory"])
@pytest.mark.parametrize("path", ["/tasks/", "/tasks/preview/", "/tasks/bulk/", "/"])
def test_a_file_that_is_no_zone_is_refused_everywhere(
    api: APIClient, path: str, zone: str
) -> None:
    body: Any = {"task_type": "periodic", "cron": "0 9 * * *", "timezone": zone, "url": "http://93.184.216.34/"}  # fmt: skip
    if path == "/":
        body = {"id": "a", "cron": f"CRON_TZ={zone} 0 9 * * *", "endpoint": "http://93.184.216.34/", "payload": {}}  # fmt: skip

    answer = api.post(path, [body] if "bulk" in path else body, format="json")

    assert answer.status_code == 400
    assert "is not known" in answer.content.decode()
    assert zone in answer.content.decode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cron(0 18 ? * 2-6 *)", {"cron": "0 18 * * 1-5", "timezone": "Asia/Tokyo"}),
        ("at(2090-01-02T03:04:05)", {"cron": "5 4 3 2 1 * 2090", "timezone": "Asia/Tokyo"}),
        ("rate(2 hours)", {"frequency": 7200}),
    ],
)  # fmt: skip
def test_a_schedule_of_eventbridge_is_taken_as_it_is(
    api: APIClient, text: str, shown: dict[str, object]
) -> None:
    body = {"task_type": "periodic", "cron": text, "timezone": "Asia/Tokyo", "url": "http://93.184.216.34/"}  # fmt: skip

    made = api.post("/tasks/", body, format="json")

    assert made.status_code == 201, made.json()
    task = api.get(f"/tasks/id/{made.json()['id']}").json()
    assert shown.items() <= task.items()


def test_six_fields_of_eventbridge_are_refused_by_field(api: APIClient) -> None:
    body = {"task_type": "periodic", "cron": "0 18 * * ? *", "url": "http://93.184.216.34/"}  # fmt: skip

    answer = api.post("/tasks/", body, format="json")

    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith("Invalid value of cron. Six fields are second")
    assert "cron(0 18 * * ? *)" in message


@pytest.mark.parametrize(
    ("path", "name", "body"),
    [
        ("/tasks/", "cron", {"task_type": "periodic", "cron": "* * * * * *"}),
        ("/", "cron", {"id": "a", "cron": "@every 59s", "payload": {}}),
        ("/", "cron", {"id": "a", "cron": "0,59 * * * * *", "payload": {}}),
    ],
)
def test_an_operator_may_say_how_often_expressions_fire(
    api: APIClient,
    settings: LazySettings,
    path: str,
    name: str,
    body: dict[str, object],
) -> None:
    target = "url" if path == "/tasks/" else "endpoint"
    body = {**body, target: "http://93.184.216.34/"}
    settings.SCHEDULER_MIN_FREQUENCY = 1

    settings.SCHEDULER_MIN_CRON_INTERVAL = 60
    refused = api.post(path, body, format="json")
    settings.SCHEDULER_MIN_CRON_INTERVAL = 1
    taken = api.post(path, body, format="json")

    assert refused.status_code == 400
    assert f"Invalid value of {name}" in refused.content.decode()
    assert "more often than every 60 s" in refused.content.decode()
    assert taken.status_code in {201, 202}
