"""A lock of one kind, of one tenant, is in nobody else's way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import transaction

from accounts import services as accounts
from accounts.models import Tenant, User
from scheduler_service.db import clock, locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.schedules import Cron
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import idempotency, named_tasks, tasks
from tests.architecture.folders import MODULES
from tests.integration.support.threads import held_elsewhere, refusing_to_wait

pytestmark = pytest.mark.django_db(transaction=True)


@transaction.atomic
def is_free(kind: LockKind, *parts: int | str) -> bool:
    return locks.try_acquire(kind, *parts)


@pytest.mark.parametrize("kind", LockKind)
def test_a_kind_excludes_itself_and_no_other(kind: LockKind) -> None:
    with held_elsewhere(lambda: locks.acquire(kind, 7, "cron_jobs")):
        free = {other for other in LockKind if is_free(other, 7, "cron_jobs")}

    assert free == set(LockKind) - {kind}
    assert is_free(kind, 7, "cron_jobs")


def test_what_a_key_is_made_of_is_not_run_together() -> None:
    keys = {
        locks.key_of(LockKind.NAMES, 1, "1", "a"),
        locks.key_of(LockKind.NAMES, 11, "", "a"),
        locks.key_of(LockKind.NAMES, 1, "1a", ""),
        locks.key_of(LockKind.NAMES, 1, "1", 'a", "'),
    }

    assert len(keys) == 4


@pytest.mark.parametrize("key", ["cron_jobs", "timers", "tasks:backup"])
def test_an_idempotency_key_is_not_in_the_way_of_a_tenant(key: str) -> None:
    stranger = accounts.provision_user("Beta", "bob")
    # Ids of users and of tenants are counted apart, so that some are equal.
    victim = Tenant.objects.create(pk=stranger.pk + 1000, name="Gamma")
    User.objects.filter(pk=stranger.pk).update(id=victim.pk)
    stranger = User.objects.get(pk=victim.pk)
    owner = accounts.provision_user("Gamma", "carl")
    spec = TaskSpec(
        Surface.CRON_JOBS, "http://example.com/", Cron("0 * * * *"), "{}", name="job"
    )
    backup = replace(spec, surface=Surface.TASKS, name="backup")
    now = clock.now()

    with (
        held_elsewhere(lambda: idempotency.find_answer(stranger, key, "", now=now)),
        refusing_to_wait(),
    ):
        named_tasks.upsert_task(owner, spec, now=now)
        named_tasks.replace_all(owner, [spec], surface=Surface.CRON_JOBS, now=now)
        with transaction.atomic():
            named_tasks.lock_task_or_name(
                owner, "backup", surface=Surface.TASKS, now=now
            )
            tasks.create_task(owner, backup, now=now)

    assert Task.objects.filter(owner=owner).count() == 2


def test_advisory_locks_are_asked_for_in_one_place() -> None:
    asking = {
        name
        for name, path in MODULES.items()
        if "pg_advisory" in (text := path.read_text(encoding="utf-8"))
        or "pg_try_advisory" in text
    }

    # Its locks have two keys, which are a space of their own.
    assert asking - {"tasks_api.monitoring.heartbeats"} == {
        "scheduler_service.db.locks"
    }
