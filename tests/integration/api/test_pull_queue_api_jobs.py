"""What a job of the pull queue may say, and how it comes out."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from tasks_api.models import Message, QueueTally
from tests.integration.support.json_samples import nested_arrays, read_exactly
from tests.integration.support.pull_queue_surface import (
    JOB,
    JSON,
    NAME_RULE,
    NAMED,
    TOO_LONG,
    assert_refused,
    enqueue_job,
    expire_leases,
    fetch_jobs,
    put_in_flight,
    send_call,
)

TIMEOUT_RULE = "Value should be a whole number from 0 to 2147483647"


RETRIES_RULE = "Value should be a whole number from -2147483648 to 2147483647"


MOMENT_RULE = (
    "Value should be a date and time in ISO 8601, such as 2030-12-05T08:00:00Z"
)


BAD_NAMES: list[object] = ["", TOO_LONG, None, 1, True, ["a"], {"a": 1}]


BAD_TIMEOUTS: list[object] = [
    *(-1, 2**31, 10**300, 1.5, -0.5, True, False),
    *("30", None, [], {}),
]


BAD_RETRIES: list[object] = [2**31, -(2**31) - 1, 0.5, True, "1", [], {}]


BAD_MOMENTS: list[object] = [
    *("", "tomorrow", "10", "2026-02-30T00:00:00Z", "2026-02-03"),
    *(0, 1893456000, True, [], {}),
    "9999-12-31T23:59:59-01:00",
]


REFUSED: list[tuple[str, object, str]] = [
    *[("id", value, NAME_RULE) for value in BAD_NAMES],
    *[("queue", value, NAME_RULE) for value in BAD_NAMES],
    *[("timeout", value, TIMEOUT_RULE) for value in BAD_TIMEOUTS],
    *[("max_retries", value, RETRIES_RULE) for value in BAD_RETRIES],
    *[("run_at", value, MOMENT_RULE) for value in BAD_MOMENTS],
]


@pytest.mark.parametrize(("name", "value", "rule"), REFUSED)
def test_a_bad_field_is_named(
    api: APIClient, name: str, value: object, rule: str
) -> None:
    put_in_flight(api)
    before = list(Message.objects.values())
    bad, good = {**JOB, "id": "2", name: value}, {**JOB, "id": "3"}
    sentence = f"Invalid value of {name}. {rule}"

    assert_refused(send_call(api, "POST", "/enqueue", bad), 400, sentence)
    assert_refused(
        send_call(api, "POST", "/reschedule", {**JOB, name: value}), 400, sentence
    )
    batch = send_call(api, "POST", "/enqueue/batch", [good, good, good, bad, bad])
    assert_refused(batch, 400, f"[3].{name}: {sentence}")
    assert list(Message.objects.values()) == before


@pytest.mark.parametrize("name", ["id", "queue", "timeout"])
def test_a_missing_field_is_named(api: APIClient, name: str) -> None:
    job = {key: value for key, value in JOB.items() if key != name}
    sentence = f"Missing key: {name}"

    assert_refused(send_call(api, "POST", "/enqueue", job), 400, sentence)
    assert_refused(send_call(api, "POST", "/reschedule", job), 400, sentence)
    assert_refused(
        send_call(api, "POST", "/enqueue/batch", [job]), 400, f"[0].{name}: {sentence}"
    )


@pytest.mark.parametrize("body", [[], [JOB], "x", 1, None, True])
@pytest.mark.parametrize("path", ["/enqueue", "/reschedule"])
def test_a_job_is_an_object(api: APIClient, path: str, body: object) -> None:
    answer = api.post(path, json.dumps(body), content_type=JSON)

    assert_refused(answer, 400, "The request body should be a JSON object")


@pytest.mark.parametrize("body", [{}, JOB, "x", 1, None, True])
def test_a_batch_is_an_array(api: APIClient, body: object) -> None:
    answer = api.post("/enqueue/batch", json.dumps(body), content_type=JSON)

    assert_refused(answer, 400, "The request body should be a JSON array of jobs")


@pytest.mark.parametrize("element", [[], [JOB], "x", 1, None, True])
def test_a_batch_holds_objects(api: APIClient, element: object) -> None:
    answer = send_call(api, "POST", "/enqueue/batch", [JOB, element])

    assert_refused(answer, 400, "[1]: A job should be a JSON object")
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({}, {"max_retries": 0, "payload": None}),
        ({"max_retries": None}, {"max_retries": 0}),
        ({"max_retries": -1}, {"max_retries": -1}),
        ({"max_retries": -(2**31)}, {"max_retries": -(2**31)}),
        ({"max_retries": 2**31 - 1}, {"max_retries": 2**31 - 1}),
        ({"max_retries": 3.0}, {"max_retries": 3}),
        ({"timeout": 0}, {"timeout": 0}),
        ({"timeout": 30.0}, {"timeout": 30}),
        ({"timeout": 2**31 - 1}, {"timeout": 2**31 - 1}),
        ({"payload": None}, {"payload": None}),
        ({"payload": "RAW JSON"}, {"payload": "RAW JSON"}),
        # A state counts when a job is put back, and not before.
        ({"state": {"a": 1}, "persist_data": True, "x": None}, {}),
        ({"run_at": None}, {}),
        ({"run_at": "2020-01-02T03:04:05Z"}, {"run_at": "2020-01-02T03:04:05Z"}),
        ({"run_at": "2020-01-02T03:04:05.250"}, {"run_at": "2020-01-02T03:04:05.250000Z"}),
        ({"run_at": "2020-01-02 03:04:05+02:00"}, {"run_at": "2020-01-02T01:04:05Z"}),
        ({"run_at": "0001-01-01T00:00:00Z"}, {"run_at": "0001-01-01T00:00:00Z"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("many", [False, True])
def test_a_job_comes_out_as_it_went_in(
    api: APIClient, fields: dict[str, Any], seen: dict[str, Any], many: bool
) -> None:
    job = {**JOB, **fields}
    if many:
        assert send_call(api, "POST", "/enqueue/batch", [job]).status_code == 202
    else:
        assert send_call(api, "POST", "/enqueue", job).status_code == 202

    [found] = fetch_jobs(api)

    assert list(found) == ["id", "queue", "timeout", "max_retries", "payload", "run_at"]
    assert found == {**found, **JOB, **seen}


def test_without_a_moment_it_is_now(api: APIClient) -> None:
    enqueue_job(api)

    [found] = fetch_jobs(api)

    ago = timezone.now() - datetime.fromisoformat(found["run_at"])
    assert timedelta() <= ago < timedelta(minutes=1)


@pytest.mark.parametrize("run_at", ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_job_of_the_future_waits(api: APIClient, run_at: str) -> None:
    assert enqueue_job(api, run_at=run_at).status_code == 202

    assert fetch_jobs(api) == []


TEXTS = [
    "null",
    '"RAW JSON"',
    "-0.0",
    "1E+5",
    '{"z": 1, "a": {"y": 1.10, "b": 12345678901234567890}}',
    '{"exact": 0.1000000000000000055, "tiny": 1e-400}',
    '["€", "ж", "😀", "\\ud83d\\ude00", "\\u2028", "\\" \\\\ \\/"]',
    '{"RawJSON": "</script>", "sql": "%s %(x)s \'; --", "array": "{\\"a\\",NULL}"}',
    nested_arrays(400),
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:24])
@pytest.mark.parametrize("path", ["/enqueue", "/enqueue/batch", "/reschedule"])
def test_a_payload_is_what_was_posted(api: APIClient, path: str, text: str) -> None:
    if path == "/reschedule":
        put_in_flight(api)
    job = f'{{"id": "1", "queue": "my-queue", "timeout": 30, "payload": {text}}}'
    body = f"[{job}]" if path == "/enqueue/batch" else job

    assert api.post(path, body, content_type=JSON).status_code == 202

    assert taken_text(api, "payload") == read_exactly(text)


@pytest.mark.parametrize("text", TEXTS[1:], ids=lambda text: text[:24])
@pytest.mark.parametrize("method", ["heartbeat", "reschedule"])
def test_a_state_is_what_was_posted(api: APIClient, method: str, text: str) -> None:
    put_in_flight(api, max_retries=1)

    if method == "heartbeat":
        answer = api.patch(f"/heartbeat?{NAMED}", text, content_type=JSON)
        expire_leases()
    else:
        body = f'{{"id": "1", "queue": "my-queue", "timeout": 30, "state": {text}}}'
        answer = api.post("/reschedule", body, content_type=JSON)

    assert answer.status_code == 202
    assert taken_text(api, "state") == read_exactly(text)


def taken_text(api: APIClient, field: str) -> Any:
    """A field of the next job, with its numbers and the order of its keys."""
    answer = api.get("/next?queue=my-queue")
    [job] = read_exactly(answer.content.decode())
    return dict(job)[field]


# Enqueue.


def test_an_id_that_is_there_is_a_conflict(api: APIClient) -> None:
    enqueue_job(api, payload=1)

    told = "A job with the id 1 is in the queue my-queue already"
    assert_refused(enqueue_job(api), 409, told)
    names = {"id": "ä 1", "queue": "q\n路"}
    enqueue_job(api, **names)
    assert_refused(
        enqueue_job(api, **names),
        409,
        "A job with the id ä 1 is in the queue q\n路 already",
    )
    assert enqueue_job(api, queue="other").status_code == 202
    assert enqueue_job(api, id="2").status_code == 202
    assert fetch_jobs(api)[0]["payload"] == 1


def test_a_job_that_was_given_up_is_no_conflict(api: APIClient) -> None:
    put_in_flight(api)
    expire_leases()

    assert enqueue_job(api, payload=2).status_code == 202

    assert fetch_jobs(api)[0]["payload"] == 2
    assert QueueTally.objects.get().exhausted == 1


def test_a_batch_leaves_out_what_is_there_and_repeats(api: APIClient) -> None:
    enqueue_job(api, payload="there")
    jobs = [
        {**JOB, "payload": "again"},
        {**JOB, "id": "2", "payload": "first"},
        {**JOB, "id": "2", "payload": "second"},
        {**JOB, "id": "2", "queue": "other", "payload": "elsewhere"},
    ]

    assert send_call(api, "POST", "/enqueue/batch", jobs).status_code == 202

    assert [job["payload"] for job in fetch_jobs(api, 10)] == ["there", "first"]
    assert [job["payload"] for job in fetch_jobs(api, 10, "other")] == ["elsewhere"]


def test_an_empty_batch_is_a_batch(api: APIClient) -> None:
    assert send_call(api, "POST", "/enqueue/batch", []).status_code == 202


def test_ten_thousand_jobs_come_in_at_once_and_in_order(api: APIClient) -> None:
    jobs = [{**JOB, "id": f"{n}", "payload": n} for n in range(10_000)]

    assert send_call(api, "POST", "/enqueue/batch", jobs).status_code == 202

    found = [job["payload"] for _ in range(10) for job in fetch_jobs(api, 1000)]
    assert found == list(range(10_000))


def test_the_second_of_two_equal_batches_changes_nothing(api: APIClient) -> None:
    jobs = [{**JOB, "id": f"{n}"} for n in range(500)]
    send_call(api, "POST", "/enqueue/batch", jobs)
    before = list(Message.objects.order_by("id").values())

    assert send_call(api, "POST", "/enqueue/batch", jobs[::-1]).status_code == 202

    assert list(Message.objects.order_by("id").values()) == before
