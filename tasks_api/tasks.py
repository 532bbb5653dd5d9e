"""Celery's side of a worker: take messages of run ids to this process's engine."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
from celery import shared_task, signals
from django.conf import settings

from accounts import audit
from accounts.encryption import derive_keys
from accounts.services import delete_expired_sessions
from scheduler_service.db import clock, schema
from scheduler_service.process import gc_tuning
from scheduler_service.startup import start
from tasks_api.messaging import broker
from tasks_api.metrics import counters, registry
from tasks_api.monitoring import exporter
from tasks_api.monitoring.heartbeats import record_heartbeat
from tasks_api.monitoring.watchdog import WorkerWatchdog
from tasks_api.storage import retention
from tasks_api.worker import failure_log, flower_events, long_work, run_counters
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import Finished

logger = logging.getLogger(__name__)

_engine: Engine | None = None
_starting = threading.Lock()
_hostname = "worker"
_pruning = threading.Lock()
_stopping = threading.Event()
_was_cut_off = True
# When requests under way are cut, by the monotonic clock.
_stop_by = 0.0

# Longer than most requests may take, so that a warm shutdown cuts few.
GRACE = 40.0
# Less than the 45 seconds that the supervisor and Docker leave us, whatever is stuck.
LATEST_END = 44.5


@signals.celeryd_init.connect
def _remember_name(sender: str, **kwargs: Any) -> None:
    global _hostname
    _hostname = sender


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_start(**kwargs: Any) -> None:
    start.check_or_exit()


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_broker(**kwargs: Any) -> None:
    """A Redis that takes no messages, or may drop them, is not started on."""
    try:
        broker.check_usable(settings.REDIS_URL, timeout=3)
    except (redis.RedisError, OSError) as error:
        logger.warning("The broker does not answer: %s", error)
    except broker.UnusableForNow as reason:
        logger.warning("%s", reason)
    except broker.UnusableBroker as reason:
        raise SystemExit(str(reason)) from reason


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_other_tables(**kwargs: Any) -> None:
    """On tables that do not fit, each statement would fail by itself."""
    if found := schema.log_schema_problem():
        raise SystemExit(found)


@signals.worker_ready.connect
def _start(**kwargs: Any) -> None:
    derive_keys()
    gc_tuning.freeze_startup_objects()
    _show(engine())


def _show(engine: Engine) -> None:
    """Let this worker be looked at from outside."""
    registry.register_gauge(
        "scheduler_in_flight",
        "Runs that this worker holds: under way, or waiting for a place at their host.",
        lambda: engine.vitals().held,
    )
    registry.register_gauge(
        "scheduler_accepted",
        "Runs that this worker was told of, and that it has not begun.",
        lambda: engine.vitals().accepted,
    )
    watch = WorkerWatchdog(engine.vitals)
    if exporter.serve("worker", watch.problem, watch.remark):
        watch.start()


@signals.task_rejected.connect
def _count_dropped(**kwargs: Any) -> None:
    counters.MESSAGES_DROPPED.inc()


@signals.worker_shutting_down.connect
def _end_rounds(**kwargs: Any) -> None:
    global _stop_by
    if _stopping.is_set():
        return
    _stop_by = time.monotonic() + GRACE
    _stopping.set()
    # In a thread, because this is a signal's handler, in which nothing may be waited for.
    threading.Thread(target=_end_in_time, name="ending", daemon=True).start()


def _end_in_time() -> None:
    """Let nobody wait for the engine, and the process end though something is stuck."""
    if _engine is not None:
        _engine.close_door()
    time.sleep(LATEST_END)
    logger.critical("Something is stuck, so this worker ends without it.")
    os._exit(os.EX_SOFTWARE)


@signals.worker_shutdown.connect
def _stop(**kwargs: Any) -> None:
    if _engine is not None:
        until = _stop_by or time.monotonic() + GRACE
        _engine.stop(grace=max(1.0, until - time.monotonic()))


def engine() -> Engine:
    """This process's engine, started at the first need."""
    global _engine
    with _starting:
        if _engine is None:
            _engine = Engine(on_recorded=_tell, on_beat=_say_alive)
            _engine.start()
    return _engine


def _tell(finished: Sequence[Finished]) -> None:
    run_counters.count_finished(finished)
    failure_log.log(finished)
    flower_events.publish(_hostname, finished)


def _say_alive(presence: int) -> None:
    # A worker that is started again has the name of the one that died.
    record_heartbeat("worker", f"{_hostname} {presence:08x}", presence=presence)


def may_take() -> bool:
    """Whether this worker can do anything with a message."""
    return not engine().is_cut_off


def hand_over() -> None:
    """Leave to other workers what this one cannot claim, while PostgreSQL is away for it."""
    global _was_cut_off
    is_cut_off = engine().is_cut_off
    if is_cut_off != _was_cut_off:
        _was_cut_off = is_cut_off
        if is_cut_off:
            text = "The database does not answer, so this worker takes no messages."
            logger.warning(text)
        else:
            logger.info("The database answers, and this worker takes messages.")
    if is_cut_off and (left := engine().take_back()):
        broker.ring_workers(left)


@shared_task(name=broker.DELIVER, send_events=False)
def deliver(run_ids: list[str]) -> None:
    """Deliver runs when their moments come. Not for results: the rows have those."""
    ids = list(broker.parse_run_ids(run_ids))
    if may_take():
        engine().accept(ids)
    else:
        broker.ring_workers(ids)


@shared_task(name=broker.TELL_ENDS, send_events=False)
def tell_ends(run_ids: list[str]) -> None:
    """Tell how runs ended that were left open for long work."""
    ended = long_work.ended(list(broker.parse_run_ids(run_ids)))
    run_counters.count_ended(ended)
    failure_log.log(ended)
    flower_events.publish(_hostname, ended)


@shared_task(name="tasks_api.tasks.fire")
def fire(task_id: str) -> None:
    """What a task's stored schedule names. Beats make runs from rows, so it does nothing.

    Whoever can write messages could have any tenant's task fire, paused or not.
    """
    logger.warning("A message asks for a task to be fired, which only beats do.")


@shared_task(name="tasks_api.tasks.prune")
def prune() -> None:
    """Forget history that is older than its retention, unless it is under way here."""
    if _pruning.acquire(blocking=False):
        try:
            now = clock.now()
            retention.prune(now=now, pause=_stopping.wait)
            audit.prune(now=now)
            delete_expired_sessions()
        finally:
            _pruning.release()
