"""A stand for each module, and a target for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.stand import Stand, eventually
from tests.receiver import Receiver


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    started = Stand(tmp_path_factory.mktemp("s"))
    started.start()
    started.run("web")
    eventually(lambda: started.is_ready(workers=0, beats=0))
    yield started
    started.stop()


@pytest.fixture
def target(stand: Stand) -> Iterator[Receiver]:
    stand.forget_tasks()
    started = Receiver()
    started.start()
    yield started
    started.stop()
