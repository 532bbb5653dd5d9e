"""The Celery tasks of a worker, which ring the engine of the process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import current_app, shared_task, signals
from django.conf import settings

from accounts import audit
from accounts.encryption import derive_keys
from accounts.services import delete_expired_sessions, delete_old_invitations
from scheduler_service.db import clock, schema
from scheduler_service.process import gc_tuning
from scheduler_service.startup import start
from tasks_api.messaging import broker
from tasks_api.messaging.errors import BrokerAway, UnusableBroker, UnusableForNow
from tasks_api.metrics import counters, registry
from tasks_api.monitoring import exporter
from tasks_api.monitoring.heartbeats import record_heartbeat
from tasks_api.monitoring.watchdog import WorkerWatchdog
from tasks_api.services import rollups
from tasks_api.storage import day_counts, history_moves, partitions, retention, starts
from tasks_api.worker import failure_log, long_work, run_counters
from tasks_api.worker.engine import Engine
from tasks_api.worker.flower_publisher import EventPublisher
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

_engine: Engine | None = None
_starting = threading.Lock()
_hostname = "worker"
_events = EventPublisher(current_app)
_pruning = threading.Lock()
_stopping = threading.Event()
_was_cut_off = True
# When requests in flight are aborted, by the monotonic clock.
_stop_by = 0.0

# Seconds for requests in flight: longer than most may take, so that few are aborted.
SHUTDOWN_GRACE = 40.0
# Seconds for the last events. The engine may need its own until EXIT_DEADLINE.
EVENTS_GRACE = 1.0
# Seconds after which the process ends, whatever is stuck. The supervisor and Docker allow
# 45 seconds.
EXIT_DEADLINE = 44.5


@signals.celeryd_init.connect
def _remember_name(sender: str, **kwargs: Any) -> None:
    global _hostname
    _hostname = sender


@signals.worker_init.connect
@signals.beat_init.connect
def _check_start(**kwargs: Any) -> None:
    start.check_or_exit()


@signals.worker_init.connect
@signals.beat_init.connect
def _check_broker(**kwargs: Any) -> None:
    """Refuse to start on a broker that takes no messages, or may drop them."""
    try:
        broker.check_usable(settings.CELERY_BROKER_URL, timeout=3)
    except BrokerAway as error:
        logger.warning("The broker does not answer: %s", error)
    except UnusableForNow as reason:
        logger.warning("%s", reason)
    except UnusableBroker as reason:
        raise SystemExit(str(reason)) from reason


@signals.worker_init.connect
@signals.beat_init.connect
def _check_schema(**kwargs: Any) -> None:
    """Refuse to start on tables that do not fit: each statement would fail by itself."""
    if found := schema.log_schema_problem():
        raise SystemExit(found)


# Before the worker has a broker: the engine needs none.
@signals.celeryd_after_setup.connect
def _start_engine(**kwargs: Any) -> None:
    derive_keys()
    gc_tuning.freeze_startup_objects()
    _expose_metrics(engine())


def _expose_metrics(engine: Engine) -> None:
    """Show this worker's state in its metrics and to its probe."""
    registry.register_gauge(
        "scheduler_in_flight",
        "Runs that this worker holds: under way, or waiting for a place at their host.",
        lambda: engine.vitals().held,
    )
    watch = WorkerWatchdog(engine.vitals)
    if exporter.serve("worker", watch.problem, watch.remark):
        watch.start()


@signals.task_rejected.connect
def _count_dropped(**kwargs: Any) -> None:
    counters.MESSAGES_DROPPED.inc()


@signals.worker_shutting_down.connect
def _begin_shutdown(**kwargs: Any) -> None:
    global _stop_by
    if _stopping.is_set():
        return
    _stop_by = time.monotonic() + SHUTDOWN_GRACE
    _stopping.set()
    # In a thread, because the handler of a signal must not wait for anything.
    threading.Thread(target=_enforce_exit, name="ending", daemon=True).start()


def _enforce_exit() -> None:
    """Take nothing more, and end the process though something is stuck."""
    if _engine is not None:
        _engine.stop_taking()
    time.sleep(EXIT_DEADLINE)
    logger.critical("Something is stuck, so this worker ends without it.")
    os._exit(os.EX_SOFTWARE)


@signals.worker_shutdown.connect
def _stop_engine(**kwargs: Any) -> None:
    if _engine is not None:
        until = _stop_by or time.monotonic() + SHUTDOWN_GRACE
        _engine.stop(grace=max(1.0, until - time.monotonic()))
    _events.close(grace=EVENTS_GRACE)


def engine() -> Engine:
    """This process's engine, started at the first need."""
    global _engine
    with _starting:
        if _engine is None:
            _engine = Engine(on_recorded=_report_results, on_beat=_write_heartbeat)
            _engine.start()
    return _engine


def _report_results(results: Sequence[AttemptResult]) -> None:
    run_counters.count_results(results)
    failure_log.log_failures(results)
    _events.add(_hostname, results)


def _write_heartbeat(presence: int) -> None:
    # A restarted worker has the hostname of the one that died, so the key is added.
    record_heartbeat("worker", f"{_hostname} {presence:08x}", presence=presence)


def can_take_messages() -> bool:
    """Whether this worker can take what a bell rings for."""
    return not engine().is_cut_off


def log_contact() -> None:
    """Say in the log when PostgreSQL does not answer this worker, and when it does again."""
    global _was_cut_off
    is_cut_off = engine().is_cut_off
    if is_cut_off == _was_cut_off:
        return
    _was_cut_off = is_cut_off
    if is_cut_off:
        text = "The database does not answer, so this worker takes no messages."
        logger.warning(text)
    else:
        logger.info("The database answers, and this worker takes messages.")


@shared_task(name=broker.DELIVER_TASK, send_events=False)
def deliver(run_ids: Sequence[str] = ()) -> None:
    """A bell: deliver what is due. An older release names runs, which are in the rows, too."""
    engine().ring()


@shared_task(name=broker.ANNOUNCE_ENDS_TASK, send_events=False)
def report_ends(run_ids: list[str]) -> None:
    """Report how runs ended that were open for long work."""
    ended = long_work.fetch_ended(list(broker.parse_run_ids(run_ids)))
    run_counters.count_ends(ended)
    failure_log.log_failures(ended)
    _events.add(_hostname, ended)


@shared_task(name="tasks_api.tasks.fire")
def fire(task_id: str) -> None:
    """The Celery task that stored schedules name. It does nothing: workers take tasks from rows.

    If it fired tasks, anyone who can write messages could fire any tenant's, paused or not.
    """
    logger.warning("A message asks for a task to be fired, which no message can do.")


@shared_task(name="tasks_api.tasks.prune")
def prune() -> None:
    """Delete history that is older than its retention, unless this process does so already."""
    if _pruning.acquire(blocking=False):
        try:
            now = clock.now()
            partitions.make_days(now=now)
            retention.prune(now=now, pause=_stopping.wait)
            history_moves.move_into_history(now=now, pause=_stopping.wait)
            audit.prune(now=now)
            day_counts.delete_old_counts()
            starts.delete_old_starts()
            delete_expired_sessions()
            delete_old_invitations(now=now)
            rollups.keep_rollups(now=now, pause=_stopping.wait)
        finally:
            _pruning.release()
