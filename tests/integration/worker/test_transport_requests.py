"""What a transport sends is what was asked for, and what it reports is what came back."""

from __future__ import annotations

import pytest

from tasks_api.delivery.request import Request
from tests.integration.support.transport_doubles import (
    OK,
    Outcomes,
    StartRawServer,
    StartTransport,
    request_to,
)
from tests.receiver import Receiver


def test_a_request_arrives_as_it_was_built(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    body = '{"größe": 1.10}'.encode()
    headers = (
        ("Content-Type", "application/json"),
        ("X-Empty", ""),
        ("webhook-id", "7"),
    )

    start_transport().send(
        1, Request("POST", target.url + "/a?b=c%20d", headers, body, 5)
    )

    outcome = outcomes.wait_for(1)[1]
    [received] = target.requests
    assert (outcome.status_code, outcome.error) == (200, "")
    assert outcome.answer == b'{"ok": true}'
    assert (received.method, received.path) == ("POST", "/a?b=c%20d")
    assert received.body == body
    assert received.headers["content-type"] == "application/json"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["x-empty"] == ""
    assert "expect" not in received.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_sent_as_they_are(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver, method: str
) -> None:
    start_transport().send(1, request_to(target.url + "/x", method=method))

    assert outcomes.wait_for(1)[1].status_code == 200
    assert target.requests[0].method == method


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/ü?q=路", "/%C3%BC?q=%E8%B7%AF"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("/100%", "/100%"),
        ("/x#part", "/x"),
        ("/a%2fb/%C3%bc%7E", "/a%2fb/%C3%bc%7E"),
        ("/x?a=%2f%zz&b", "/x?a=%2f%zz&b"),
        ("/x?", "/x?"),
        ("?", "/?"),
        ("", "/"),
        ("#part", "/"),
        ("?a=b#part", "/?a=b"),
        ("/x//../%2e%2E/..;/", "/x//../%2e%2E/..;/"),
        ("/x?next=http://e.org/?a#", "/x?next=http://e.org/?a"),
        ("/{a}|^`<b>[c]\"'*", "/{a}|^`<b>[c]\"'*"),
        ("/%00%0d%0aX:%20y", "/%00%0d%0aX:%20y"),
        ("/@:80/x", "/@:80/x"),
    ],
)
def test_a_path_is_changed_only_as_http_demands(
    start_transport: StartTransport,
    outcomes: Outcomes,
    target: Receiver,
    path: str,
    wire: str,
) -> None:
    start_transport().send(1, request_to(target.url + path))

    outcomes.wait_for(1)
    assert target.requests[0].path == wire


def test_credentials_in_the_url_become_basic_authentication(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    start_transport().send(
        1, request_to(target.url.replace("://", "://user:p%40ss@") + "/x")
    )

    outcomes.wait_for(1)
    assert target.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"


def test_a_large_body_arrives_whole(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    body = b"x" * 1_000_000

    start_transport().send(1, request_to(target.url + "/x", body=body))

    outcomes.wait_for(1)
    assert target.requests[0].body == body


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 410, 429, 500, 503])
def test_a_status_is_reported_and_a_redirect_not_followed(
    start_transport: StartTransport,
    outcomes: Outcomes,
    start_server: StartRawServer,
    status: int,
) -> None:
    elsewhere = start_server(lambda connection: connection.sendall(OK))
    server = start_server(
        lambda c: c.sendall(
            f"HTTP/1.1 {status} X\r\nLocation: {elsewhere.url}\r\nRetry-After: 7\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
    )

    start_transport().send(1, request_to(server.url)._replace(heeds_retry_headers=True))

    outcome = outcomes.wait_for(1)[1]
    # Whoever has succeeded need not be asked again.
    assert (outcome.status_code, outcome.retry_after) == (
        status,
        7 if status > 300 else 0,
    )
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("Retry-After: 86400", 86_400),
        ("retry-after:  99999999999999999999 ", 999_999_999_999_999_999),
        ("Retry-After: soon", 0),
        (
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "Retry-After: Mon, 07 Nov 1994 08:49:37 GMT",
            86_400,
        ),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0),
    ],
)
def test_patience_is_as_long_as_the_target_asks(
    start_transport: StartTransport,
    outcomes: Outcomes,
    start_server: StartRawServer,
    headers: str,
    seconds: int,
) -> None:
    server = start_server(
        lambda c: c.sendall(
            b"HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n\r\n"
            b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n" + headers.encode() + b"\r\n\r\n"
        )
    )

    start_transport().send(1, request_to(server.url)._replace(heeds_retry_headers=True))

    assert outcomes.wait_for(1)[1].retry_after == seconds
