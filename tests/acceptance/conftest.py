"""Fixtures: a harness for each module, and a target for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.harness import Harness, eventually
from tests.receiver import Receiver


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    started = Harness(tmp_path_factory.mktemp("s"))
    started.start()
    started.start_part("web")
    eventually(lambda: started.is_ready(workers=0, beats=0))
    yield started
    started.stop()


@pytest.fixture
def lone_target() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def target(harness: Harness, lone_target: Receiver) -> Receiver:
    """A target for a service without tasks."""
    harness.delete_all_tasks()
    return lone_target
