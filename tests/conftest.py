"""What every test may ask for: two tenants, their users, tasks, and a target."""

from __future__ import annotations

import fcntl
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import TransactionTestCase, override_settings
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from accounts import request_counts, throttling
from accounts import services as accounts
from accounts.models import Tenant, User
from scheduler_service.process.gc_tuning import freeze_startup_objects
from scheduler_service.process.logs import NonBlockingHandler
from tasks_api.domain.schedules import Once, Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import tasks
from tests.acceptance.harness import TESTS_DIR
from tests.empty_tables import delete_all_rows
from tests.receiver import Receiver

TESTS = Path(__file__).parent
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

ClientFor = Callable[[User], APIClient]
MakeTask = Callable[..., Task]

# Hypothesis would allow each example 200 ms, and call a machine slow that has other work.
hypothesis_settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("busy machine")


# Seconds that a file takes, about, by its folder: once, and for each of its tests. A file of
# acceptance starts a whole service, and may have one test that goes on for minutes.
SECONDS = {
    "acceptance": (60.0, 12.0),
    "browser": (8.0, 4.0),
    "integration": (0.5, 0.1),
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, so that no worker is left alone with one at the end.

    A worker takes whole files. Those that take about as long come in any order.
    """
    tests = Counter(item.path for item in items)
    seconds = {path: _seconds_of(path, count) for path, count in tests.items()}
    items.sort(key=lambda item: -round(math.log2(seconds[item.path])))


def _seconds_of(path: Path, tests: int) -> float:
    once, each = SECONDS.get(path.relative_to(TESTS).parts[0], (0.2, 0.02))
    return once + tests * each


def pytest_collection_finish() -> None:
    """What is loaded and collected by now stays, so the collector need not look at it."""
    freeze_startup_objects()


@pytest.fixture(autouse=True, scope="session")
def _capture_log_lines() -> None:
    """A thread that writes to the terminal itself would write between pytest's lines."""
    for handler in logging.root.handlers[:]:
        if isinstance(handler, NonBlockingHandler):
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker
) -> None:
    """The first worker of pytest-xdist migrates its database, and the others copy it.

    Not on a server of the developer's, where the template would stay.
    """
    directory, database = os.environ[TESTS_DIR], connection.settings_dict
    is_shared = "PYTEST_XDIST_WORKER" in os.environ
    if not (is_shared and database["HOST"].startswith(directory)):
        request.getfixturevalue("django_db_setup")
        return
    with Path(directory, "template").open("a+") as name:
        fcntl.flock(name, fcntl.LOCK_EX)
        name.seek(0)
        database["TEST"]["TEMPLATE"] = template = name.read() or None
        request.getfixturevalue("django_db_setup")
        if template is None:
            with django_db_blocker.unblock():
                connection.creation.clone_test_db("template", verbosity=0)
            made = connection.creation.get_test_db_clone_settings("template")
            name.write(made["NAME"])


@pytest.fixture(autouse=True, scope="session")
def _tables_are_emptied_quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TransactionTestCase, "_fixture_teardown", lambda _: delete_all_rows()
        )
        yield


@pytest.fixture(autouse=True, scope="session")
def _settings_that_save_time() -> Iterator[None]:
    """A hash that is soon made, and static files that are looked for when asked for.

    Each test client builds all middlewares, and WhiteNoise would read 169 files for it.
    """
    with override_settings(
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        WHITENOISE_AUTOREFRESH=True,
    ):
        yield


@pytest.fixture(autouse=True)
def _forget_failed_logins() -> None:
    """Every test comes from one address, which nothing is held against."""
    throttling.reset()
    request_counts.reset()


@pytest.fixture
def user(db: None) -> User:
    return accounts.provision_user("Alpha", "ann")


@pytest.fixture
def colleague(db: None) -> User:
    return accounts.provision_user("Alpha", "adam")


@pytest.fixture
def stranger(db: None) -> User:
    return accounts.provision_user("Beta", "bob")


def tenant_of(user: User) -> Tenant:
    """The tenant of a user who is not staff."""
    assert user.tenant is not None
    return user.tenant


@pytest.fixture
def alpha(user: User) -> Tenant:
    return tenant_of(user)


@pytest.fixture
def beta(stranger: User) -> Tenant:
    return tenant_of(stranger)


@pytest.fixture
def client_for() -> ClientFor:
    def client(user: User) -> APIClient:
        api = APIClient(raise_request_exception=False)
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {accounts.issue_token(user)}")
        return api

    return client


@pytest.fixture
def make_task(user: User) -> MakeTask:
    """A task that is due in an hour, unless told otherwise."""

    def make(
        owner: User = user,
        *,
        schedule: Schedule | None = None,
        url: str = "http://example.com/hook",
        body: str = "{}",
        surface: Surface = Surface.TASKS,
        name: str = "",
        tags: tuple[str, ...] = (),
    ) -> Task:
        now = timezone.now()
        schedule_of = schedule or Once(now + timedelta(hours=1))
        spec = TaskSpec(surface, url, schedule_of, body, name=name, tags=tags)
        return tasks.create_task(owner, spec, now=now)

    return make


@pytest.fixture
def receiver(settings: LazySettings) -> Iterator[Receiver]:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    started = Receiver()
    started.start()
    yield started
    started.stop()
