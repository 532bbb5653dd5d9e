"""Requests for hosts that are not ours."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

pytestmark = pytest.mark.django_db

HOSTS = ["evil.example", "10.0.0.7:8000", "", "a b", "evil.example\r\nx"]


@pytest.fixture(autouse=True)
def production(settings: LazySettings) -> None:
    settings.ALLOWED_HOSTS = ["scheduler.example"]
    settings.SECURE_SSL_REDIRECT = True


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/readyz"])
def test_a_probe_is_answered_under_any_name(
    client: Client, host: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = client.get(path, HTTP_HOST=host)

    assert answer.status_code == 200
    assert not caplog.records


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/tasks/", {"error": {"message": "Bad request"}}),
        ("/api/v1/jobs", {"message": "Bad request"}),
        ("/", "Bad request"),
        ("/admin/", {"error": {"message": "Bad request"}}),
        ("/nowhere", {"error": {"message": "Bad request"}}),
        ("/healthz/x", {"error": {"message": "Bad request"}}),
    ],
)
def test_another_host_is_refused_in_one_line_and_in_the_words_of_the_surface(
    client: Client, host: str, path: str, told: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = client.post(path, {}, "application/json", HTTP_HOST=host)

    assert answer.status_code == 400
    text = answer.content.decode()
    assert (text if isinstance(told, str) else answer.json()) == told
    (line,) = caplog.records
    assert (line.levelname, line.exc_info) == ("INFO", None)
    assert not {"\n", "\r"} & set(line.getMessage())
    assert repr(host) in line.getMessage()
