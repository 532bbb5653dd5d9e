"""Schedules that leave out what can be left out, and moments by the clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from tasks_api.models import Task
from tests.integration.support.tasks_surface import (
    ABSENT,
    ONE_TIME,
    PERIODIC,
    changed,
    created,
    error,
)

EVERY_HOUR = {"task_type": "periodic", "frequency": 3600, "url": "http://a.example/"}
USES: list[dict[str, Any]] = [
    {"end_datetime": None},
    {"stop_datetime": None},
    {"name": "n"},
    {"tags": []},
    {"paused": False},
    {"method": "PUT"},
    {"headers": {}},
    {"timeout_seconds": 5},
    {"expected_status": "200"},
    {"retry": {}},
    {"overlap": "allow"},
    {"misfire": "latest"},
    {"spread": 0},
    {"body": 1},
    {"long_work": {"deadline": 5}},
    {"pause_after_failures": 1},
    {"queue": "mail", "url": None},
]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("use", USES, ids=lambda use: next(iter(use)))
def test_who_knows_the_service_may_leave_out_start_and_end(
    api: APIClient, use: dict[str, Any]
) -> None:
    now = timezone.now()

    task = created(api, {**EVERY_HOUR, **use})

    late = moment(task["start_datetime"]) - now - timedelta(hours=1)
    assert abs(late) < timedelta(seconds=20)
    assert task["end_datetime"] is None
    assert task["next_run_datetime"] == task["start_datetime"]


@pytest.mark.parametrize("more", [{}, {"id": "x"}, {"name": None}, {"run_datetime": 1}])
def test_the_documented_refusal_stays_for_who_does_not(
    api: APIClient, more: dict[str, Any]
) -> None:
    answer = api.post("/tasks/", {**EVERY_HOUR, **more}, format="json")
    start = {"start_datetime": "2090-01-01 00:00:00"}
    without_end = api.post("/tasks/", {**EVERY_HOUR, **start, **more}, format="json")

    assert (answer.status_code, answer.json()) == (
        400,
        error("Missing key: start_datetime"),
    )
    assert without_end.json() == error("Missing key: end_datetime")


def test_a_given_start_or_end_counts(api: APIClient) -> None:
    start, end = "2090-01-01 00:00:00", "2091-01-01 00:00:00"

    started = created(api, {**EVERY_HOUR, "start_datetime": start, "tags": ["a"]})
    ending = created(api, {**EVERY_HOUR, "end_datetime": end, "tags": ["a"]})

    assert (started["start_datetime"], started["end_datetime"]) == (start, None)
    assert ending["end_datetime"] == end


def test_the_same_schedule_put_again_does_not_begin_anew(api: APIClient) -> None:
    def put(**more: Any) -> dict[str, Any]:
        body = {**EVERY_HOUR, **more}
        return dict(api.put("/tasks/by-name/n", body, format="json").json())

    first = put()
    task = Task.objects.with_schedule().get()
    row = task.periodic_task
    row.start_time -= timedelta(hours=5)
    row.save(update_fields=["start_time"])

    assert put()["start_datetime"] < first["start_datetime"]
    assert put(frequency=7200)["start_datetime"] > first["start_datetime"]


def test_a_change_takes_the_end_away(api: APIClient) -> None:
    task = created(api, PERIODIC)

    answer = api.patch(f"/tasks/id/{task['id']}", {"end_datetime": None}, format="json")

    assert answer.status_code == 200, answer.json()
    assert answer.json() == {**task, "end_datetime": None}


def test_a_preview_refuses_what_a_create_would(api: APIClient) -> None:
    for more, status in (({}, 400), ({"end_datetime": None}, 200)):
        body = {**EVERY_HOUR, "n": 2, **more}
        answer = api.post("/tasks/preview/", body, format="json")
        assert answer.status_code == status


# The moment of a one-off in a zone.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2090-07-01 09:00:00", "2090-07-01 07:00:00"),
        ("2090-12-01T09:00", "2090-12-01 08:00:00"),
        ("2090-07-01 09:00:00Z", "2090-07-01 09:00:00"),
        ("2090-07-01 09:00:00-05:00", "2090-07-01 14:00:00"),
        # In the gap of 26 March, and in both passes of 29 October.
        ("2090-03-26 02:30:00", "2090-03-26 01:00:00"),
        ("2090-10-29 02:30:00", "2090-10-29 00:30:00"),
    ],
)
def test_a_moment_without_offset_is_by_the_clock_of_the_zone(
    api: APIClient, text: str, shown: str
) -> None:
    zone = {"timezone": "Europe/Berlin"}

    task = created(api, {**ONE_TIME, **zone, "run_datetime": text})

    assert task["run_datetime"] == task["next_run_datetime"] == shown
    assert "timezone" not in task


@pytest.mark.parametrize(
    ("zone", "sentence"),
    [
        ("Mars/Base", "The time zone 'Mars/Base' is not known."),
        ("", "The time zone '' is not known."),
        (7, "Value should be a string"),
        ([], "Value should be a string"),
    ],
)
def test_a_zone_that_is_none_is_refused(
    api: APIClient, zone: object, sentence: str
) -> None:
    answer = api.post("/tasks/", {**ONE_TIME, "timezone": zone}, format="json")

    message = f"Invalid value of timezone. {sentence}"
    assert (answer.status_code, answer.json()) == (400, error(message))


@pytest.mark.parametrize("text", ["0001-01-01 00:00", "9999-12-31 23:59:59"])
def test_a_moment_at_the_edge_of_the_calendar_is_no_failure(
    api: APIClient, text: str
) -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        body = {**ONE_TIME, "run_datetime": text, "timezone": zone}
        assert api.post("/tasks/", body, format="json").status_code in (201, 400)


def test_a_change_reads_its_moment_in_its_zone(api: APIClient) -> None:
    task = created(api, ONE_TIME)
    path = f"/tasks/id/{task['id']}"
    zone = {"timezone": "Asia/Tokyo"}

    moved = api.patch(path, {**zone, "run_datetime": "2090-01-01 09:00"}, format="json")
    alone = api.patch(path, zone, format="json")

    assert moved.json()["run_datetime"] == "2090-01-01 00:00:00"
    assert (alone.status_code, alone.json()) == (
        400,
        error("A timezone goes with a run_datetime"),
    )


def test_a_cron_that_becomes_a_one_off_leaves_its_zone_behind(api: APIClient) -> None:
    cron = {"cron": "0 9 * * *", "timezone": "Asia/Tokyo", "frequency": ABSENT}
    task = created(api, changed(EVERY_HOUR, cron))
    once = {"task_type": "one_time", "run_datetime": "2090-01-01 09:00"}

    answer = api.patch(f"/tasks/id/{task['id']}", once, format="json")

    assert answer.json()["run_datetime"] == "2090-01-01 09:00:00"


def test_a_declared_moment_that_passed_in_its_zone_is_over(api: APIClient) -> None:
    # Midnight of tomorrow in UTC+14 is ten in the morning of today in UTC.
    at = (timezone.now() + timedelta(hours=13)).strftime("%Y-%m-%d %H:%M")
    task = {**ONE_TIME, "name": "n", "run_datetime": at}
    task["timezone"] = "Pacific/Kiritimati"

    answer = api.post("/tasks/apply/", {"tag": "t", "tasks": [task]}, format="json")

    assert [step["action"] for step in answer.json()["tasks"]] == ["over"]
