"""What the tests of the wire formats share, and those of the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, User
from scheduler_service.process.logs import JSONFormatter
from tasks_api.api.ops import health
from tasks_api.delivery.transport import Transport, TransportOptions
from tasks_api.storage import calendar_rules
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.conftest import ClientFor
from tests.integration.support.transport_doubles import (
    Outcomes,
    RawServer,
    Script,
    StartRawServer,
    StartTransport,
)
from tests.receiver import Receiver


@pytest.fixture(autouse=True)
def forget_readiness() -> None:
    health.readiness.reset()


@pytest.fixture(autouse=True)
def forget_versions_of_calendars() -> None:
    """A test that makes the tables anew gives the ids of earlier versions to others."""
    calendar_rules.rules_of.cache_clear()
    calendar_rules.version_of.cache_clear()


@pytest.fixture
def api(user: User, client_for: ClientFor, settings: LazySettings) -> APIClient:
    """Alpha's user calling a service whose limits are those of production."""
    settings.SCHEDULER_MIN_FREQUENCY = 3600
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False
    return client_for(user)


class ResultLog:
    """What an engine has told of, and a way to wait for it."""

    def __init__(self) -> None:
        self.items: list[AttemptResult] = []
        self._told = threading.Condition()

    def __call__(self, finished: Sequence[AttemptResult]) -> None:
        with self._told:
            self.items.extend(finished)
            self._told.notify_all()

    def wait_for(self, count: int) -> list[AttemptResult]:
        with self._told:
            assert self._told.wait_for(lambda: len(self.items) >= count, timeout=20)
            return self.items


@pytest.fixture
def recorded() -> ResultLog:
    return ResultLog()


@pytest.fixture
def engine(settings: LazySettings, recorded: ResultLog) -> Iterator[Engine]:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    started = Engine(on_recorded=recorded, on_beat=lambda _: None)
    started.start()
    yield started
    started.stop(grace=5)


@pytest.fixture
def json_log(caplog: pytest.LogCaptureFixture) -> Iterator[StringIO]:
    """As JSON, with tracebacks, whatever the level."""
    lines = StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JSONFormatter())
    caplog.set_level(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def start_server() -> Iterator[StartRawServer]:
    servers: list[RawServer] = []

    def start(script: Script) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def start_transport(outcomes: Outcomes) -> Iterator[StartTransport]:
    made: list[Transport[Any]] = []

    def start(**options: Any) -> Transport[Any]:
        transport: Transport[Any] = Transport(
            outcomes, TransportOptions(**{"allow_private": True, **options})
        )
        transport.start()
        made.append(transport)
        return transport

    yield start
    for transport in made:
        transport.close(grace=0)


@pytest.fixture
def target() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def tenant_admin(colleague: User) -> User:
    return accounts.change_user(colleague, role=Role.ADMIN)
