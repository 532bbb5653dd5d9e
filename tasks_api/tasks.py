"""Celery's side of a worker: take messages of run ids to this process's engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import redis
from celery import shared_task, signals
from django.conf import settings
from django.utils import timezone

from accounts import audit
from accounts.encryption import derive_keys
from accounts.services import clear_sessions
from scheduler_service import memory, start
from tasks_api import (
    broker,
    events,
    exporter,
    failures,
    long_work,
    metrics,
    retention,
    services,
)
from tasks_api.delivery.engine import Engine
from tasks_api.delivery.record import Finished
from tasks_api.heartbeats import beat
from tasks_api.vitals import WorkerWatch

logger = logging.getLogger(__name__)

_engine: Engine | None = None
_starting = threading.Lock()
_hostname = "worker"
_pruning = threading.Lock()
_stopping = threading.Event()

# Longer than any request may take, so that a warm shutdown cuts none.
GRACE = 40.0


@signals.celeryd_init.connect
def _remember_name(sender: str, **kwargs: Any) -> None:
    global _hostname
    _hostname = sender


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_start(**kwargs: Any) -> None:
    start.check()


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_broker(**kwargs: Any) -> None:
    """A Redis that takes no messages, or may drop them, is not started on."""
    try:
        broker.try_out(settings.REDIS_URL, timeout=3)
    except (redis.RedisError, OSError) as error:
        logger.warning("The broker does not answer: %s", error)
    except broker.UnfitForNow as reason:
        logger.warning("%s", reason)
    except broker.Unfit as reason:
        raise SystemExit(str(reason)) from reason


@signals.worker_ready.connect
def _start(**kwargs: Any) -> None:
    derive_keys()
    memory.settle()
    _show(engine())


def _show(engine: Engine) -> None:
    """Let this worker be looked at from outside."""
    metrics.show(
        "scheduler_in_flight",
        "Runs that this worker holds: under way, or waiting for a place at their host.",
        lambda: engine.vitals().held,
    )
    metrics.show(
        "scheduler_accepted",
        "Runs that this worker was told of, and that it has not begun.",
        lambda: engine.vitals().accepted,
    )
    watch = WorkerWatch(engine.vitals)
    if exporter.serve("worker", watch.complaint, watch.remark):
        watch.start()


@signals.worker_shutting_down.connect
def _end_rounds(**kwargs: Any) -> None:
    _stopping.set()


@signals.worker_shutdown.connect
def _stop(**kwargs: Any) -> None:
    if _engine is not None:
        _engine.stop(grace=GRACE)


def engine() -> Engine:
    """This process's engine, started at the first need."""
    global _engine
    with _starting:
        if _engine is None:
            _engine = Engine(on_recorded=_tell, on_beat=_say_alive)
            _engine.start()
    return _engine


def _tell(finished: Sequence[Finished]) -> None:
    metrics.count_finished(finished)
    failures.log(finished)
    events.publish(_hostname, finished)


def _say_alive(presence: int) -> None:
    # A worker that is started again has the name of the one that died.
    beat("worker", f"{_hostname} {presence:08x}", presence=presence)


@shared_task(name=broker.DELIVER, send_events=False)
def deliver(run_ids: list[str]) -> None:
    """Deliver runs when their moments come. Not for results: the rows have those."""
    engine().accept(broker.parse_ids(run_ids))


@shared_task(name=broker.TELL_ENDS, send_events=False)
def tell_ends(run_ids: list[str]) -> None:
    """Tell how runs ended that were left open for long work."""
    ended = long_work.ended(list(broker.parse_ids(run_ids)))
    metrics.count_ended(ended)
    failures.log(ended)
    events.publish(_hostname, ended)


@shared_task(name="tasks_api.tasks.fire")
def fire(task_id: str) -> None:
    """Make a run of a task at once: what its stored schedule names, and nobody has to send."""
    run_id = services.fire_task(UUID(task_id), now=timezone.now())
    if run_id is not None:
        broker.ring([run_id])


@shared_task(name="tasks_api.tasks.prune")
def prune() -> None:
    """Forget history that is older than its retention, unless it is under way here."""
    if _pruning.acquire(blocking=False):
        try:
            now = timezone.now()
            retention.prune(now=now, pause=_stopping.wait)
            audit.prune(now=now)
            clear_sessions()
        finally:
            _pruning.release()
