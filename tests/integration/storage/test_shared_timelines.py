"""Processes tell each other of promotions through Redis, and believe only their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import LazySettings
from django.core.management import call_command

from scheduler_service.db import shared_timelines
from scheduler_service.redis.connections import connect

SYSTEM = 7_654_321


@pytest.fixture(autouse=True)
def client(settings: LazySettings) -> Iterator[redis.Redis]:
    shared_timelines._client.cache_clear()
    with connect(settings.REDIS_URL, timeout=5) as opened:
        yield opened
        opened.delete(f"{shared_timelines.KEY_PREFIX}{SYSTEM}")
    shared_timelines._client.cache_clear()


def test_the_newest_timeline_is_kept() -> None:
    assert shared_timelines.exchange(SYSTEM, 2) == 2
    assert shared_timelines.exchange(SYSTEM, 1) == 2
    assert shared_timelines.exchange(SYSTEM, 3) == 3
    assert shared_timelines.exchange(SYSTEM, 2) == 3


@pytest.mark.parametrize("value", [b"9", b"7654321:9", b"7654321:9:forged", b"\xff"])
def test_what_another_client_of_redis_wrote_is_ignored(
    client: redis.Redis, value: bytes
) -> None:
    client.set(f"{shared_timelines.KEY_PREFIX}{SYSTEM}", value)

    assert shared_timelines.exchange(SYSTEM, 2) == 2
    assert shared_timelines.exchange(SYSTEM, 1) == 2


def test_cells_that_were_one_know_their_own_timelines(
    client: redis.Redis, settings: LazySettings
) -> None:
    for cell, timeline in (("old", 1), ("new", 2)):
        settings.SCHEDULER_CELL = cell
        assert shared_timelines.exchange(SYSTEM, timeline) == timeline
    settings.SCHEDULER_CELL = "old"
    assert shared_timelines.exchange(SYSTEM, 1) == 1

    copied = client.get(f"{shared_timelines.KEY_PREFIX}new.{SYSTEM}")
    assert isinstance(copied, bytes)
    client.set(f"{shared_timelines.KEY_PREFIX}old.{SYSTEM}", copied)
    assert shared_timelines.exchange(SYSTEM, 1) == 1
    for cell in ("old", "new"):
        client.delete(f"{shared_timelines.KEY_PREFIX}{cell}.{SYSTEM}")


def test_the_value_of_another_system_is_ignored(client: redis.Redis) -> None:
    shared_timelines.exchange(SYSTEM + 1, 9)
    foreign = client.get(f"{shared_timelines.KEY_PREFIX}{SYSTEM + 1}")
    assert isinstance(foreign, bytes)
    client.set(f"{shared_timelines.KEY_PREFIX}{SYSTEM}", foreign)

    assert shared_timelines.exchange(SYSTEM, 2) == 2
    client.delete(f"{shared_timelines.KEY_PREFIX}{SYSTEM + 1}")


def test_without_redis_a_process_knows_what_it_has_seen(settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert shared_timelines.exchange(SYSTEM, 2) == 2


def test_an_operator_may_have_them_forgotten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared_timelines.exchange(SYSTEM, 5)

    call_command("forget_timelines")

    assert "Forgot the timelines of" in capsys.readouterr().out
    assert shared_timelines.exchange(SYSTEM, 1) == 1
