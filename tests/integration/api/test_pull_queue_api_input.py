"""What the pull queue surface reads in a query and in a body."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from tasks_api.models import Message
from tests.integration.support.json_samples import BROKEN_TEXTS
from tests.integration.support.pull_queue_surface import (
    JSON,
    NAME_RULE,
    NAMED,
    TOO_LONG,
    assert_refused,
    enqueue_job,
    expire_leases,
    put_in_flight,
    send_call,
)


@pytest.mark.parametrize(
    ("method", "path", "names"),
    [
        ("GET", "/next", ["queue"]),
        ("PATCH", "/heartbeat", ["queue", "job_id"]),
        ("DELETE", "/complete", ["queue", "job_id"]),
    ],
)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "Missing parameter: {name}"),
        ("", f"Invalid value of {{name}}. {NAME_RULE}"),
        (TOO_LONG, f"Invalid value of {{name}}. {NAME_RULE}"),
        ("%00", "Invalid value of {name}. It contains a NUL character"),
        ("a%00b", "Invalid value of {name}. It contains a NUL character"),
        # Not UTF-8: a byte of Latin-1, half a character, half a surrogate pair.
        ("%FF", "The query string is not valid UTF-8"),
        ("%E2%82", "The query string is not valid UTF-8"),
        ("%ED%A0%80", "The query string is not valid UTF-8"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_a_bad_parameter_is_named(
    api: APIClient,
    method: str,
    path: str,
    names: list[str],
    text: str | None,
    sentence: str,
) -> None:
    enqueue_job(api)

    for name in names:
        query = {**dict.fromkeys(names, "1"), name: text}
        pairs = [f"{key}={value}" for key, value in query.items() if value is not None]
        answer = send_call(api, method, f"{path}?{'&'.join(pairs)}")
        assert_refused(answer, 400, sentence.format(name=name))


def test_a_query_may_be_as_long_as_it_likes(api: APIClient) -> None:
    enqueue_job(api)

    answer = api.get(f"/next?{'x&' * 5000}queue=my-queue")

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "name", ["ä", "路", "😀" * 255, "a b", "a+b", "a/b?c=d&e#f", "%41", '"', "\n", "\ufffd"]
)  # fmt: skip
def test_any_name_can_be_told_in_a_query(api: APIClient, name: str) -> None:
    enqueue_job(api, id=name, queue=name)
    queue = f"queue={quote(name, safe='')}"

    [job] = api.get(f"/next?{queue}").json()

    assert (job["id"], job["queue"]) == (name, name)
    named = f"{queue}&job_id={quote(name, safe='')}"
    assert send_call(api, "PATCH", f"/heartbeat?{named}").status_code == 202
    assert send_call(api, "DELETE", f"/complete?{named}").status_code == 200


# As JSON.


@pytest.mark.parametrize("body", BROKEN_TEXTS, ids=lambda body: repr(body[:32]))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/enqueue"),
        ("POST", "/enqueue/batch"),
        ("POST", "/reschedule"),
        ("PATCH", f"/heartbeat?{NAMED}"),
    ],
)
def test_a_body_that_is_not_usable_json_is_a_bad_request(
    api: APIClient, method: str, path: str, body: bytes
) -> None:
    put_in_flight(api)
    before = list(Message.objects.values())

    answer = getattr(api, method.lower())(path, body, content_type=JSON)

    assert answer.status_code == 400
    assert answer.content.startswith(b"The request body ")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert list(Message.objects.values()) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/enqueue"),
        ("POST", "/enqueue/batch"),
        ("POST", "/reschedule"),
        ("PATCH", f"/heartbeat?{NAMED}"),
    ],
)
def test_a_body_over_the_limit_is_refused(
    api: APIClient, settings: LazySettings, method: str, path: str
) -> None:
    put_in_flight(api)
    settings.SCHEDULER_MAX_BODY_BYTES = 100

    answer = api.generic(method, path, '"' + "x" * 99 + '"', content_type=JSON)

    assert_refused(answer, 413, "The request body is larger than 100 bytes")


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "/"])
def test_a_body_is_read_as_json_whatever_its_type(
    api: APIClient, content_type: str
) -> None:
    put_in_flight(api, max_retries=1)

    api.generic("PATCH", f"/heartbeat?{NAMED}", "1.10", content_type=content_type)
    expire_leases()

    answer = api.get("/next?queue=my-queue")
    [job] = json.loads(answer.content, parse_float=Decimal)
    assert str(job["state"]) == "1.10"
