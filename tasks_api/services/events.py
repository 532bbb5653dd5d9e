"""Write notices of events, in the transactions of the events.

So a crash loses both or neither. A beat sends the notices; see `notice_sending`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.notices import Event
from tasks_api.models import NotificationRule
from tasks_api.services import rule_cache
from tasks_api.services.notice_statements import INSERT_NOTICES

logger = logging.getLogger(__name__)


class TaskEvent(NamedTuple):
    type: Event
    tenant_id: int
    task_id: UUID
    reason: str
    run_id: UUID | None = None
    # The seconds by which a run was late, or the failed runs in a row.
    measure: float = 0.0


def store_events(events: Sequence[TaskEvent], *, now: datetime) -> None:
    """Write a notice for each rule that asks for one of the events.

    Call it in the transaction that makes the change.
    """
    wanted = _select_wanted(events)
    if wanted:
        with spare_the_change():
            _insert(wanted, now)


@contextmanager
def spare_the_change() -> Iterator[None]:
    """Let the change be made without notices if our own code fails in the block.

    A run must be recorded, whatever a rule says. An outage of the database is raised.
    """
    try:
        with transaction.atomic():
            yield
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("Events are told to nobody")


def _select_wanted(events: Sequence[TaskEvent]) -> list[TaskEvent]:
    if not events:
        return []
    rules = rule_cache.load({event.tenant_id for event in events})
    return [
        event
        for event in events
        if any(_may_ask_for(rule, event) for rule in rules.get(event.tenant_id, ()))
    ]


def _may_ask_for(rule: NotificationRule, event: TaskEvent) -> bool:
    """Whether a rule asks for an event, if the task has its tag."""
    if event.type not in rule.events or rule.task_id not in (None, event.task_id):
        return False
    if event.type == Event.TASK_FAILING:
        return event.measure == rule.streak
    return event.type != Event.RUN_LATE or event.measure >= rule.late_after


def _insert(events: Sequence[TaskEvent], now: datetime) -> None:
    rules = rule_cache.load({event.tenant_id for event in events})
    planned = [
        (rule.pk, rule.send_moment(now)) for each in rules.values() for rule in each
    ]
    rows = [
        (
            event.type.value,
            event.task_id,
            event.run_id,
            _storable(event.reason),
            event.measure,
        )
        for event in events
    ]
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(INSERT_NOTICES, [*columns(rows), *columns(planned)])


def _storable(text: str) -> str:
    """The text without what PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
