"""Flower as it is started: what it shows without its password, and how often one may try."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest
import requests

from scheduler_service.compat.flower_handlers import MAX_FAILURES
from tests.acceptance.stand import Stand, eventually, free_port

pytestmark = pytest.mark.timeout(120)

RIGHT = ("ann", "secret")


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stand = Stand(tmp_path_factory.mktemp("s"))
    stand.environment |= {
        "FLOWER_PORT": str(free_port()),
        "FLOWER_BASIC_AUTH": ":".join(RIGHT),
    }
    stand.start()
    stand.run("flower")
    url = f"http://127.0.0.1:{stand.environment['FLOWER_PORT']}"
    eventually(lambda: answers(url))
    yield url
    stand.stop()


def answers(url: str) -> bool:
    try:
        return status(f"{url}/healthcheck") == 200
    except requests.ConnectionError:
        return False


def status(url: str, password: tuple[str, str] | None = None) -> int:
    return requests.get(url, auth=password, timeout=10).status_code


@pytest.mark.parametrize(
    "path",
    ["/", "/workers", "/tasks", "/broker", "/metrics", "/api/tasks", "/api/workers"],
)
def test_flower_shows_nothing_without_its_password(flower: str, path: str) -> None:
    assert status(f"{flower}{path}") == 401


@pytest.mark.parametrize("path", ["/workers", "/metrics"])
def test_flower_shows_it_to_who_has_the_password(flower: str, path: str) -> None:
    assert status(f"{flower}{path}", RIGHT) == 200


def test_the_health_check_says_no_more_than_ok(flower: str) -> None:
    assert requests.get(f"{flower}/healthcheck", timeout=10).text == "OK"


def tried(flower: str, password: str, path: str = "/workers") -> int:
    """From an address of its own, so that other tests are not told to wait."""
    host, port = flower.removeprefix("http://").split(":")
    pair = base64.b64encode(f"ann:{password}".encode()).decode()
    connection = http.client.HTTPConnection(
        host, int(port), timeout=10, source_address=("127.0.0.2", 0)
    )
    with closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Basic {pair}"})
        return connection.getresponse().status


def test_who_shows_many_wrong_passwords_is_told_to_wait(flower: str) -> None:
    wrong = [tried(flower, str(number)) for number in range(MAX_FAILURES + 2)]

    assert wrong == [401] * MAX_FAILURES + [429] * 2
    # Though it is the right one now, or guesses would go on.
    assert tried(flower, "secret") == 429
    assert tried(flower, "secret", "/healthcheck") == 200
    # Somebody else is not kept out.
    assert status(f"{flower}/workers", RIGHT) == 200
