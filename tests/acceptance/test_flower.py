"""Flower as the Procfile starts it: what it shows without its password, and to whom it says wait."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests

from scheduler_service.compat.flower_handlers import MAX_FAILURES
from tests.acceptance.harness import Harness, eventually, free_port

pytestmark = pytest.mark.timeout(120)

CREDENTIALS = ("ann", "secret")


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    harness = Harness(tmp_path_factory.mktemp("s"))
    harness.environment |= {
        "FLOWER_PORT": str(free_port()),
        "FLOWER_BASIC_AUTH": ":".join(CREDENTIALS),
    }
    harness.start()
    harness.start_part("flower")
    url = f"http://127.0.0.1:{harness.environment['FLOWER_PORT']}"
    eventually(lambda: is_up(url))
    yield url
    harness.stop()


def is_up(url: str) -> bool:
    try:
        return get_status(f"{url}/healthcheck") == 200
    except requests.ConnectionError:
        return False


def get_status(url: str, password: tuple[str, str] | None = None) -> int:
    return requests.get(url, auth=password, timeout=10).status_code


@pytest.mark.parametrize(
    "path",
    ["/", "/workers", "/tasks", "/broker", "/metrics", "/api/tasks", "/api/workers"],
)
def test_flower_shows_nothing_without_its_password(flower: str, path: str) -> None:
    assert get_status(f"{flower}{path}") == 401


@pytest.mark.parametrize("path", ["/workers", "/metrics"])
def test_flower_shows_its_pages_to_a_user_with_the_password(
    flower: str, path: str
) -> None:
    assert get_status(f"{flower}{path}", CREDENTIALS) == 200


def test_the_health_check_says_no_more_than_ok(flower: str) -> None:
    assert requests.get(f"{flower}/healthcheck", timeout=10).text == "OK"


def try_password(flower: str, password: str, path: str = "/workers") -> int:
    """Try it from another address, so that other tests need not wait."""
    host, port = flower.removeprefix("http://").split(":")
    pair = base64.b64encode(f"ann:{password}".encode()).decode()
    connection = http.client.HTTPConnection(
        host, int(port), timeout=10, source_address=("127.0.0.2", 0)
    )
    with closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Basic {pair}"})
        return connection.getresponse().status


def test_a_client_with_many_wrong_passwords_must_wait(flower: str) -> None:
    wrong = [try_password(flower, str(number)) for number in range(MAX_FAILURES + 2)]

    assert wrong == [401] * MAX_FAILURES + [429] * 2
    # Also with the right password now, or guessing would go on.
    assert try_password(flower, "secret") == 429
    assert try_password(flower, "secret", "/healthcheck") == 200
    # Another address is not refused.
    assert get_status(f"{flower}/workers", CREDENTIALS) == 200
