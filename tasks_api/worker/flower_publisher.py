"""Publish the results of runs to Flower, in a thread of its own, while somebody listens.

A lost event is a line that Flower lacks, so no event may cost the worker much: none is
built while nobody listens, and no caller waits for the broker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Full, Queue
from typing import Any

from celery.events.event import get_exchange

from scheduler_service.compat import kombu_amqp
from scheduler_service.compat.kombu_redis import read_receiver_count
from tasks_api.delivery import faults
from tasks_api.messaging.errors import SEND_ERRORS
from tasks_api.messaging.producers import acquire_producer
from tasks_api.worker import threads
from tasks_api.worker.flower_events import NO_EVENTS, encode_events
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

# Seconds until the broker is asked again whether somebody listens.
ASK_INTERVAL = 1.0
# Seconds without a message after the broker failed.
FAILURE_PAUSE = 5.0
# Batches that wait for a slow broker; the next ones are dropped.
MAX_WAITING_BATCHES = 20


class EventPublisher:
    """Publishes events through the broker of a Celery app. Any thread may add results."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._batches: Queue[tuple[str, Sequence[AttemptResult]] | None] = Queue(
            MAX_WAITING_BATCHES
        )
        self._has_listeners = False
        # By the monotonic clock. It counts only while nobody listens.
        self._ask_at = 0.0
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, hostname: str, results: Sequence[AttemptResult]) -> None:
        """Publish results as those of a worker, if somebody listens. Never blocks."""
        if results and self._is_due():
            self._start()
            with suppress(Full):
                self._batches.put_nowait((hostname, results))

    def close(self, *, grace: float) -> None:
        """Give the thread some seconds to publish what was added."""
        if self._thread is not None:
            with suppress(Full):
                self._batches.put(None, timeout=grace)
            self._thread.join(grace)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threads.make_thread(self._run, "events")
                self._thread.start()

    def _is_due(self) -> bool:
        return self._has_listeners or time.monotonic() >= self._ask_at

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                # The broker may have failed while the batch waited.
                if self._is_due():
                    self._publish(*batch)
            except Exception as error:  # noqa: BLE001 (the loop's outermost ring)
                self._pause(FAILURE_PAUSE)
                is_outage = isinstance(error, SEND_ERRORS)
                level = logging.DEBUG if is_outage else logging.ERROR
                logger.log(level, "Events were lost: %s", faults.summarize(error))

    def _publish(self, hostname: str, results: Sequence[AttemptResult]) -> None:
        if not self._has_listeners:
            # An empty list asks whether somebody listens.
            self._send(hostname, NO_EVENTS)
        if self._has_listeners:
            events = encode_events(results, hostname)
            if events != NO_EVENTS:
                self._send(hostname, events)

    def _send(self, hostname: str, events: str) -> None:
        with acquire_producer(self._app) as producer:
            self._has_listeners = _publish(producer, hostname, events)
        if not self._has_listeners:
            self._pause(ASK_INTERVAL)

    def _pause(self, seconds: float) -> None:
        self._ask_at = time.monotonic() + seconds
        self._has_listeners = False


def _publish(producer: Any, hostname: str, events: str) -> bool:
    """Publish events; return whether somebody listens."""
    exchange = get_exchange(producer.connection)
    options = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "exchange": exchange.name,
        "routing_key": "task.multi",
        "declare": [exchange],
        "headers": {"hostname": hostname},
        "delivery_mode": 1,
        "retry": False,
    }
    channel = producer.channel
    if kombu_amqp.is_rabbitmq(channel):
        with kombu_amqp.Returns(channel) as returns:
            producer.publish(events, mandatory=True, **options)
        return not returns.were_any
    producer.publish(events, **options)
    # A broker that does not count its listeners may have some.
    return read_receiver_count(channel) != 0
