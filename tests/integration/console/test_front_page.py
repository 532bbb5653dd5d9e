"""`GET /` is a page for browsers, and what the API makes of it for all others."""

from __future__ import annotations

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User

pytestmark = pytest.mark.django_db

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_reads_what_the_service_is(client: Client) -> None:
    page = client.get("/", headers={"accept": BROWSER})

    text = page.content.decode()
    assert page.status_code == 200
    assert "Accept" in page["Vary"]
    for part in ("<h1>", "picture.svg", "curl http://testserver/tasks/", "/login"):
        assert part in text
    assert 'href="/docs"' in text


@pytest.mark.parametrize(
    "accept", ["text/html;level=1", "TEXT/HTML", "text/html;q=0.1"]
)
def test_html_has_many_spellings(client: Client, accept: str) -> None:
    page = client.get("/", headers={"accept": accept})

    assert page["Content-Type"].startswith("text/html")


def test_a_browser_of_somebody_who_is_logged_in_goes_on(
    client: Client, user: User
) -> None:
    client.force_login(user)

    page = client.get("/", headers={"accept": BROWSER})

    assert (page.status_code, page["Location"]) == (302, "/app")


def test_staff_without_a_tenant_go_to_the_admin(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root", password="x"))

    assert client.get("/", headers={"accept": BROWSER})["Location"] == "/admin/"


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/*", "application/json", "text/html;q=0", "text/plain, */*"],
)
@pytest.mark.parametrize("method", ["get", "head"])
def test_other_clients_get_what_the_api_says(method: str, accept: str) -> None:
    headers = {"accept": accept} if accept else {}

    answer = getattr(APIClient(), method)("/", headers=headers)

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert answer["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_no_other_method_is_a_page(method: str) -> None:
    answer = getattr(APIClient(), method)("/", headers={"accept": BROWSER})

    assert answer.status_code == 401
    assert answer["Content-Type"].startswith("text/plain")
