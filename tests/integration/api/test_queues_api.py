"""Queues as a whole over the API: their numbers, their jobs, and what puts them in order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry, Tenant, User
from tasks_api.models import Message
from tasks_api.services import pull_queue
from tests.conftest import ClientFor
from tests.integration.support.openapi_document import assert_fits, content_of
from tests.integration.support.pull_messages import (
    LONG_AGO,
    lease_names,
    new_message,
    store_messages,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_queues_are_listed_with_their_numbers(api: APIClient, alpha: Tenant) -> None:
    store_messages(alpha, 2, queue="b")
    store_messages(alpha, 3, queue="a", leased_until=LONG_AGO)
    later = timezone.now() + timedelta(hours=1)
    pull_queue.enqueue(new_message(alpha, "x", queue="a", run_at=later))

    first = api.get("/queues/?limit=1")
    second = api.get(first["Link"].partition(">")[0].lstrip("<"))

    [a], [b] = first.json()["queues"], second.json()["queues"]
    assert (a["queue"], a["exhausted"], a["later"], a["ready"]) == ("a", 3, 1, 0)
    assert (b["queue"], b["ready"], b["lost"]) == ("b", 2, 0)
    assert b["oldest"] is not None
    assert second.json()["next_cursor"] is None


def test_jobs_are_looked_at_without_leasing_them(api: APIClient, alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, "1", payload='{"n": 1.10}'))
    pull_queue.enqueue(new_message(alpha, "2", payload=f'"{"x" * 9000}"'))

    seen, path = [], "/queues/messages/?queue=mail&limit=1"
    while path:
        answer = api.get(path)
        seen += answer.json()["messages"]
        path = answer.headers.get("Link", "").partition(">")[0].lstrip("<")

    assert [(each["id"], each["payload_length"]) for each in seen] == [
        ("1", 11),
        ("2", 9002),
    ]
    assert b'{"n": 1.10}' in api.get("/queues/messages/?queue=mail").content
    assert seen[1]["payload"] is None
    assert lease_names(alpha, 5) == ["1", "2"]
    assert api.get("/queues/messages/?queue=mail").json()["messages"] == []
    leased = api.get("/queues/messages/?queue=mail&state=in-flight").json()["messages"]
    assert [each["id"] for each in leased] == ["1", "2"]


def test_a_queue_is_put_in_order(
    api: APIClient, client_for: ClientFor, tenant_admin: User, alpha: Tenant
) -> None:
    store_messages(alpha, 2, leased_until=LONG_AGO)
    body = {"queue": "mail"}

    requeued = api.post("/queues/requeue/", body, format="json")
    refused = api.post("/queues/purge/", body, format="json")
    assert requeued.json() == {"count": 2, "more": False}
    assert refused.status_code == 403
    assert lease_names(alpha) == ["n1"]
    purged = client_for(tenant_admin).post("/queues/purge/", body, format="json")

    assert purged.json() == {"count": 2, "more": False}
    assert not Message.objects.exists()
    actions = AuditEntry.objects.filter(object_id="mail").order_by("id")
    assert [entry.action for entry in actions] == ["queue.requeue", "queue.purge"]


def test_another_tenant_has_queues_of_its_own(
    client_for: ClientFor, tenant_admin: User, beta: Tenant
) -> None:
    store_messages(beta, 2, leased_until=LONG_AGO)
    api, body = client_for(tenant_admin), {"queue": "mail"}

    assert api.get("/queues/").json()["queues"] == []
    path = "/queues/messages/?queue=mail&state=exhausted"
    assert api.get(path).json()["messages"] == []
    for action in ("requeue", "purge"):
        answer = api.post(f"/queues/{action}/", body, format="json")
        assert answer.json()["count"] == 0
    assert Message.objects.filter(leased_until=LONG_AGO).count() == 2


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/queues/?limit=0", "limit"),
        ("/queues/?cursor=", "cursor"),
        ("/queues/?cursor=%00", "cursor"),
        ("/queues/messages/", "queue"),
        ("/queues/messages/?queue=", "queue"),
        ("/queues/messages/?queue=a&state=lost", "state"),
        ("/queues/messages/?queue=a&cursor=x", "cursor"),
        ("/queues/messages/?queue=a&cursor=1-x", "cursor"),
        ("/queues/messages/?queue=a&cursor=" + "9" * 4000 + "-1", "cursor"),
        ("/queues/?sort=name", "sort"),
    ],
)
def test_a_bad_parameter_is_named(api: APIClient, path: str, field: str) -> None:
    answer = api.get(path)

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [{}, {"queue": ""}, {"queue": 1}, {"queue": "a", "x": 1}]
)
def test_a_bad_body_changes_nothing(api: APIClient, body: dict[str, object]) -> None:
    assert api.post("/queues/requeue/", body, format="json").status_code == 400


def test_answers_fit_the_schema(api: APIClient, alpha: Tenant) -> None:
    paths = APIClient().get("/openapi.json").json()["paths"]
    store_messages(alpha, 2, leased_until=LONG_AGO)
    answers = {
        ("/queues/", "get"): api.get("/queues/"),
        ("/queues/messages/", "get"): api.get(
            "/queues/messages/?queue=mail&state=exhausted"
        ),
        ("/queues/requeue/", "post"): api.post(
            "/queues/requeue/", {"queue": "mail"}, format="json"
        ),
    }

    for (path, method), answer in answers.items():
        described = paths[path][method]["responses"][str(answer.status_code)]
        assert_fits(answer.json(), content_of(described)["schema"])
