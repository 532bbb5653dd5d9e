"""What load balancers and people are told about the service."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tasks_api.monitoring import heartbeats

pytestmark = pytest.mark.django_db


def test_healthz_asks_nobody(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readyz_is_ok_when_all_are_there(client: Client) -> None:
    heartbeats.record_heartbeat("beat", "b1")
    heartbeats.record_heartbeat("worker", "w1")
    heartbeats.record_heartbeat("worker", "w2")

    found = client.get("/readyz").json()

    assert found["status"] == found["database"] == found["broker"] == "ok"
    assert (found["beats"]["alive"], found["workers"]["alive"]) == (1, 2)


def test_a_process_that_was_not_seen_for_a_while_is_not_alive(client: Client) -> None:
    heartbeats.record_heartbeat("beat", "b1")
    heartbeats.record_heartbeat("worker", "w1")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tasks_api_heartbeat SET seen_at = now() - '20s'::interval"
            " WHERE kind = 'worker'"
        )

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["workers"]["alive"] == 0


def test_a_broker_that_is_down_degrades_and_does_not_stop(
    client: Client, settings: LazySettings
) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:9/0"

    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["broker"] == "unreachable"


def test_without_its_database_the_service_is_not_ready(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_api_heartbeat RENAME TO gone")

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "database": "unreachable"}


@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/readyz", "/readyz/"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_probes_need_no_token(client: Client, path: str, method: str) -> None:
    assert getattr(client, method)(path).status_code == 200


def test_however_often_it_is_asked_the_database_is_asked_once_a_second(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # One look: the processes, and in two statements the migrations.
    with django_assert_num_queries(3):
        answers = [client.get("/readyz").json() for _ in range(20)]

    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_read_and_nothing_else(client: Client, path: str) -> None:
    answer = client.post(path)

    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
