"""Creating tasks: every form that is taken, every form that is not."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Task
from tests.integration.support.tasks_surface import (
    ABSENT,
    ONE_TIME,
    PERIODIC,
    POST_DATA,
    changed,
    created,
    error,
)


@pytest.mark.parametrize("body", [PERIODIC, ONE_TIME], ids=["periodic", "one_time"])
def test_a_task_is_created(api: APIClient, user: User, body: dict[str, Any]) -> None:
    answer = api.post("/tasks/", body, format="json")

    task = Task.objects.for_owner(user).get()
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert answer["Location"] == f"/tasks/{task.pk}"
    assert answer.json() == {
        "id": str(task.pk),
        "message": "Task has been scheduled successfully",
    }


def test_a_periodic_task_is_shown_as_documented(api: APIClient) -> None:
    shown = created(api, PERIODIC)

    assert list(shown.items()) == [
        ("id", shown["id"]),
        ("url", "http://getTalent.com/sms/send/"),
        ("task_type", "periodic"),
        ("post_data", POST_DATA),
        ("frequency", 3601),
        ("start_datetime", "2090-12-05 08:00:00"),
        ("end_datetime", "2091-01-05 08:00:00"),
        ("next_run_datetime", "2090-12-05 08:00:00"),
    ]
    assert type(shown["frequency"]) is int


def test_a_one_time_task_is_shown_as_documented(api: APIClient) -> None:
    shown = created(api, ONE_TIME)

    assert list(shown.items()) == [
        ("id", shown["id"]),
        ("url", "http://getTalent.com/sms/send/"),
        ("task_type", "one_time"),
        ("post_data", POST_DATA),
        ("run_datetime", "2090-12-05 08:00:00"),
        ("next_run_datetime", "2090-12-05 08:00:00"),
    ]


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"task_type": "interval"}, {"task_type": "periodic"}),
        ({"task_type": " Periodic\n"}, {"task_type": "periodic"}),
        ({"task_type": "INTERVAL"}, {"task_type": "periodic"}),
        ({"frequency": 3600}, {"frequency": 3600}),
        ({"frequency": "7200"}, {"frequency": 7200}),
        ({"frequency": 7200.0}, {"frequency": 7200}),
        ({"frequency": {"hours": 2, "seconds": 1}}, {"frequency": 7201}),
        (
            {"start_datetime": "2090-12-05T08:00:00-05:00"},
            {"start_datetime": "2090-12-05 13:00:00"},
        ),
        (
            {"start_datetime": "2090-12-05T08:00:00.9Z"},
            {"start_datetime": "2090-12-05 08:00:00"},
        ),
        (
            {"end_datetime": "9999-12-31T23:59:59Z"},
            {"end_datetime": "9999-12-31 23:59:59"},
        ),
        # The smallest span allowed: the first run, and one more at the very end.
        (
            {"frequency": 3600, "end_datetime": "2090-12-05 09:00:00"},
            {"end_datetime": "2090-12-05 09:00:00"},
        ),
        (
            {"end_datetime": ABSENT, "stop_datetime": "2090-12-06 08:00:00"},
            {"end_datetime": "2090-12-06 08:00:00"},
        ),
        # Both: the alias does not count.
        ({"stop_datetime": "never"}, {"end_datetime": "2091-01-05 08:00:00"}),
        ({"post_data": ABSENT}, {"post_data": {}}),
        ({"post_data": {}}, {"post_data": {}}),
        ({"post_data": {"": {"a": [None, True]}}}, {"post_data": {"": {"a": [None, True]}}}),
        # Only in answers, or for the other type: not even looked at.
        ({"id": 7, "next_run_datetime": []}, {"task_type": "periodic"}),
        ({"run_datetime": "yesterday"}, {"task_type": "periodic"}),
    ],
)  # fmt: skip
def test_other_spellings_are_understood(
    api: APIClient, changes: dict[str, Any], shown: dict[str, Any]
) -> None:
    task = created(api, changed(PERIODIC, changes))

    assert {name: task[name] for name in shown} == shown


@pytest.mark.parametrize(
    "changes",
    [
        {"task_type": "ONE_TIME "},
        {"frequency": -1, "start_datetime": 7, "end_datetime": None},
        {"stop_datetime": "1999-01-01"},
    ],
)
def test_a_one_time_task_ignores_the_fields_of_a_periodic_one(
    api: APIClient, changes: dict[str, Any]
) -> None:
    task = created(api, changed(ONE_TIME, changes))

    assert "frequency" not in task
    assert "start_datetime" not in task


LEAST = "Invalid value of frequency. Value should be greater than or equal to 3600"
WHOLE = "Invalid value of frequency. Value should be a whole number of seconds"
TYPE = "Invalid value of task_type. Value should be periodic or one_time"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task_type": ABSENT}, "Missing key: task_type"),
        ({"frequency": ABSENT}, "Missing key: frequency"),
        ({"start_datetime": ABSENT}, "Missing key: start_datetime"),
        ({"end_datetime": ABSENT}, "Missing key: end_datetime"),
        ({"url": ABSENT}, "Missing key: url"),
        ({"task_type": "weekly"}, TYPE),
        ({"task_type": None}, TYPE),
        ({"task_type": ["periodic"]}, TYPE),
        ({"task_type": {}}, TYPE),
        ({"task_type": 1}, TYPE),
        ({"frequency": 3599}, LEAST),
        ({"frequency": 0}, LEAST),
        ({"frequency": -3600}, LEAST),
        ({"frequency": {"minutes": 59}}, LEAST),
        ({"frequency": True}, WHOLE),
        ({"frequency": None}, WHOLE),
        ({"frequency": 3600.5}, WHOLE),
        ({"frequency": "daily"}, WHOLE),
        ({"frequency": [3600]}, WHOLE),
        ({"frequency": {"fortnights": 1}}, WHOLE),
        ({"frequency": {"hours": 9, "minutes": -1}}, WHOLE),
        (
            {"frequency": 2**31},
            "Invalid value of frequency. Value should be less than or equal to 2147483647",
        ),
        ({"start_datetime": "2015-12-05 08:00:00"}, "start_datetime should be in future"),
        # An offset moves it into the past: year 1 is far enough.
        ({"start_datetime": "0001-01-01 00:00:00"}, "start_datetime should be in future"),
        (
            {"end_datetime": "2090-12-05 08:00:00"},
            "end_datetime should be after start_datetime",
        ),
        (
            {"end_datetime": "2015-12-05 08:00:00"},
            "end_datetime should be after start_datetime",
        ),
        # 3,600 seconds; the frequency is one more.
        (
            {"end_datetime": "2090-12-05 09:00:00"},
            "end_datetime should be at least one frequency after start_datetime",
        ),
        (
            {"end_datetime": ABSENT, "stop_datetime": "2090-12-05 08:00:00"},
            "stop_datetime should be after start_datetime",
        ),
        (
            {"post_data": []},
            "Invalid value of post_data. Value should be an object",
        ),
        (
            {"post_data": None},
            "Invalid value of post_data. Value should be an object",
        ),
        (
            {"post_data": "{}"},
            "Invalid value of post_data. Value should be an object",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_scheduled_is_refused_with_a_sentence(
    api: APIClient, changes: dict[str, Any], sentence: str
) -> None:
    answer = api.post("/tasks/", changed(PERIODIC, changes), format="json")

    assert (answer.status_code, answer.json()) == (400, error(sentence))
    assert not Task.objects.exists()


@pytest.mark.parametrize("name", ["start_datetime", "end_datetime", "run_datetime"])
@pytest.mark.parametrize(
    "value", ["10", "tomorrow", "2090-02-30 00:00:00", "2090-01-01", 7, 1.5, True, [], {}]
)  # fmt: skip
def test_a_bad_moment_is_refused_by_name(
    api: APIClient, name: str, value: object
) -> None:
    body = ONE_TIME if name == "run_datetime" else PERIODIC

    answer = api.post("/tasks/", {**body, name: value}, format="json")

    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith(f"Invalid value of {name}. ")


@pytest.mark.parametrize("name", ["start_datetime", "run_datetime"])
def test_null_is_no_moment_but_for_an_end(api: APIClient, name: str) -> None:
    body = ONE_TIME if name == "run_datetime" else PERIODIC

    answer = api.post("/tasks/", {**body, name: None}, format="json")

    assert answer.status_code == 400
    assert name in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"run_datetime": ABSENT}, "Missing key: run_datetime"),
        ({"run_datetime": "2015-12-05 08:00:00"}, "run_datetime should be in future"),
    ],
)
def test_a_one_time_task_needs_a_moment_in_the_future(
    api: APIClient, changes: dict[str, Any], sentence: str
) -> None:
    answer = api.post("/tasks/", changed(ONE_TIME, changes), format="json")

    assert (answer.status_code, answer.json()) == (400, error(sentence))


@pytest.mark.parametrize(
    "url",
    [
        "http://getTalent.com/sms/send/",
        "https://example.com",
        "HTTP://EXAMPLE.COM/Path",
        "http://sink:8000/x",
        "http://example.com:8443/a?b=c&d=%20e#f",
        "https://[2606:4700:4700::1111]/dns",
        "http://8.8.8.8/",
        "https://example.com/user:pass@x",
        # Escapes and other alphabets stay exactly as they were written.
        "http://example.com/%7Euser/%e2%82%ac/€/ü?q=ж",
        "http://bücher.example/",
    ],
)
def test_a_url_is_echoed_as_it_was_written(api: APIClient, url: str) -> None:
    assert created(api, {**ONE_TIME, "url": url})["url"] == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "mailto:a@example.com",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "//example.com/x",
        "/x",
        "example.com",
        "http://",
        "http:///x",
        "http://exa mple.com/",
        "http://example.com/\n",
        "http://example.com:99999/",
        "",
        # Addresses that only we can reach.
        "http://127.0.0.1/",
        "http://localhost/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://0.0.0.0/",
        # The same one in disguise.
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        7,
        None,
        True,
        ["http://example.com/"],
        {"url": "http://example.com/"},
    ],
)
def test_a_url_that_cannot_be_a_target_is_refused(api: APIClient, url: object) -> None:
    answer = api.post("/tasks/", {**ONE_TIME, "url": url}, format="json")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Invalid value of url. ")


def test_private_targets_are_a_setting(api: APIClient, settings: LazySettings) -> None:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True

    created(api, {**ONE_TIME, "url": "http://127.0.0.1:8000/x"})


def test_the_same_request_twice_makes_two_tasks(api: APIClient) -> None:
    assert created(api, PERIODIC)["id"] != created(api, PERIODIC)["id"]
