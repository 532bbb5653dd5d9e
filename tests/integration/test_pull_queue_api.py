"""The pull queue surface: what jobs may say, and what is answered."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Message, QueueTally
from tests.conftest import ClientFor
from tests.integration.test_json_hygiene import BROKEN, exactly, nested
from tests.integration.test_tasks_storage_outage import outage

JSON = "application/json"
JOB: dict[str, Any] = {"id": "1", "queue": "my-queue", "timeout": 30}
NAMED = "queue=my-queue&job_id=1"
# Every endpoint with a token, and what it answers once a job is in flight.
ENDPOINTS: list[tuple[str, str, object, int]] = [
    ("POST", "/enqueue", {**JOB, "id": "2"}, 202),
    ("POST", "/enqueue/batch", [{**JOB, "id": "2"}], 202),
    ("GET", "/next?queue=my-queue", None, 204),
    ("PATCH", f"/heartbeat?{NAMED}", None, 202),
    ("POST", "/reschedule", JOB, 202),
    ("DELETE", f"/complete?{NAMED}", None, 200),
]


def call(api: APIClient, method: str, path: str, body: object = None) -> Any:
    text = "" if body is None else json.dumps(body)
    return api.generic(method, path, text, content_type=JSON)


def enqueue(api: APIClient, **changes: Any) -> Any:
    return call(api, "POST", "/enqueue", {**JOB, **changes})


def fetch(api: APIClient, count: int = 1, queue: str = "my-queue") -> Any:
    query: dict[str, str | int] = {"queue": queue, "num_jobs": count}
    answer = api.get("/next", query)
    return answer.json() if answer.status_code == 200 else []


def in_flight(api: APIClient, **changes: Any) -> None:
    assert enqueue(api, **changes).status_code == 202
    assert len(fetch(api)) == 1


def let_leases_run_out() -> None:
    # Long ago, because a test's transaction has the database's clock stand still.
    past = timezone.now() - timedelta(hours=1)
    Message.objects.filter(leased_until__isnull=False).update(leased_until=past)


def refused(answer: Any, status: int, sentence: str) -> None:
    assert (answer.status_code, answer.content.decode()) == (status, sentence)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


# Every endpoint.


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_each_path_answers_in_all_its_spellings(
    api: APIClient,
    method: str,
    path: str,
    body: object,
    status: int,
    prefix: str,
    slash: str,
) -> None:
    in_flight(api)
    place, mark, query = path.partition("?")

    answer = call(api, method, f"{prefix}{place}{slash}{mark}{query}", body)

    assert (answer.status_code, answer.content) == (status, b"")
    assert not answer.has_header("Content-Type")


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_nobody_gets_in_without_a_token(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    in_flight(api)
    before = list(Message.objects.values())

    answer = call(APIClient(), method, path, body)

    refused(answer, 401, "Authentication credentials were not provided.")
    assert answer["WWW-Authenticate"] == "Bearer"
    assert list(Message.objects.values()) == before


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_without_a_token_clients_can_act_as_one_tenant(
    user: User,
    api: APIClient,
    settings: LazySettings,
    method: str,
    path: str,
    body: object,
    status: int,
) -> None:
    settings.SCHEDULER_ANONYMOUS_TENANT = "Alpha"
    in_flight(api)

    assert call(APIClient(), method, path, body).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/enqueue", JOB, 202),
        ("POST", "/enqueue/batch", [JOB], 202),
        ("GET", "/next?queue=my-queue", None, 204),
        ("PATCH", f"/heartbeat?{NAMED}", {"state": 1}, 404),
        ("POST", "/reschedule", JOB, 404),
        ("DELETE", f"/complete?{NAMED}", None, 404),
    ],
)
@pytest.mark.parametrize("is_leased", [True, False])
def test_what_a_stranger_says_concerns_his_own_tenant(
    api: APIClient,
    user: User,
    stranger: User,
    client_for: ClientFor,
    method: str,
    path: str,
    body: object,
    status: int,
    is_leased: bool,
) -> None:
    enqueue(api)
    if is_leased:
        fetch(api)
    alphas = Message.objects.filter(tenant=user.tenant)
    before = list(alphas.values())

    answer = call(client_for(stranger), method, path, body)

    assert answer.status_code == status
    assert list(alphas.values()) == before


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_the_users_of_a_tenant_share_its_queues(
    api: APIClient,
    colleague: User,
    client_for: ClientFor,
    method: str,
    path: str,
    body: object,
    status: int,
) -> None:
    in_flight(api)

    assert call(client_for(colleague), method, path, body).status_code == status


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"]
OTHERS = [
    (method, other, path)
    for method, path, *_ in ENDPOINTS
    for other in METHODS
    if other != method
]


@pytest.mark.parametrize(("method", "other", "path"), OTHERS)
@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_no_other_method_is_allowed(
    api: APIClient, method: str, other: str, path: str, prefix: str
) -> None:
    enqueue(api)
    before = list(Message.objects.values())

    answer = call(api, other, f"{prefix}{path}")

    assert (answer.status_code, answer["Allow"]) == (405, f"{method}, OPTIONS")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert list(Message.objects.values()) == before


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_each_path_tells_its_methods(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    enqueue(api)

    answer = call(api, "OPTIONS", path)

    assert (answer.status_code, answer["Allow"]) == (200, f"{method}, OPTIONS")
    assert Message.objects.get().leased_until is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_an_outage_is_worth_another_try(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    in_flight(api)
    before = list(Message.objects.values())

    with outage():
        answer = call(api, method, path, body)

    refused(answer, 429, "The storage has trouble at the moment; try again")
    assert list(Message.objects.values()) == before
    assert call(api, method, path, body).status_code == status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_no_transaction_is_left_open(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    in_flight(api)

    call(api, method, path, body)

    assert connection.connection.info.transaction_status.name == "IDLE"
    with connection.cursor() as cursor:
        cursor.execute("SHOW enable_sort")
        assert cursor.fetchone() == ("on",)


@pytest.mark.parametrize("path", ["/health", "/health/", "/v1/health", "/v1/health/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_everybody_may_ask_for_its_health(path: str, method: str) -> None:
    # Without the database, which this test may not use.
    answer = APIClient().generic(method, path, HTTP_AUTHORIZATION="Bearer nobody's")

    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_its_health_can_only_be_asked_for(method: str) -> None:
    answer = APIClient(enforce_csrf_checks=True).generic(method, "/health")

    assert answer.status_code == 405
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


# What a job may say.

TOO_LONG = "x" * 256
NAME_RULE = "Value should be a string of 1 to 255 characters"
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
    in_flight(api)
    before = list(Message.objects.values())
    bad, good = {**JOB, "id": "2", name: value}, {**JOB, "id": "3"}
    sentence = f"Invalid value of {name}. {rule}"

    refused(call(api, "POST", "/enqueue", bad), 400, sentence)
    refused(call(api, "POST", "/reschedule", {**JOB, name: value}), 400, sentence)
    batch = call(api, "POST", "/enqueue/batch", [good, good, good, bad, bad])
    refused(batch, 400, f"[3].{name}: {sentence}")
    assert list(Message.objects.values()) == before


@pytest.mark.parametrize("name", ["id", "queue", "timeout"])
def test_a_missing_field_is_named(api: APIClient, name: str) -> None:
    job = {key: value for key, value in JOB.items() if key != name}
    sentence = f"Missing key: {name}"

    refused(call(api, "POST", "/enqueue", job), 400, sentence)
    refused(call(api, "POST", "/reschedule", job), 400, sentence)
    refused(call(api, "POST", "/enqueue/batch", [job]), 400, f"[0].{name}: {sentence}")


@pytest.mark.parametrize("body", [[], [JOB], "x", 1, None, True])
@pytest.mark.parametrize("path", ["/enqueue", "/reschedule"])
def test_a_job_is_an_object(api: APIClient, path: str, body: object) -> None:
    answer = api.post(path, json.dumps(body), content_type=JSON)

    refused(answer, 400, "The request body should be a JSON object")


@pytest.mark.parametrize("body", [{}, JOB, "x", 1, None, True])
def test_a_batch_is_an_array(api: APIClient, body: object) -> None:
    answer = api.post("/enqueue/batch", json.dumps(body), content_type=JSON)

    refused(answer, 400, "The request body should be a JSON array of jobs")


@pytest.mark.parametrize("element", [[], [JOB], "x", 1, None, True])
def test_a_batch_holds_objects(api: APIClient, element: object) -> None:
    answer = call(api, "POST", "/enqueue/batch", [JOB, element])

    refused(answer, 400, "[1]: A job should be a JSON object")
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
        assert call(api, "POST", "/enqueue/batch", [job]).status_code == 202
    else:
        assert call(api, "POST", "/enqueue", job).status_code == 202

    [found] = fetch(api)

    assert list(found) == ["id", "queue", "timeout", "max_retries", "payload", "run_at"]
    assert found == {**found, **JOB, **seen}


def test_without_a_moment_it_is_now(api: APIClient) -> None:
    enqueue(api)

    [found] = fetch(api)

    ago = timezone.now() - datetime.fromisoformat(found["run_at"])
    assert timedelta() <= ago < timedelta(minutes=1)


@pytest.mark.parametrize("run_at", ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_job_of_the_future_waits(api: APIClient, run_at: str) -> None:
    assert enqueue(api, run_at=run_at).status_code == 202

    assert fetch(api) == []


TEXTS = [
    "null",
    '"RAW JSON"',
    "-0.0",
    "1E+5",
    '{"z": 1, "a": {"y": 1.10, "b": 12345678901234567890}}',
    '{"exact": 0.1000000000000000055, "tiny": 1e-400}',
    '["€", "ж", "😀", "\\ud83d\\ude00", "\\u2028", "\\" \\\\ \\/"]',
    '{"RawJSON": "</script>", "sql": "%s %(x)s \'; --", "array": "{\\"a\\",NULL}"}',
    nested(400),
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:24])
@pytest.mark.parametrize("path", ["/enqueue", "/enqueue/batch", "/reschedule"])
def test_a_payload_is_what_was_posted(api: APIClient, path: str, text: str) -> None:
    if path == "/reschedule":
        in_flight(api)
    job = f'{{"id": "1", "queue": "my-queue", "timeout": 30, "payload": {text}}}'
    body = f"[{job}]" if path == "/enqueue/batch" else job

    assert api.post(path, body, content_type=JSON).status_code == 202

    assert taken_text(api, "payload") == exactly(text)


@pytest.mark.parametrize("text", TEXTS[1:], ids=lambda text: text[:24])
@pytest.mark.parametrize("method", ["heartbeat", "reschedule"])
def test_a_state_is_what_was_posted(api: APIClient, method: str, text: str) -> None:
    in_flight(api, max_retries=1)

    if method == "heartbeat":
        answer = api.patch(f"/heartbeat?{NAMED}", text, content_type=JSON)
        let_leases_run_out()
    else:
        body = f'{{"id": "1", "queue": "my-queue", "timeout": 30, "state": {text}}}'
        answer = api.post("/reschedule", body, content_type=JSON)

    assert answer.status_code == 202
    assert taken_text(api, "state") == exactly(text)


def taken_text(api: APIClient, field: str) -> Any:
    """A field of the next job, with its numbers and the order of its keys."""
    answer = api.get("/next?queue=my-queue")
    [job] = exactly(answer.content.decode())
    return dict(job)[field]


# Enqueue.


def test_an_id_that_is_there_is_a_conflict(api: APIClient) -> None:
    enqueue(api, payload=1)

    told = "A job with the id 1 is in the queue my-queue already"
    refused(enqueue(api), 409, told)
    names = {"id": "ä 1", "queue": "q\n路"}
    enqueue(api, **names)
    refused(
        enqueue(api, **names),
        409,
        "A job with the id ä 1 is in the queue q\n路 already",
    )
    assert enqueue(api, queue="other").status_code == 202
    assert enqueue(api, id="2").status_code == 202
    assert fetch(api)[0]["payload"] == 1


def test_a_job_that_was_given_up_is_no_conflict(api: APIClient) -> None:
    in_flight(api)
    let_leases_run_out()

    assert enqueue(api, payload=2).status_code == 202

    assert fetch(api)[0]["payload"] == 2
    assert QueueTally.objects.get().exhausted == 1


def test_a_batch_leaves_out_what_is_there_and_repeats(api: APIClient) -> None:
    enqueue(api, payload="there")
    jobs = [
        {**JOB, "payload": "again"},
        {**JOB, "id": "2", "payload": "first"},
        {**JOB, "id": "2", "payload": "second"},
        {**JOB, "id": "2", "queue": "other", "payload": "elsewhere"},
    ]

    assert call(api, "POST", "/enqueue/batch", jobs).status_code == 202

    assert [job["payload"] for job in fetch(api, 10)] == ["there", "first"]
    assert [job["payload"] for job in fetch(api, 10, "other")] == ["elsewhere"]


def test_an_empty_batch_is_a_batch(api: APIClient) -> None:
    assert call(api, "POST", "/enqueue/batch", []).status_code == 202


def test_ten_thousand_jobs_come_in_at_once_and_in_order(api: APIClient) -> None:
    jobs = [{**JOB, "id": f"{n}", "payload": n} for n in range(10_000)]

    assert call(api, "POST", "/enqueue/batch", jobs).status_code == 202

    found = [job["payload"] for _ in range(10) for job in fetch(api, 1000)]
    assert found == list(range(10_000))


def test_the_second_of_two_equal_batches_changes_nothing(api: APIClient) -> None:
    jobs = [{**JOB, "id": f"{n}"} for n in range(500)]
    call(api, "POST", "/enqueue/batch", jobs)
    before = list(Message.objects.order_by("id").values())

    assert call(api, "POST", "/enqueue/batch", jobs[::-1]).status_code == 202

    assert list(Message.objects.order_by("id").values()) == before


# Next.


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("2", 2), ("0", 0), ("00", 0), ("007", 7), ("1000", 1000)]
    + [(text, 1000) for text in ("1001", "99999999999999999999", "9" * 3000)],
    ids=lambda value: str(value)[:8],
)
def test_so_many_jobs_are_fetched(api: APIClient, text: str, count: int) -> None:
    jobs = [{**JOB, "id": f"{n}"} for n in range(1005)]
    call(api, "POST", "/enqueue/batch", jobs)

    answer = api.get(f"/next?queue=my-queue&num_jobs={text}")

    assert answer.status_code == (200 if count else 204)
    assert len(answer.json() if count else []) == count
    assert Message.objects.filter(leased_until__isnull=False).count() == count


def test_one_job_is_fetched_unless_told_otherwise(api: APIClient) -> None:
    call(api, "POST", "/enqueue/batch", [JOB, {**JOB, "id": "2"}])

    answer = api.get("/next?queue=my-queue")

    assert [job["id"] for job in answer.json()] == ["1"]
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "text", ["", "-1", "-0", "1.0", "1e3", "+1", "%201", "x", "1_0", "٣", "²", "true"]
)
def test_a_count_is_a_whole_number(api: APIClient, text: str) -> None:
    enqueue(api)

    answer = api.get(f"/next?queue=my-queue&num_jobs={text}")

    rule = "Invalid value of num_jobs. Value should be a whole number from 0"
    refused(answer, 400, rule)
    assert Message.objects.get().leased_until is None


def test_an_empty_queue_has_nothing(api: APIClient) -> None:
    answer = api.get("/next?queue=nobody's")

    assert (answer.status_code, answer.content) == (204, b"")


# In flight, or not.


@pytest.mark.parametrize(
    ("body", "seen"),
    [("", "before"), ('{"page": 7}', {"page": 7}), ("0", 0), ("false", False), ("[]", [])],
)  # fmt: skip
def test_a_heartbeat_leaves_a_state(api: APIClient, body: str, seen: object) -> None:
    in_flight(api, max_retries=2)
    call(api, "PATCH", f"/heartbeat?{NAMED}", "before")

    answer = api.patch(f"/heartbeat?{NAMED}", body, content_type=JSON)
    let_leases_run_out()

    assert (answer.status_code, answer.content) == (202, b"")
    assert fetch(api)[0]["state"] == seen


def test_a_state_of_null_is_none(api: APIClient) -> None:
    in_flight(api, max_retries=2)
    call(api, "PATCH", f"/heartbeat?{NAMED}", "before")

    answer = api.patch(f"/heartbeat?{NAMED}", "null", content_type=JSON)
    let_leases_run_out()

    assert answer.status_code == 202
    assert "state" not in fetch(api)[0]


@pytest.mark.parametrize(
    "state", ["unknown", "waiting", "not due", "expired", "given up", "completed"]
)
def test_what_is_not_in_flight_cannot_be_kept_or_put_back(
    api: APIClient, state: str
) -> None:
    bring_about(api, state)
    before = list(Message.objects.values())

    sentence = "No job with this id is in flight in this queue"
    for body in (None, {"a": 1}):
        refused(call(api, "PATCH", f"/heartbeat?{NAMED}", body), 404, sentence)
    refused(call(api, "POST", "/reschedule", JOB), 404, sentence)
    assert list(Message.objects.values()) == before


def bring_about(api: APIClient, state: str) -> None:
    match state:
        case "unknown":
            enqueue(api, queue="other")
        case "waiting":
            enqueue(api)
        case "not due":
            enqueue(api, run_at="2999-01-01T00:00:00Z")
        case "expired" | "given up":
            in_flight(api, max_retries=int(state == "expired"))
            let_leases_run_out()
        case "completed":
            in_flight(api)
            call(api, "DELETE", f"/complete?{NAMED}")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("unknown", 404),
        ("waiting", 200),
        ("not due", 200),
        ("expired", 200),
        # Nobody has looked since, so it is still there.
        ("given up", 200),
        ("completed", 404),
    ],
)
def test_a_job_is_completed_in_flight_or_not(
    api: APIClient, state: str, status: int
) -> None:
    bring_about(api, state)

    answer = call(api, "DELETE", f"/complete?{NAMED}")

    assert answer.status_code == status
    if status == 404:
        refused(answer, 404, "No job with this id is in this queue")
    assert not Message.objects.filter(queue="my-queue").exists()


def test_a_job_can_perpetuate_itself(api: APIClient) -> None:
    in_flight(api, payload=1, max_retries=1)
    call(api, "PATCH", f"/heartbeat?{NAMED}", "lost")

    again = {**JOB, "timeout": 60, "payload": 2, "run_at": "2999-01-01T00:00:00Z"}
    assert call(api, "POST", "/reschedule", again).status_code == 202

    assert fetch(api) == []
    Message.objects.update(run_at=timezone.now() - timedelta(hours=1))
    [job] = fetch(api)
    assert (job["payload"], job["timeout"], job["max_retries"]) == (2, 60, 0)
    assert "state" not in job


# In the query.


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
    enqueue(api)

    for name in names:
        query = {**dict.fromkeys(names, "1"), name: text}
        pairs = [f"{key}={value}" for key, value in query.items() if value is not None]
        answer = call(api, method, f"{path}?{'&'.join(pairs)}")
        refused(answer, 400, sentence.format(name=name))


def test_a_query_may_be_as_long_as_it_likes(api: APIClient) -> None:
    enqueue(api)

    answer = api.get(f"/next?{'x&' * 5000}queue=my-queue")

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "name", ["ä", "路", "😀" * 255, "a b", "a+b", "a/b?c=d&e#f", "%41", '"', "\n", "\ufffd"]
)  # fmt: skip
def test_any_name_can_be_told_in_a_query(api: APIClient, name: str) -> None:
    enqueue(api, id=name, queue=name)
    queue = f"queue={quote(name, safe='')}"

    [job] = api.get(f"/next?{queue}").json()

    assert (job["id"], job["queue"]) == (name, name)
    named = f"{queue}&job_id={quote(name, safe='')}"
    assert call(api, "PATCH", f"/heartbeat?{named}").status_code == 202
    assert call(api, "DELETE", f"/complete?{named}").status_code == 200


# As JSON.


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:32]))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/enqueue"),
        ("POST", "/enqueue/batch"),
        ("POST", "/reschedule"),
        ("PATCH", f"/heartbeat?{NAMED}"),
    ],
)
def test_what_is_no_usable_json_is_a_bad_request(
    api: APIClient, method: str, path: str, body: bytes
) -> None:
    in_flight(api)
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
    in_flight(api)
    settings.SCHEDULER_MAX_BODY_BYTES = 100

    answer = api.generic(method, path, '"' + "x" * 99 + '"', content_type=JSON)

    refused(answer, 413, "The request body is larger than 100 bytes")


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "/"])
def test_a_body_is_read_as_json_whatever_its_type(
    api: APIClient, content_type: str
) -> None:
    in_flight(api, max_retries=1)

    api.generic("PATCH", f"/heartbeat?{NAMED}", "1.10", content_type=content_type)
    let_leases_run_out()

    answer = api.get("/next?queue=my-queue")
    [job] = json.loads(answer.content, parse_float=Decimal)
    assert str(job["state"]) == "1.10"
