"""Store what a form says, once for each form, and not over somebody else's change."""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.models import User
from console.task_forms.bodies import Body
from tasks_api.api.json_codec import dumps
from tasks_api.api.tasks.parsing import read_change
from tasks_api.domain.exceptions import VersionConflict
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.services import finding, idempotency, tasks
from tasks_api.services.idempotency import StoredAnswer


def create(user: User, spec: TaskSpec, body: Body, *, key: str, now: datetime) -> UUID:
    """Store a task. A form that is sent twice makes one task, whose id is returned.

    Raises NameTaken, KeyInUse while the first one is under way, and KeyReused if the
    form said something else then.
    """
    fingerprint = hashlib.sha256(dumps(body).encode()).hexdigest()
    with transaction.atomic():
        stored = idempotency.find_answer(user, key, fingerprint, now=now)
        if stored is not None:
            return UUID(stored.body.decode())
        task = tasks.create_task(user, spec, now=now)
        answer = StoredAnswer(201, {}, str(task.pk).encode())
        idempotency.store_answer(user, key, fingerprint, answer, now=now)
    return task.pk


def change(
    user: User, task_id: UUID, body: Body, *, version: int | None, now: datetime
) -> None:
    """Change a task that still has the version that the form began with.

    Raises VersionConflict if it has not, InvalidTask, NameTaken and TaskBusy.
    """
    with transaction.atomic():
        task = finding.lock_task(user, str(task_id), now=now, surface=Surface.TASKS)
        if task.version != version:
            raise VersionConflict("Somebody changed the task after you opened it")
        spec = read_change(body, task, now=now)
        tasks.change_task(user, task, spec, now=now)
