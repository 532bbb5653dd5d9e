"""The pull queue surface: what jobs may say, and what is answered."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Message
from tests.conftest import ClientFor
from tests.integration.support.database_outage import database_outage
from tests.integration.support.pull_queue_surface import (
    ENDPOINTS,
    JOB,
    JSON,
    NAMED,
    assert_refused,
    enqueue_job,
    expire_leases,
    fetch_jobs,
    put_in_flight,
    send_call,
)


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
    put_in_flight(api)
    place, mark, query = path.partition("?")

    answer = send_call(api, method, f"{prefix}{place}{slash}{mark}{query}", body)

    assert (answer.status_code, answer.content) == (status, b"")
    assert not answer.has_header("Content-Type")


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_nobody_gets_in_without_a_token(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    put_in_flight(api)
    before = list(Message.objects.values())

    answer = send_call(APIClient(), method, path, body)

    assert_refused(answer, 401, "Authentication credentials were not provided.")
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
    put_in_flight(api)

    assert send_call(APIClient(), method, path, body).status_code == status


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
def test_another_tenant_reaches_only_its_own_jobs(
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
    enqueue_job(api)
    if is_leased:
        fetch_jobs(api)
    alphas = Message.objects.filter(tenant=user.tenant)
    before = list(alphas.values())

    answer = send_call(client_for(stranger), method, path, body)

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
    put_in_flight(api)

    assert send_call(client_for(colleague), method, path, body).status_code == status


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
    enqueue_job(api)
    before = list(Message.objects.values())

    answer = send_call(api, other, f"{prefix}{path}")

    assert (answer.status_code, answer["Allow"]) == (405, f"{method}, OPTIONS")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert list(Message.objects.values()) == before


@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_each_path_tells_its_methods(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    enqueue_job(api)

    answer = send_call(api, "OPTIONS", path)

    assert (answer.status_code, answer["Allow"]) == (200, f"{method}, OPTIONS")
    assert Message.objects.get().leased_until is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_an_outage_is_worth_another_try(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    put_in_flight(api)
    before = list(Message.objects.values())

    with database_outage():
        answer = send_call(api, method, path, body)

    assert_refused(answer, 429, "The storage has trouble at the moment; try again")
    assert list(Message.objects.values()) == before
    assert send_call(api, method, path, body).status_code == status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path", "body", "status"), ENDPOINTS)
def test_no_transaction_is_left_open(
    api: APIClient, method: str, path: str, body: object, status: int
) -> None:
    put_in_flight(api)

    send_call(api, method, path, body)

    assert connection.connection.info.transaction_status.name == "IDLE"
    with connection.cursor() as cursor:
        cursor.execute("SHOW enable_sort")
        assert cursor.fetchone() == ("on",)


@pytest.mark.parametrize("path", ["/health", "/health/", "/v1/health", "/v1/health/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_health_needs_no_token(path: str, method: str) -> None:
    # Without the database, which this test may not use.
    answer = APIClient().generic(method, path, HTTP_AUTHORIZATION="Bearer nobody's")

    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_its_health_can_only_be_asked_for(method: str) -> None:
    answer = APIClient(enforce_csrf_checks=True).generic(method, "/health")

    assert answer.status_code == 405
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


# Next.


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("2", 2), ("0", 0), ("00", 0), ("007", 7), ("1000", 1000)]
    + [(text, 1000) for text in ("1001", "99999999999999999999", "9" * 3000)],
    ids=lambda value: str(value)[:8],
)
def test_so_many_jobs_are_fetched(api: APIClient, text: str, count: int) -> None:
    jobs = [{**JOB, "id": f"{n}"} for n in range(1005)]
    send_call(api, "POST", "/enqueue/batch", jobs)

    answer = api.get(f"/next?queue=my-queue&num_jobs={text}")

    assert answer.status_code == (200 if count else 204)
    assert len(answer.json() if count else []) == count
    assert Message.objects.filter(leased_until__isnull=False).count() == count


def test_one_job_is_fetched_unless_told_otherwise(api: APIClient) -> None:
    send_call(api, "POST", "/enqueue/batch", [JOB, {**JOB, "id": "2"}])

    answer = api.get("/next?queue=my-queue")

    assert [job["id"] for job in answer.json()] == ["1"]
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "text", ["", "-1", "-0", "1.0", "1e3", "+1", "%201", "x", "1_0", "٣", "²", "true"]
)
def test_a_count_is_a_whole_number(api: APIClient, text: str) -> None:
    enqueue_job(api)

    answer = api.get(f"/next?queue=my-queue&num_jobs={text}")

    rule = "Invalid value of num_jobs. Value should be a whole number from 0"
    assert_refused(answer, 400, rule)
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
    put_in_flight(api, max_retries=2)
    send_call(api, "PATCH", f"/heartbeat?{NAMED}", "before")

    answer = api.patch(f"/heartbeat?{NAMED}", body, content_type=JSON)
    expire_leases()

    assert (answer.status_code, answer.content) == (202, b"")
    assert fetch_jobs(api)[0]["state"] == seen


def test_a_state_of_null_is_none(api: APIClient) -> None:
    put_in_flight(api, max_retries=2)
    send_call(api, "PATCH", f"/heartbeat?{NAMED}", "before")

    answer = api.patch(f"/heartbeat?{NAMED}", "null", content_type=JSON)
    expire_leases()

    assert answer.status_code == 202
    assert "state" not in fetch_jobs(api)[0]


@pytest.mark.parametrize(
    "state", ["unknown", "waiting", "not due", "expired", "given up", "completed"]
)
def test_a_job_that_is_not_in_flight_is_neither_extended_nor_rescheduled(
    api: APIClient, state: str
) -> None:
    put_into_state(api, state)
    before = list(Message.objects.values())

    sentence = "No job with this id is in flight in this queue"
    for body in (None, {"a": 1}):
        assert_refused(
            send_call(api, "PATCH", f"/heartbeat?{NAMED}", body), 404, sentence
        )
    assert_refused(send_call(api, "POST", "/reschedule", JOB), 404, sentence)
    assert list(Message.objects.values()) == before


def put_into_state(api: APIClient, state: str) -> None:
    match state:
        case "unknown":
            enqueue_job(api, queue="other")
        case "waiting":
            enqueue_job(api)
        case "not due":
            enqueue_job(api, run_at="2999-01-01T00:00:00Z")
        case "expired" | "given up":
            put_in_flight(api, max_retries=int(state == "expired"))
            expire_leases()
        case "completed":
            put_in_flight(api)
            send_call(api, "DELETE", f"/complete?{NAMED}")


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
    put_into_state(api, state)

    answer = send_call(api, "DELETE", f"/complete?{NAMED}")

    assert answer.status_code == status
    if status == 404:
        assert_refused(answer, 404, "No job with this id is in this queue")
    assert not Message.objects.filter(queue="my-queue").exists()


def test_a_job_can_perpetuate_itself(api: APIClient) -> None:
    put_in_flight(api, payload=1, max_retries=1)
    send_call(api, "PATCH", f"/heartbeat?{NAMED}", "lost")

    again = {**JOB, "timeout": 60, "payload": 2, "run_at": "2999-01-01T00:00:00Z"}
    assert send_call(api, "POST", "/reschedule", again).status_code == 202

    assert fetch_jobs(api) == []
    Message.objects.update(run_at=timezone.now() - timedelta(hours=1))
    [job] = fetch_jobs(api)
    assert (job["payload"], job["timeout"], job["max_retries"]) == (2, 60, 0)
    assert "state" not in job
