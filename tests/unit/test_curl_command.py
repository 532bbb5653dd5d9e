"""A request is a command for a shell."""

from __future__ import annotations

import shlex

from console.curl import MAX_BODY, curl_command
from tasks_api.services.masked_requests import MASKED, Header, MaskedRequest

REQUEST = MaskedRequest(
    "PUT",
    "https://example.com/?a=1&b=2",
    "",
    [Header("Content-Type", "application/json"), Header("X-Key", MASKED)],
    '{"it": "it\'s"}',
)


def test_the_command_sends_the_request() -> None:
    command = curl_command(REQUEST).replace(" \\\n", "")

    assert shlex.split(command) == [
        *("curl", "-X", "PUT", "https://example.com/?a=1&b=2"),
        *("-H", "Content-Type: application/json"),
        *("-H", f"X-Key: {MASKED}"),
        *("--data-raw", REQUEST.body),
    ]


def test_each_part_stands_on_a_line() -> None:
    assert curl_command(REQUEST).count(" \\\n  -") == 3


def test_a_long_body_is_read_from_a_file() -> None:
    request = REQUEST._replace(body="x" * (MAX_BODY + 1))

    assert curl_command(request).endswith("--data-binary @body")


def test_a_request_without_a_url_has_no_command() -> None:
    assert curl_command(REQUEST._replace(url="")) == ""
