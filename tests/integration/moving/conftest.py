"""Two databases, and two tenants of the first with rows in each of their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings

from accounts.models import Tenant, User
from tasks_api.models import LateRun, Run
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.tenant_steps import (
    FIRST_STEPS,
    STEPS,
    Side,
    act_within_bounds,
    be_told,
    catch_up,
    create,
    fire,
    make_sides,
    pull,
    retry,
    use_lane,
    work_long,
)
from tests.integration.support.two_databases import (
    KeptDatabase,
    OtherDatabase,
    other_database,
)


def leave_late_run(side: Side) -> None:
    """A run that was unfinished when its hour was closed."""
    run = Run.objects.filter(tenant=side.tenant).earliest("scheduled_for")
    hour = run.scheduled_for.replace(minute=0, second=0, microsecond=0)
    late = {"task_id": run.task_id, "tenant": side.tenant, "hour": hour}
    LateRun.objects.get_or_create(run_id=run.pk, defaults=late)


# What leaves rows that other steps would take away.
LAST_STEPS = (be_told, catch_up, use_lane, act_within_bounds, work_long, leave_late_run)


@pytest.fixture
def other(transactional_db: None) -> Iterator[OtherDatabase]:
    with other_database() as found:
        yield found


class KeptSides:
    """Two tenants at work that are made once, and their rows as they were then."""

    def __init__(self) -> None:
        self._database = KeptDatabase("kept_sides")
        self._sides: list[Side] = []

    def find(self, make: Callable[[], list[Side]]) -> list[Side]:
        """Have the tenants and their rows as they were made."""
        if self._sides:
            self._database.restore()
        else:
            made = make()
            self._database.keep()
            self._sides = made
        return [
            side._replace(
                owner=User.objects.get(pk=side.owner.pk),
                colleague=User.objects.get(pk=side.colleague.pk),
            )
            for side in self._sides
        ]

    def drop(self) -> None:
        self._database.drop()


@pytest.fixture(scope="session")
def kept_sides() -> Iterator[KeptSides]:
    kept = KeptSides()
    yield kept
    kept.drop()


@pytest.fixture
def sides(
    other: OtherDatabase,
    kept_sides: KeptSides,
    request: pytest.FixtureRequest,
    settings: LazySettings,
) -> list[Side]:
    settings.SCHEDULER_MIN_FREQUENCY = 1
    settings.SCHEDULER_RETENTION_DAYS = 1
    return kept_sides.find(lambda: request.getfixturevalue("new_sides"))


@pytest.fixture
def new_sides(
    user: User,
    colleague: User,
    stranger: User,
    client_for: ClientFor,
    make_task: MakeTask,
) -> list[Side]:
    made = make_sides(user, colleague, stranger, client_for, make_task)
    moving, staying = made
    for step in FIRST_STEPS + STEPS + LAST_STEPS:
        step(moving)
    for step in (create, fire, retry, pull):
        step(staying)
    return made


@pytest.fixture
def alpha(sides: list[Side]) -> Tenant:
    return sides[0].tenant
