"""The policies of the tasks surface: what is taken, refused and shown again."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.api.tasks.optional_fields import render_optional_fields, stored_fields
from tasks_api.api.tasks.parsing import read_task
from tasks_api.models import Task
from tests.integration.support.tasks_surface import (
    ABSENT,
    ONE_TIME,
    PERIODIC,
    changed,
    created,
    error,
)

pytestmark = pytest.mark.django_db


CRON = {
    "task_type": "periodic",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "url": "http://getTalent.com/sms/send/",
}


QUEUE = {
    "task_type": "periodic",
    "cron": "0 * * * *",
    "queue": "mail",
    "post_data": {"n": 1},
}


RETRY = {
    "max_attempts": 6,
    "min_delay": 10,
    "max_delay": 3600,
    "max_age": 86400,
    "statuses": "408,425,429,500-599",
}


ROUND_TRIPS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # What was given, and what is shown where that is not the same.
    (PERIODIC, {"overlap": "skip"}, {}),
    (PERIODIC, {"overlap": "queue_one"}, {}),
    (PERIODIC, {"misfire": "skip"}, {}),
    (PERIODIC, {"misfire": "all", "catchup_window": 3600}, {}),
    (PERIODIC, {"catchup_window": 10}, {}),
    (PERIODIC, {"spread": 3600}, {}),
    (CRON, {"spread": 86_400}, {}),
    (CRON, {"dst": {"gap": "skip", "overlap": "both"}}, {}),
    (CRON, {"dst": {"gap": "skip"}}, {"dst": {"gap": "skip", "overlap": "first"}}),
    (
        CRON,
        {"dst": {"overlap": "both"}},
        {"dst": {"gap": "next_valid", "overlap": "both"}},
    ),
    (ONE_TIME, {"method": "put"}, {"method": "PUT"}),
    (ONE_TIME, {"timeout_seconds": 300}, {}),
    (ONE_TIME, {"expected_status": "200-299, 304"}, {"expected_status": "200-299,304"}),
    (ONE_TIME, {"expected_status": 204}, {"expected_status": "204"}),
    (ONE_TIME, {"retry": {}}, {"retry": RETRY}),
    (ONE_TIME, {"retry": {"min_delay": 1.5}}, {"retry": {**RETRY, "min_delay": 1.5}}),
    (
        ONE_TIME,
        {"retry": {"max_attempts": 185, "max_delay": 5, "max_age": 60}},
        {
            "retry": {
                **RETRY,
                "max_attempts": 185,
                "min_delay": 5,
                "max_delay": 5,
                "max_age": 60,
            }
        },
    ),
    (
        ONE_TIME,
        {"retry": {"min_delay": 7200, "statuses": "503"}},
        {"retry": {**RETRY, "min_delay": 7200, "max_delay": 7200, "statuses": "503"}},
    ),
    (
        ONE_TIME,
        {"headers": {"X-Key": "s3cret", "Authorization": "Bearer abc", "X-Empty": ""}},
        {
            "headers": {
                "X-Key": "[redacted]",
                "Authorization": "[redacted]",
                "X-Empty": "[redacted]",
            }
        },
    ),
    (QUEUE, {"misfire": "all", "spread": 60}, {}),
]


@pytest.mark.parametrize(("base", "given", "shown"), ROUND_TRIPS)
def test_a_policy_is_shown_as_it_was_given(
    api: APIClient, base: dict[str, Any], given: dict[str, Any], shown: dict[str, Any]
) -> None:
    plain = created(api, base)
    task = created(api, {**base, **given})

    added = {name: task[name] for name in task.keys() - plain.keys()}
    assert added == {**given, **shown}


DEFAULTS = {"overlap": "allow", "misfire": "latest", "spread": 0, "method": "post"}


NULLS = dict.fromkeys(
    [
        "overlap",
        "misfire",
        "catchup_window",
        "spread",
        "dst",
        "method",
        "headers",
        "timeout_seconds",
        "expected_status",
        "retry",
        "body",
        "content_type",
    ]
)


@pytest.mark.parametrize("said", [DEFAULTS, NULLS, {"headers": {}}])
def test_defaults_are_omitted(api: APIClient, said: dict[str, Any]) -> None:
    plain = created(api, PERIODIC)
    task = created(api, {**PERIODIC, **said})

    assert task.keys() == plain.keys()
    assert Task.objects.get(pk=task["id"]).request == ""


BODIES: list[tuple[dict[str, Any], str]] = [
    ({"body": [1, 2.5, None]}, "[1, 2.5, null]"),
    ({"body": "text"}, '"text"'),
    ({"body": 0}, "0"),
    ({"body": False}, "false"),
    ({"body": {"b": 1, "a": 2}}, '{"b": 1, "a": 2}'),
    ({"body": {"a": 1}, "content_type": "application/ld+json"}, '{"a": 1}'),
    ({"body": "<a>\n</a>", "content_type": "text/xml"}, "<a>\n</a>"),
    ({"body": "", "content_type": "text/plain"}, ""),
    (
        {
            "body": {"a": "1 2", "b": "ä&", "c": ""},
            "content_type": "application/x-www-form-urlencoded",
        },
        "a=1+2&b=%C3%A4%26&c=",
    ),
    (
        {"body": "a=1&a=2", "content_type": "application/x-www-form-urlencoded"},
        "a=1&a=2",
    ),
]


@pytest.mark.parametrize(("given", "sent"), BODIES)
def test_a_body_takes_many_forms(
    api: APIClient, given: dict[str, Any], sent: str
) -> None:
    body = {name: value for name, value in ONE_TIME.items() if name != "post_data"}

    task = created(api, {**body, **given})

    assert task["post_data"] is None
    assert task["body"] == given["body"]
    assert task.get("content_type") == given.get("content_type")
    assert Task.objects.get(pk=task["id"]).body == sent


def test_a_content_type_may_name_another_kind_of_json(api: APIClient) -> None:
    task = created(api, {**ONE_TIME, "content_type": "application/vnd.api+json"})

    assert task["post_data"] == ONE_TIME["post_data"]
    assert task["content_type"] == "application/vnd.api+json"


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS"])
def test_some_methods_have_no_body_unless_it_is_given(
    api: APIClient, method: str
) -> None:
    plain = {name: value for name, value in ONE_TIME.items() if name != "post_data"}
    task = created(api, {**plain, "method": method})
    other = created(api, {**plain, "method": method, "post_data": {}})

    assert (task["post_data"], other["post_data"]) == (None, {})
    assert Task.objects.get(pk=task["id"]).body == ""
    assert Task.objects.get(pk=other["id"]).body == "{}"


WORDS = "Invalid value of overlap. Value should be allow, skip or queue_one"


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (PERIODIC, {"overlap": "none"}, "overlap"),
    (PERIODIC, {"overlap": ["skip"]}, "overlap"),
    (PERIODIC, {"overlap": {}}, "overlap"),
    (PERIODIC, {"misfire": "most"}, "misfire"),
    (PERIODIC, {"misfire": 1}, "misfire"),
    (PERIODIC, {"catchup_window": 9}, "catchup_window"),
    (PERIODIC, {"catchup_window": True}, "catchup_window"),
    (PERIODIC, {"catchup_window": "60"}, "catchup_window"),
    (PERIODIC, {"catchup_window": 60.5}, "catchup_window"),
    (PERIODIC, {"catchup_window": 10**400}, "catchup_window"),
    (PERIODIC, {"misfire": "skip", "catchup_window": 60}, "catchup_window"),
    (PERIODIC, {"spread": 3601}, "spread"),
    (PERIODIC, {"spread": -1}, "spread"),
    (PERIODIC, {"spread": True}, "spread"),
    (CRON, {"spread": 86_401}, "spread"),
    (PERIODIC, {"dst": {"gap": "skip"}}, "dst"),
    (ONE_TIME, {"dst": {}}, "dst"),
    (CRON, {"dst": "skip"}, "dst"),
    (CRON, {"dst": {"gap": "shift"}}, "dst"),
    (CRON, {"dst": {"overlap": 1}}, "dst"),
    (CRON, {"dst": {"overlap": []}}, "dst"),
    (changed(CRON, {"cron": "@every 2h"}), {"dst": {"gap": "skip"}}, "dst"),
    # It would only ever fire in a gap.
    (
        changed(CRON, {"cron": "0 30 2 28 3 * 2027"}),
        {"dst": {"gap": "skip"}},
        "dst",
    ),
    (ONE_TIME, {"overlap": "skip"}, "overlap"),
    (ONE_TIME, {"misfire": "skip"}, "misfire"),
    (ONE_TIME, {"spread": 60}, "spread"),
    (ONE_TIME, {"catchup_window": 60}, "catchup_window"),
    (ONE_TIME, {"method": "TRACE"}, "method"),
    (ONE_TIME, {"method": 7}, "method"),
    (ONE_TIME, {"timeout_seconds": 0}, "timeout_seconds"),
    (ONE_TIME, {"timeout_seconds": 301}, "timeout_seconds"),
    (ONE_TIME, {"timeout_seconds": 1.5}, "timeout_seconds"),
    (ONE_TIME, {"timeout_seconds": "5"}, "timeout_seconds"),
    (ONE_TIME, {"expected_status": ""}, "expected_status"),
    (ONE_TIME, {"expected_status": "2xx"}, "expected_status"),
    (ONE_TIME, {"expected_status": "99"}, "expected_status"),
    (ONE_TIME, {"expected_status": "299-200"}, "expected_status"),
    (ONE_TIME, {"expected_status": "200,,204"}, "expected_status"),
    (ONE_TIME, {"expected_status": "\uff12\uff10\uff10"}, "expected_status"),
    (ONE_TIME, {"expected_status": True}, "expected_status"),
    (ONE_TIME, {"expected_status": ["200"]}, "expected_status"),
    (ONE_TIME, {"expected_status": 1000}, "expected_status"),
    (ONE_TIME, {"expected_status": "200," * 80}, "expected_status"),
    (ONE_TIME, {"retry": 3}, "retry"),
    (ONE_TIME, {"retry": []}, "retry"),
    (ONE_TIME, {"retry": {"max_attempts": 0}}, "retry.max_attempts"),
    (ONE_TIME, {"retry": {"max_attempts": 186}}, "retry.max_attempts"),
    (ONE_TIME, {"retry": {"max_attempts": 2.5}}, "retry.max_attempts"),
    (ONE_TIME, {"retry": {"min_delay": 0}}, "retry.min_delay"),
    (ONE_TIME, {"retry": {"max_delay": 604_801}}, "retry.max_delay"),
    (ONE_TIME, {"retry": {"min_delay": 9, "max_delay": 8}}, "retry.max_delay"),
    (ONE_TIME, {"retry": {"max_age": 59}}, "retry.max_age"),
    (ONE_TIME, {"retry": {"max_age": False}}, "retry.max_age"),
    (ONE_TIME, {"retry": {"statuses": "all"}}, "retry.statuses"),
    (ONE_TIME, {"headers": ["X-A"]}, "headers"),
    (ONE_TIME, {"headers": "X-A: 1"}, "headers"),
    (ONE_TIME, {"headers": 0}, "headers"),
    (ONE_TIME, {"headers": {"X-A": 1}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": None}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "a\n"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": " a"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "ä"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "\x7f"}}, "headers"),
    (ONE_TIME, {"headers": {"": "a"}}, "headers"),
    (ONE_TIME, {"headers": {"X A": "a"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A:": "a"}}, "headers"),
    (ONE_TIME, {"headers": {"X-Ä": "a"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A\n": "a"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "[redacted]"}}, "headers"),
    (ONE_TIME, {"headers": {"HOST": "a"}}, "headers"),
    (ONE_TIME, {"headers": {"Content-Length": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"transfer-encoding": "chunked"}}, "headers"),
    (ONE_TIME, {"headers": {"Connection": "close"}}, "headers"),
    (ONE_TIME, {"headers": {"Webhook-Id": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"Idempotency-Key": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"X-Scheduled-For": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"Proxy-Authorization": "1"}}, "headers"),
    # As CGI and WSGI read them, they are the same.
    (ONE_TIME, {"headers": {"Content_Length": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"Transfer_Encoding": "chunked"}}, "headers"),
    (ONE_TIME, {"headers": {"Webhook_Id": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"webhook.signature": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"X_Scheduler_Run_Token": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"PROXY_AUTHORIZATION": "1"}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "1", "x_a": "2"}}, "headers"),
    (ONE_TIME, {"headers": {f"X-{n}": "1" for n in range(51)}}, "headers"),
    (ONE_TIME, {"headers": {"X-A": "1" * 16_384}}, "headers"),
    (ONE_TIME, {"body": 1}, "body"),
    (ONE_TIME, {"content_type": "text/plain"}, "content_type"),
    (ONE_TIME, {"content_type": "json"}, "content_type"),
    (ONE_TIME, {"content_type": 1}, "content_type"),
    (ONE_TIME, {"content_type": "a/b\r\nX: y"}, "content_type"),
    (
        ONE_TIME,
        {"content_type": "application/json", "headers": {"Content-Type": "a/b"}},
        "content_type",
    ),
    (
        changed(ONE_TIME, {"post_data": ABSENT}),
        {"body": {"a": "b"}, "content_type": "text/plain"},
        "body",
    ),
    (
        changed(ONE_TIME, {"post_data": ABSENT}),
        {"body": {"a": 1}, "content_type": "application/x-www-form-urlencoded"},
        "body",
    ),
    *(
        (QUEUE, {name: value}, name)
        for name, value in {
            "method": "PUT",
            "headers": {"X-A": "1"},
            "timeout_seconds": 5,
            "expected_status": "200",
            "retry": {"max_attempts": 2},
            "overlap": "skip",
            "content_type": "text/plain",
        }.items()
    ),
]


@pytest.mark.parametrize(("base", "given", "field"), REFUSED)
def test_a_bad_policy_is_refused_by_name(
    api: APIClient, base: dict[str, Any], given: dict[str, Any], field: str
) -> None:
    answer = api.post("/tasks/", {**base, **given}, format="json")

    assert answer.status_code == 400, answer.json()
    message = answer.json()["error"]["message"]
    assert message.startswith(f"Invalid value of {field}. ")
    assert not Task.objects.exists()


def test_the_sentence_says_what_is_wanted(api: APIClient) -> None:
    answer = api.post("/tasks/", {**PERIODIC, "overlap": "none"}, format="json")

    assert answer.json() == error(WORDS)


def test_the_values_of_headers_lie_sealed_in_the_database(
    api: APIClient, user: User
) -> None:
    task = created(api, {**ONE_TIME, "headers": {"X-Key": "very secret"}})

    stored = Task.objects.get(pk=task["id"])
    assert "very secret" not in stored.request
    assert "X-Key" in stored.request


@pytest.mark.parametrize(("base", "given", "shown"), ROUND_TRIPS)
def test_what_a_task_was_given_can_be_given_again(
    api: APIClient, base: dict[str, Any], given: dict[str, Any], shown: dict[str, Any]
) -> None:
    now = timezone.now()
    task = created(api, {**base, **given})
    stored = Task.objects.get(pk=task["id"])

    again = stored_fields(stored)
    spec = read_task({**base, **again}, now=now)

    if "headers" in given:
        assert again["headers"] == given["headers"]
    assert spec.retry == read_task({**base, **given}, now=now).retry
    assert render_optional_fields(stored) == {**given, **shown}
