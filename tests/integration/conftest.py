"""What the tests of the wire formats share, and those of the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts.models import User
from scheduler_service.process.logs import JSONFormatter
from tasks_api.api.ops import health
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.conftest import ClientFor


@pytest.fixture(autouse=True)
def nothing_asked_before() -> None:
    health.readiness.forget()


@pytest.fixture
def api(user: User, client_for: ClientFor, settings: LazySettings) -> APIClient:
    """Alpha's user calling a service whose limits are those of production."""
    settings.SCHEDULER_MIN_FREQUENCY = 3600
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False
    return client_for(user)


class Recorded:
    """What an engine has told of, and a way to wait for it."""

    def __init__(self) -> None:
        self.items: list[AttemptResult] = []
        self._told = threading.Condition()

    def __call__(self, finished: list[AttemptResult]) -> None:
        with self._told:
            self.items.extend(finished)
            self._told.notify_all()

    def wait_for(self, count: int) -> list[AttemptResult]:
        with self._told:
            assert self._told.wait_for(lambda: len(self.items) >= count, timeout=20)
            return self.items


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def engine(settings: LazySettings, recorded: Recorded) -> Iterator[Engine]:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    started = Engine(on_recorded=recorded, on_beat=lambda _: None)
    started.start()
    yield started
    started.stop(grace=5)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[StringIO]:
    """As JSON, with tracebacks, whatever the level."""
    lines = StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JSONFormatter())
    caplog.set_level(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)
